"""Keypoints of images and folders with a finished run."""

from __future__ import annotations

import csv
import functools
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.apps.exported import SUFFIX, Exported
from poseshift.data import detections
from poseshift.data.images import SUFFIXES
from poseshift.engine import files
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Predictions, Skeleton

if find_spec("torch") is not None:  # without it, exported models are predicted with
    from poseshift.data.crops import CropConfig, Crops
    from poseshift.engine import devices, inference, trust
    from poseshift.engine.inference import Inferred
    from poseshift.engine.run import Pointer, Run, open_run
    from poseshift.engine.stream import BATCH, Stream

log = logging.getLogger(__name__)

WRITERS = (".json", ".csv")


def predict(
    run: Run | str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    boxes: str | Path | None = None,
    which: Pointer | int = "best",
    flip_test: bool = False,
    adapt: str | None = None,
    raw_scores: bool = False,
    device: str = "auto",
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Annotations, Predictions]:
    """Predicts keypoints.

    Scores are calibrated where the checkpoint is: of keypoints that score 0.8, 80 % should lie within PCK@0.05. A
    checkpoint that was never examined gives raw scores, and a warning, as does one that is adapted to the images.

    Args:
        run: A run with a pose net, its path, or that of an exported ``.onnx``, whose options were decided at export.
        inputs: Images and folders (searched recursively).
        out: ``.json`` for COCO results, ``.csv`` for a table; None writes nothing.
        boxes: A COCO json with a box for each instance; without it, each whole image is one instance.
        which: Checkpoint: ``best``, ``last``, or a step.
        flip_test: Average with the mirrored image.
        adapt: Adapt a copy of the net to the images, batch by batch and each before it is predicted: ``statistics``,
            ``entropy`` or ``consistency``. The run folder stays as it is.
        raw_scores: Scores are the heights of the heatmaps' peaks all the same.
        device: ``auto``, ``cpu``, ``cuda``, …
        advance: Called with the number of instances done.

    Returns:
        The instances (no keypoints in them) and their predictions, row by row.

    Raises:
        UsageError: An output that cannot be written, or a way to adapt that is unknown or finds nothing to adapt.
        DataError: No images, or none that decodes; single ones that do not are logged, and have no prediction.
    """
    if out is not None and Path(out).suffix not in WRITERS:
        raise UsageError(
            f"{out}: cannot write {Path(out).suffix or 'no ending'}; give a name that ends in {' or '.join(WRITERS)}"
        )
    if isinstance(run, str | Path) and Path(run).suffix == SUFFIX:
        from poseshift.apps import predict_exported

        predict_exported.refuse(run, which != "best", flip_test, adapt is not None, raw_scores)
        return predict_exported.predict(Exported(run, device=device), inputs, out=out, boxes=boxes, advance=advance)
    if find_spec("torch") is None:
        raise UsageError(f"{run}: a run needs torch, which is not installed; install it, or give an exported .onnx")
    run = run if isinstance(run, Run) else open_run(run)
    instances, cut = _instances(run, find_images(inputs), boxes)
    found = _found(run, instances, cut, which, flip_test=flip_test, adapt=adapt, device=device, advance=advance)
    if found.failed:
        names = [instances[row].key for row in found.failed]
        log.warning("%d images do not decode and have no prediction: %s", len(names), ", ".join(names[:5]))
    said = found.predictions if raw_scores else calibrated(run, which, found.predictions, adapted=adapt is not None)
    if out is not None:
        write(Path(out), instances, said, run.skeleton)
    return instances, said


def _found(
    run: Run,
    instances: Annotations,
    cut: CropConfig,
    which: Pointer | int,
    *,
    flip_test: bool,
    adapt: str | None,
    device: str,
    advance: Callable[[int], None],
) -> Inferred:
    """What the run's net says, adapted as it goes where that is asked for."""
    flip = run.skeleton.flip_index if flip_test else None
    net, chosen = run.predictor(which), devices.choose(device)
    stream = None if adapt is None else Stream(net, adapt, run, device=chosen)
    crops = Crops(instances, cut, size=run.config.input_size, margin=0 if stream is None else stream.margin)
    ask = functools.partial(inference.infer, net, crops, device=chosen, flip_index=flip, advance=advance)
    found = ask() if stream is None else ask(batch_size=BATCH, see=stream.see)
    if stream is not None:
        stream.say()
    return found


def _instances(run: Run, files: list[Path], boxes: str | Path | None) -> tuple[Annotations, CropConfig]:
    """What is to be predicted and how it is cut; warns where training was cut in another way."""
    cut = run.manifest.get("cut", {}).get("target" if run.config.target else "source")
    if boxes is None:
        known = (
            ""
            if cut in (None, "whole")
            else "; training cut by boxes, so give --boxes where subjects do not fill images"
        )
        log.warning("no --boxes given: each of the %d images is taken whole, as one instance%s", len(files), known)
    elif cut == "whole":
        log.warning("--boxes given, but training saw whole images: where boxes cut much closer, poses may be worse")
    instances = detections.whole_images(files) if boxes is None else detections.from_coco(Path(boxes), files)
    own = run.config.target or run.config.source
    padding = 1.0 if boxes is None else (own or CropConfig()).padding
    return instances, CropConfig(boxes="given", padding=padding)


def calibrated(run: Run, which: Pointer | int, said: Predictions, *, adapted: bool) -> Predictions:
    """Predictions of a checkpoint with its calibrated scores; raw ones, and a warning, where it has no calibration.

    Nor has a net that was adapted to the images: the calibration is that of the checkpoint as it was trained.
    """
    if adapted:
        log.warning("scores are raw, the heights of heatmap peaks: the calibration is of the net before it was adapted")
        return said
    known = trust.calibration_of(run, which)
    if known is None:
        log.warning(
            "scores are raw, the heights of heatmap peaks: this checkpoint is not calibrated; "
            "`poseshift calibrate %s` does that without target labels",
            run.path,
        )
        return said
    scores = np.where(np.isfinite(said.keypoints).all(-1), known(said.scores), 0).astype(np.float32)
    return replace(said, scores=scores, calibrated=True)


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """Image files named by ``inputs``, folders searched recursively, sorted. Raises :class:`DataError` for none."""
    files: list[Path] = []
    for entry in map(Path, inputs):
        if entry.is_dir():
            inside = (path for path in entry.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            files += sorted(path for path in inside if not path.name.startswith("."))
        elif entry.is_file():
            files.append(entry)
        else:
            raise DataError(f"{entry}: no such file or folder; give images or folders of images")
    if not files:
        raise DataError(
            f"no images in {', '.join(map(str, inputs))}; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return list(dict.fromkeys(files))


def write(out: Path, instances: Annotations, found: Predictions, skeleton: Skeleton) -> None:
    """Writes COCO results (``.json``) or a table (``.csv``). Raises :class:`CheckpointError` where the disk refuses."""
    text = _coco_text(instances, found) if out.suffix == ".json" else _csv_text(instances, found, skeleton)
    files.write_text(out, text)


def _coco_text(instances: Annotations, found: Predictions) -> str:
    """COCO results; an image that does not decode has none."""
    results: list[dict[str, Any]] = []
    for row, record in enumerate(instances):
        points = np.column_stack((found.keypoints[row], found.scores[row]))
        if not np.isfinite(points).all():
            continue
        results.append(
            {
                "image_id": _identity(record.group),
                "file_name": record.key,
                "category_id": _identity(record.category),
                "keypoints": [round(float(value), 3) for value in points.ravel()],
                "score": round(float(found.scores[row].mean()), 5),
                "calibrated": found.calibrated,
            }
        )
    return json.dumps(results, allow_nan=False) + "\n"


def _identity(text: str) -> int | str:
    """An id as it stood in the file: a number where the text is how that number is written."""
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def _csv_text(instances: Annotations, found: Predictions, skeleton: Skeleton) -> str:
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["file", *(f"{name}_{part}" for name in skeleton.keypoints for part in ("x", "y", "score"))])
    for row, record in enumerate(instances):
        points = np.column_stack((found.keypoints[row], found.scores[row]))
        table.writerow([record.key, *(f"{value:.3f}" for value in points.ravel())])
    return stream.getvalue()
