"""Ways to correct calibrated scores for a shifted domain, without its labels, held against those labels.

    python benchmarks/corrections.py runs/a runs/b --data figures:middle,side=80,count=2000

Each run's predictor is shown held-out source images (``val`` of its source) and, of ``--data``, 400 images, 256 of
which fit a correction. Columns: expected calibration error (15 bins, visible keypoints) of each correction, and the
error of the share right that it estimates, in percent; means over the runs. Only procedural data has labels that are
free to choose by. Writes ``benchmarks/results/corrections.md``, which is part of ``docs/trust.md``, or ``--table``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from poseshift import metrics
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import calibration, observation
from poseshift.engine.calibration import OnSource
from poseshift.engine.run import Run, open_run
from poseshift.engine.scoring import rows_for_scoring
from poseshift.metrics import BoolArray, DoubleArray, Hits
from poseshift.types import FloatArray

FITTED, TESTED = 256, 400
TABLE = Path(__file__).parent / "results" / "corrections.md"


@dataclass(frozen=True)
class Held:
    """Predictions of labelled images: raw scores, distance of both views (sides), right, counted; each ``N×K``."""

    scores: FloatArray
    apart: DoubleArray
    right: BoolArray
    counted: BoolArray

    @property
    def agreed(self) -> BoolArray:
        """Where both views lie within 5 % of the side of each other."""
        return self.apart <= observation.TOLERANCE

    def first(self, count: int) -> Held:
        """The first images."""
        return replace(self, **{name: getattr(self, name)[:count] for name in ("scores", "apart", "right", "counted")})


def held(run: Run, data: str, split: str | None, crop: CropConfig, count: int) -> Held:
    """What a run's predictor says of labelled images."""
    config, net = run.config, run.predictor("best")
    annotations = sources.to_skeleton(sources.read(data, split=split), run.skeleton, {}, origin=data)
    margin = round(config.margin * config.input_size)
    crops = Crops(annotations, crop, size=config.input_size, margin=margin)
    rows = rows_for_scoring(crops, count, config.seed)
    seen = observation.look(net, net, crops, rows, config.augment.student, seed=config.seed, device=torch.device("cpu"))
    near = metrics.distances(seen.keypoints, crops.keypoints[seen.rows]) <= observation.TOLERANCE * seen.size
    apart = metrics.distances(seen.keypoints, seen.again) / seen.size
    return Held(seen.scores, apart, near, annotations.visible[seen.rows] == 2)


def logistic(features: DoubleArray, right: BoolArray, *, steps: int = 100) -> Callable[[DoubleArray], DoubleArray]:
    """The chance of being right by features, of highest likelihood (Newton, a ridge of 1e-4)."""
    design = np.concatenate((features, np.ones((len(features), 1))), 1)
    weights = np.zeros(design.shape[1])
    for _ in range(steps):
        said = calibration.sigmoid(design @ weights)
        square = (design * (said * (1 - said))[:, None]).T @ design / len(design) + 1e-4 * np.eye(design.shape[1])
        slope = design.T @ (right - said) / len(design) - 1e-4 * weights
        weights = weights + np.clip(np.linalg.solve(square, slope), -1, 1)
    return lambda other: calibration.sigmoid(np.concatenate((other, np.ones((len(other), 1))), 1) @ weights)


def estimates(source: Held, target: Held, values: DoubleArray) -> dict[str, float]:
    """The target's share right, by each way to estimate it."""
    counted = source.counted
    right, there, here = source.right[counted].mean(), source.agreed[counted].mean(), target.agreed.mean()
    among = [source.right[counted & kind].mean() for kind in (source.agreed, ~source.agreed)]

    def features(one: Held, rows: BoolArray) -> DoubleArray:
        return np.stack((calibration.logit(one.scores[rows]), np.log(one.apart[rows] + 0.01)), 1)

    everything = np.ones_like(target.counted)
    both = logistic(features(source, counted), source.right[counted])
    distance = logistic(features(source, counted)[:, 1:], source.right[counted])
    return {
        "Platt scaling on the source alone": float(calibration.sigmoid(values).mean()),
        "shift to the agreement itself": float(here),
        "shift to agreement × (right / agreement on the source)": float(min(0.99, here * right / there)),
        "shift to the share right among agreeing and other keypoints": float(here * among[0] + (1 - here) * among[1]),
        "logistic model of the distance": float(distance(features(target, everything)[:, 1:]).mean()),
        "logistic model of score and distance": float(both(features(target, everything)).mean()),
        "shift to agreement on the line": calibration.on_the_line(float(right), float(there), float(here)),
    }


def of_run(run: Run, data: str) -> dict[str, tuple[float, float]]:
    """ECE and error of the estimate, of each correction, in percent."""
    named, other = run.config.source, run.config.target or run.config.source
    if named is None or other is None:
        raise SystemExit(f"{run.path}: names no source")
    source = held(run, named.data, "val", CropConfig(boxes=named.boxes, padding=named.padding), FITTED)
    target = held(run, data, None, CropConfig(boxes=other.boxes, padding=other.padding), TESTED)
    counted, fitted = source.counted, target.first(FITTED)
    own = OnSource(
        scores=source.scores[counted], right=source.right[counted], agreed=source.agreed[counted], held="validation"
    )
    plain = calibration.fit(own, None, None)
    values = plain.slope * calibration.logit(fitted.scores) + plain.intercept
    hits = Hits(right=target.right & target.counted, counted=target.counted)
    truth = float(target.right[target.counted].mean())

    def ece(scores: FloatArray) -> float:
        return 100 * metrics.expected_calibration_error(scores, hits)

    found = {"none: raw scores": (ece(target.scores), float("nan"))}
    for name, share in estimates(source, fitted, values).items():
        shift = 0.0 if name.startswith("Platt") else calibration.shift_to(values, share)
        found[name] = ece(replace(plain, shift=shift)(target.scores)), 100 * abs(share - truth)
    known = calibration.logit(target.scores[target.counted]) * plain.slope + plain.intercept
    found["with target labels: the right shift"] = (
        ece(replace(plain, shift=calibration.shift_to(known, truth))(target.scores)), 0.0
    )  # fmt: skip
    slope, intercept = calibration.platt(target.scores[target.counted], target.right[target.counted])
    found["with target labels: Platt scaling"] = (
        ece(replace(plain, slope=slope, intercept=intercept)(target.scores)),
        0.0,
    )
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    found = [of_run(open_run(path), options.data) for path in options.runs]
    lines = ["| correction | ECE | error of the estimated share right |", "|---|---|---|"]
    for name in found[0]:
        ece, error = (np.mean([one[name][column] for one in found]) for column in (0, 1))
        lines.append(f"| {name} | {ece:.1f} | {error:.1f} |".replace("nan", "–"))
    options.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
