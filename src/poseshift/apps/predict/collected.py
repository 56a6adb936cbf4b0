"""Putting together what was seen: a row for each instance, whatever order the images came in."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable

import numpy as np

from poseshift.apps.predict.estimator import Estimator, Looks
from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.pipeline import Look, Seen, whole
from poseshift.apps.predict.result import Result
from poseshift.data.boxes import squares
from poseshift.data.detections import Detections
from poseshift.errors import DataError
from poseshift.types import Annotations, FloatArray, IntArray, Predictions, Skeleton

log = logging.getLogger(__name__)

NO_KEYPOINTS = Skeleton(name="none", keypoints=())
Part = tuple[list[int], FloatArray, FloatArray, FloatArray, dict[int, str], int]
"""Rows that a process filled, their keypoints, scores and boxes; what failed there; how many images it looked at."""


def looks_at(inputs: Inputs, detections: Detections | None, *, every: bool) -> Generator[Look]:
    """Where to look, image by image; ``every`` asks for the images without a box too."""
    if detections is None:
        yield from (Look(image=image, rows=(image,)) for image in range(len(inputs)))
        return
    order = np.argsort(detections.image_index, kind="stable")
    images, starts = np.unique(detections.image_index[order], return_index=True)
    rows_of = dict(zip(images.tolist(), np.split(order, starts[1:]), strict=True))
    for image in range(len(inputs)) if every else rows_of:
        rows = rows_of.get(image, order[:0])
        yield Look(image=image, rows=tuple(rows.tolist()), boxes=detections.boxes[rows])


class Collected:
    """The rows of a result while they come in.

    Args:
        inputs: The images.
        detections: What to look for in them; None for each as a whole.
        estimator: Whose answers these are.
        how: How images were shown to it.
    """

    def __init__(self, inputs: Inputs, detections: Detections | None, estimator: Estimator, how: Looks) -> None:
        self.inputs, self.detections, self.estimator = inputs, detections, estimator
        count, parts = len(inputs if detections is None else detections), len(estimator.skeleton)
        self.keypoints = np.full((count, parts, 2), np.nan, np.float32)
        self.scores = np.zeros((count, parts), np.float32)
        self.boxes = np.full((count, 4), np.nan, np.float32) if detections is None else detections.boxes
        self.padding = 1.0 if detections is None else how.padding
        self.failures: dict[int, str] = {}
        self._looked = 0
        self._rows: list[int] = []

    def add(self, seen: Seen) -> None:
        """Takes in an image."""
        rows = list(seen.look.rows)
        self._looked += bool(rows)
        self._rows += rows
        if seen.failure and rows:
            self.failures[seen.look.image] = seen.failure
        elif rows:
            self.keypoints[rows], self.scores[rows], self.boxes[rows] = seen.keypoints, seen.scores, seen.boxes

    def part(self) -> Part:
        """What this process saw, for the others."""
        rows = self._rows
        return rows, self.keypoints[rows], self.scores[rows], self.boxes[rows], self.failures, self._looked

    def join(self, parts: Iterable[Part]) -> None:
        """Takes in what every process saw, itself among them."""
        parts = list(parts)
        self._looked = sum(looked for *_, looked in parts) if parts else self._looked
        for rows, keypoints, scores, boxes, failures, _ in parts:
            self.keypoints[rows], self.scores[rows], self.boxes[rows] = keypoints, scores, boxes
            self.failures |= failures
        self.failures = dict(sorted(self.failures.items()))

    def result(self) -> Result:
        """All of it.

        Image files whose header cannot be read are no images, and have no row unless a box names them; what else does
        not decode has a row without keypoints.

        Raises:
            DataError: No image decodes.
        """
        if len(self.failures) == self._looked:
            raise DataError(
                f"none of the {self._looked} {self.inputs.word} decodes; the last: {list(self.failures.values())[-1]}"
            )
        kept = np.arange(len(self.boxes)) if self.detections is not None else self._outlined()
        regions, instances = squares(self.boxes[kept], self.padding), self._instances(kept)
        there = set(instances.image_index.tolist())
        failed = [self.inputs.key(image) for image in self.failures if image in there]
        if failed:
            names = ", ".join(failed[:5]) + (", …" if len(failed) > 5 else "")
            log.warning("%d %s do not decode and have no prediction: %s", len(failed), self.inputs.word, names)
        predictions = Predictions(
            keypoints=self.keypoints[kept],
            scores=self.scores[kept],
            crop_side=regions[:, 2] - regions[:, 0],
            calibrated=self.estimator.calibrated,
        )
        named = None if self.detections is None else self.detections.individuals
        return Result(
            inputs=self.inputs,
            instances=instances,
            predictions=predictions,
            skeleton=self.estimator.skeleton,
            individuals=np.full(len(kept), "") if named is None else named,
            failures=self.failures,
        )

    def _outlined(self) -> IntArray:
        """Rows of whole images, those that did not decode outlined as far as is known; without what is no image."""
        files, frames, _ = self.inputs.moments(np.arange(len(self.boxes)))
        known, strangers = np.isfinite(self.boxes).all(axis=1), []
        for image in self.failures:
            if frames[image] >= 0:
                alike = np.flatnonzero((files == files[image]) & known)
                self.boxes[image] = self.boxes[alike[0]] if len(alike) else np.nan
                continue
            try:
                self.boxes[image] = whole(*self.inputs.size(image))
            except DataError as error:
                log.warning("left out: %s", error)
                strangers.append(image)
        return np.setdiff1d(np.arange(len(self.boxes)), strangers)

    def _instances(self, kept: IntArray) -> Annotations:
        given, count = self.detections, len(kept)
        return Annotations(
            name="inputs",
            images=self.inputs,
            image_index=kept if given is None else given.image_index,
            skeleton=NO_KEYPOINTS,
            keypoints=np.zeros((count, 0, 2), np.float32),
            visible=np.zeros((count, 0), np.uint8),
            boxes=self.boxes[kept],
            groups=(kept + 1).astype(np.str_) if given is None else given.groups,
            categories=np.full(count, "1") if given is None else given.categories,
            note="whole images" if given is None else "boxes that were given",
        )
