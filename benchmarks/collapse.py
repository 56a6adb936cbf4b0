"""What the measures of collapse say of healthy nets, and of the same nets' predictions made to collapse.

    python benchmarks/collapse.py RUN... [--data figures:middle,side=80,count=400] [--table FILE]

Each finished run's predictor is shown the ``test`` images of ``--data``; what is usual is read off the poses of the
run's source, as training reads it. The limits in ``engine/collapse.py`` stand between the two kinds of rows. Columns
are the least and the most over the runs, in percent. Writes ``benchmarks/results/collapse.md``, or ``FILE``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from poseshift.config import DataConfig
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import collapse, inference
from poseshift.engine.run import Run, open_run
from poseshift.types import FloatArray

NOISE = 0.02
TABLE = Path(__file__).parent / "results" / "collapse.md"
Pairs = tuple[tuple[int, int], ...]


def one_keypoint(poses: FloatArray, pairs: Pairs) -> FloatArray:
    """All keypoints where the first one is."""
    return np.broadcast_to(poses[:, :1], poses.shape).copy()


def mean_pose(poses: FloatArray, pairs: Pairs) -> FloatArray:
    """The mean of all poses, in every image."""
    return np.broadcast_to(poses.mean(0), poses.shape).copy()


def exchanged(poses: FloatArray, pairs: Pairs, rows: slice = slice(None)) -> FloatArray:
    """Left and right exchanged in ``rows``."""
    out = poses.copy()
    for left, right in pairs:
        out[rows, left], out[rows, right] = poses[rows, right], poses[rows, left]
    return out


MADE: dict[str, Callable[[FloatArray, Pairs], FloatArray]] = {
    "all on one keypoint": one_keypoint,
    "their mean pose": mean_pose,
    "sides exchanged": exchanged,
    "sides exchanged in every other image": lambda poses, pairs: exchanged(poses, pairs, slice(0, None, 2)),
    "every other pair exchanged": lambda poses, pairs: exchanged(poses, pairs[::2]),
}


def crops(run: Run, named: DataConfig, data: str, split: str | None) -> Crops:
    """Data cut as a run cuts what it names so."""
    annotations = sources.to_skeleton(sources.read(data, split=split), run.skeleton, {}, origin=data)
    return Crops(annotations, CropConfig(boxes=named.boxes, padding=named.padding), size=run.config.input_size)


def measured(run: Run, data: str) -> Iterator[tuple[str, tuple[collapse.Measure, ...]]]:
    """Rows of one run: true poses, its predictions, and these made to collapse."""
    named = run.config.source
    if named is None:
        raise SystemExit(f"{run.path}: names no source")
    source = crops(run, named, named.data, None)
    shown = crops(run, run.config.target or named, data, "test")
    usual = collapse.reference(
        source.keypoints, source.annotations.visible, run.skeleton.flip_pairs, size=run.config.input_size
    )
    if usual is None:
        raise SystemExit(f"{run.path}: its source has too few poses")
    said = inference.infer(run.predictor("best"), shown, device=torch.device("cpu")).predictions.keypoints
    poses, pairs, size = shown.to_canonical(said), run.skeleton.flip_pairs, run.config.input_size
    kind = "source-only" if run.config.method.name == "source_only" else "adapted"
    draws = np.random.default_rng(run.config.seed)
    noisy = mean_pose(poses, pairs) + draws.normal(0, NOISE * size, poses.shape)
    every = {"true poses of the target": shown.keypoints, f"{kind} nets": poses}
    every |= {name: made(poses, pairs) for name, made in MADE.items()}
    every[f"their mean pose and noise of {100 * NOISE:g} % of the side"] = noisy.astype(np.float32)
    for name, one in every.items():
        yield name, collapse.measure(one, usual, size=size)


def spread(values: list[float | None]) -> str:
    """Least to most; – where nothing can be judged."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    least, most = (f"{value:.0f}" for value in (min(known), max(known)))
    return least if least == most else f"{least}–{most}"


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", default="figures:middle,side=80,count=400")
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args()
    found: dict[str, dict[str, list[float | None]]] = {}
    for path in given.runs:
        for name, measures in measured(open_run(path), given.data):
            for one in measures:
                found.setdefault(name, {}).setdefault(one.name, []).append(one.value)
    names = list(collapse.LIMITS)
    lines = ["| predictions | " + " | ".join(f"`{name}`" for name in names) + " |", "| --- " * (1 + len(names)) + "|"]
    for name, row in found.items():
        lines.append(f"| {name} | " + " | ".join(spread(row.get(one, [])) for one in names) + " |")
    given.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
