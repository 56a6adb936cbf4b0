"""Keypoints of images and folders with an exported model, where torch may be missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from poseshift.apps.exported import Exported
from poseshift.apps.predict import find_images, write
from poseshift.data import detections
from poseshift.data.boxes import crop_regions
from poseshift.data.images import padded_crop
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, FloatArray, Predictions

log = logging.getLogger(__name__)

BATCH = 16


def predict(
    model: Exported,
    inputs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    boxes: str | Path | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Annotations, Predictions]:
    """Predicts keypoints; arguments, result and errors are those of :func:`poseshift.predict`."""
    files = find_images(inputs)
    instances = detections.whole_images(files) if boxes is None else detections.from_coco(Path(boxes), files)
    regions = crop_regions(instances, "given", padding=1.0 if boxes is None else model.padding)
    _warn(model, boxed=boxes is not None, count=len(files))
    keypoints = np.full((len(instances), len(model.skeleton), 2), np.nan, np.float32)
    scores = np.zeros(keypoints.shape[:2], np.float32)
    failed: list[str] = []
    for first in range(0, len(instances), BATCH):
        rows, crops = [], []
        for row in range(first, min(first + BATCH, len(instances))):
            try:
                crops.append(_cut(instances, row, regions[row], model.input_size))
                rows.append(row)
            except DataError:
                failed.append(instances[row].key)
            advance(1)
        if rows:
            keypoints[rows], scores[rows] = model(np.stack(crops), regions[rows])
    if len(failed) == len(instances):
        raise DataError(f"none of {len(failed)} images decodes, the first: {failed[0]}; look at the files")
    if failed:
        log.warning("%d images do not decode and have no prediction: %s", len(failed), ", ".join(failed[:5]))
    side = (regions[:, 2] - regions[:, 0]).astype(np.float32)
    said = Predictions(keypoints=keypoints, scores=scores, crop_side=side, calibrated=model.calibrated)
    if out is not None:
        write(Path(out), instances, said, model.skeleton)
    return instances, said


def refuse(model: str | Path, checkpoint: bool, flip_test: bool, adapt: bool, raw_scores: bool) -> None:
    """Raises :class:`UsageError` where an option is asked for that was decided when the model was exported."""
    asked = {"checkpoint": checkpoint, "flip-test": flip_test, "adapt": adapt, "raw-scores": raw_scores}
    for name in [name for name, given in asked.items() if given]:
        raise UsageError(f"{model}: --{name} is not for exported models; give it to `poseshift export`, or use the run")


def _cut(
    instances: Annotations, row: int, region: FloatArray, size: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return padded_crop(instances.images.read(int(instances.image_index[row])), region, size)[0]


def _warn(model: Exported, *, boxed: bool, count: int) -> None:
    if not boxed:
        boxes = "; training cut by boxes, so give --boxes where subjects do not fill images"
        known = "" if model.cut in (None, "whole") else boxes
        log.warning("no --boxes given: each of the %d images is taken whole, as one instance%s", count, known)
    elif model.cut == "whole":
        log.warning("--boxes given, but training saw whole images: where boxes cut much closer, poses may be worse")
    if not model.calibrated:
        log.warning("scores are raw, the heights of heatmap peaks: the model was exported without calibration")
