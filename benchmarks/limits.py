"""What limits a pose model on labelled data: sides, precision, and how much it draws left and right together.

    python benchmarks/limits.py runs/a runs/b --data lsp:DATA/lsp --split train --every 2 --name limits-lsp

For each run, over visible keypoints in percent: PCK@0.05; the same where a keypoint may lie on its left or right
partner (so what sides cost); PCK@0.1 (so what precision costs); and the mean error of paired keypoints along the line
from the partner, in percent of the crop's side (negative: drawn towards the partner), of those within 0.1. Writes
``benchmarks/results/<name>.md``. It looks at labels: give the declared tuning part, and write a line into the ledger.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseshift import metrics
from poseshift.data.crops import Crops
from poseshift.engine import devices, evaluate, inference
from poseshift.engine.run import Run, open_run
from poseshift.metrics import BoolArray
from poseshift.types import VISIBLE, Annotations, FloatArray

HERE = Path(__file__).parent
LEAST = 0.04
"""Of the side: partners nearer than that give no direction."""


@dataclass(frozen=True)
class Limits:
    """One run, in percent."""

    name: str
    right: float
    either_side: float
    near: float
    apart: float


def mean_pck(hits: BoolArray, annotations: Annotations) -> float:
    """Percent of the visible keypoints, by the mean of the skeleton's groups."""
    counted = annotations.visible == VISIBLE
    per_keypoint = metrics.pck(metrics.Hits(right=hits & counted, counted=counted))
    return 100 * metrics.group_means(per_keypoint, annotations.skeleton)["mean"]


def apart(predicted: FloatArray, truth: FloatArray, usable: BoolArray, pairs: tuple[tuple[int, int], ...]) -> float:
    """Mean error along the line from the partner; points ``N×K×2`` in sides of the crop; NaN without any."""
    found = []
    for one, other in [*pairs, *(pair[::-1] for pair in pairs)]:
        line = truth[:, one] - truth[:, other]
        length = np.linalg.norm(line, axis=-1)
        rows = usable[:, one] & usable[:, other] & (length > LEAST)
        error = (predicted[:, one] - truth[:, one])[rows]
        found.append((error * (line[rows] / length[rows, None])).sum(-1))
    errors = np.concatenate(found)
    return float(errors.mean()) if len(errors) else float("nan")


def limits(run: Run, annotations: Annotations, name: str, device: str) -> Limits:
    """What limits one run on annotations in its skeleton."""
    crops = Crops(annotations, evaluate.default_crop(run, annotations), size=run.config.input_size)
    said = inference.infer(run.predictor("best"), crops, device=devices.choose(device)).predictions
    predicted, truth = crops.to_canonical(said.keypoints) / crops.size, crops.keypoints / crops.size
    error = np.linalg.norm(predicted - truth, axis=-1)
    swapped = np.linalg.norm(predicted[:, list(annotations.skeleton.flip_index)] - truth, axis=-1)
    usable = (annotations.visible == VISIBLE) & (error <= 0.1)
    return Limits(
        name=name,
        right=mean_pck(error <= 0.05, annotations),
        either_side=mean_pck(np.minimum(error, swapped) <= 0.05, annotations),
        near=mean_pck(error <= 0.1, annotations),
        apart=100 * apart(predicted, truth, usable, annotations.skeleton.flip_pairs),
    )


def markdown(rows: list[Limits], head: str) -> str:
    """The table as text."""
    lines = [head, "", "| run | PCK@0.05 | on either side | PCK@0.1 | away from the partner |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.name} | {r.right:.1f} | {r.either_side:.1f} | {r.near:.1f} | {r.apart:+.1f} |".replace("+nan", "–")
        for r in rows
    ]
    return "\n".join(lines).replace("| -", "| −") + "\n"


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--name", default="limits")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    rows = []
    for path in options.runs:
        run = open_run(path)
        annotations = evaluate.labelled(run, options.data, options.split)
        annotations = annotations.select(range(0, len(annotations), options.every))
        rows.append(limits(run, annotations, path.name, options.device))
    part = f"{options.data.partition(':')[0]} {options.split or ''}, every {options.every}, {len(annotations)} images"
    text = markdown(rows, f"`python benchmarks/limits.py`, {part}, percent of visible keypoints or of the side")
    (HERE / "results" / f"{options.name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
