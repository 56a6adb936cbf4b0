"""Calibration error of scores before and after, and the measures of collapse, of finished runs on labelled data.

    python benchmarks/calibration.py runs/a runs/b --data lsp:DATA/lsp --split test --boxes whole --name calibration-lsp

Each run is examined anew without target labels (``--set target.data=…`` where its data moved) in a copy of its folder,
then held against labels. Columns, in percent: right (visible keypoints within PCK@0.05, all as one), what was expected
without labels, agreement, and the expected calibration error (15 bins) of raw scores, of those calibrated on the source
alone, and of those corrected for the target; then the three measures of collapse, ``*`` where found. Writes
``benchmarks/results/<name>.md``. It looks at labels: give the declared tuning part (``--every``), or write a line
into the ledger.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from poseshift import metrics
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import devices, evaluate, inference, trust
from poseshift.engine.run import Run, open_run
from poseshift.types import Annotations

HERE = Path(__file__).parent
COPIED = ("run.yaml", "manifest.json", "checkpoints", "parents")


@dataclass(frozen=True)
class Row:
    """One run, in percent."""

    name: str
    right: float
    expected: float
    agreement: float
    raw: float
    source: float
    target: float
    collapse: dict[str, tuple[float | None, bool]]


def row(run: Run, annotations: Annotations, crop: CropConfig | None, overrides: Sequence[str], device: str) -> Row:
    """What is known of one run without labels, held against those of ``annotations``."""
    made = trust.calibrate(run, overrides=overrides, device=device)
    crops = Crops(annotations, crop or evaluate.default_crop(run, annotations), size=run.config.input_size)
    found = inference.infer(run.predictor("best"), crops, device=devices.choose(device))
    hits = evaluate.hits_of(crops, found, stride=1, protocol="exact", occluded=False)
    raw = found.predictions.scores
    kinds = (raw, replace(made, shift=0.0)(raw), made(raw))
    errors = [100 * metrics.expected_calibration_error(scores, hits) for scores in kinds]
    examined = run.trust(f"step-{run.checkpoint('best').step}") or {"collapse": {}}
    return Row(
        run.path.name,
        100 * float(hits.right.sum() / hits.counted.sum()),
        100 * (made.expected or float("nan")),
        100 * (made.agreement_target or float("nan")),
        *errors,
        {name: (one["value"], one["found"]) for name, one in examined["collapse"].items()},
    )


def markdown(rows: Sequence[Row], head: str) -> str:
    """The table as text."""
    names = list(dict.fromkeys(name for one in rows for name in one.collapse))
    titles = ["run", "right", "expected", "agreement", "ECE raw", "ECE source", "ECE target", *names]
    lines = [head, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for one in rows:
        numbers = (one.right, one.expected, one.agreement, one.raw, one.source, one.target)
        cells = [f"{number:.1f}".replace("nan", "–") for number in numbers]
        for name in names:
            value, found = one.collapse.get(name, (None, False))
            cells.append("–" if value is None else f"{value:.0f}{' *' if found else ''}")
        lines.append(f"| {' | '.join([one.name, *cells])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--boxes")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--name", default="calibration")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    rows, annotations = [], None
    with tempfile.TemporaryDirectory() as folder:
        for path in options.runs:
            copy = Path(folder) / path.name
            for name in COPIED:
                if (path / name).is_dir():
                    shutil.copytree(path / name, copy / name)
                elif (path / name).is_file():
                    copy.mkdir(exist_ok=True)
                    shutil.copyfile(path / name, copy / name)
            run = open_run(copy)
            annotations = evaluate.labelled(run, options.data, options.split)
            annotations = annotations.select(range(0, len(annotations), options.every))
            crop = None if options.boxes is None else evaluate.crop_by(run, options.boxes)
            rows.append(row(run, annotations, crop, options.overrides, options.device))
            print(rows[-1], flush=True)
    count = 0 if annotations is None else len(annotations)
    part = f"{options.data.partition(':')[0]} {options.split or ''}, every {options.every}, {count} instances"
    text = markdown(rows, f"`python benchmarks/calibration.py`, {part}, percent")
    (HERE / "results" / f"{options.name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
