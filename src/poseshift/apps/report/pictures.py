"""Target images with skeletons before and after adaptation: the best, the middling, the worst."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from poseshift.apps.report.comparison import Comparison, Side, errors
from poseshift.data.crops import Crops
from poseshift.data.skeletons import told_apart
from poseshift.types import FloatArray, IntArray, Skeleton

SIDE = 200
EACH = 4
FULL = 95
"""Percentile of all confidences from which a line is opaque."""


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A bone or a joint in pixels of the thumbnail; ``x1`` is None for a joint."""

    x0: float
    y0: float
    x1: float | None
    y1: float | None
    side: str
    opacity: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Pose:
    """One skeleton over the thumbnail.

    Attributes:
        label: Name of the run.
        note: How good it is, in a few words.
        strokes: Bones, then joints.
    """

    label: str
    note: str
    strokes: tuple[Stroke, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A target image: JPEG as a data URI, its skeletons, and where the labels are."""

    name: str
    uri: str
    poses: tuple[Pose, ...]
    truth: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Best, middle or worst."""

    name: str
    pictures: tuple[Picture, ...]


def tiers(compared: Comparison) -> list[Tier]:
    """Up to four images each, ranked by what adaptation changed where there are labels, else by confidence."""
    order = ranking(compared)
    each = max(1, min(EACH, len(order) // 3))
    middle = max(0, (len(order) - each) // 2)
    if len(order) < 3:
        parts = {"All": order}
    else:
        parts = {"Best": order[:each], "Middle": order[middle : middle + each], "Worst": order[-each:]}
    crops = Crops(compared.annotations, compared.crop, size=SIDE)
    opaque = _opaque(compared)
    return [
        Tier(name=name, pictures=tuple(_pictures(compared, crops, rows, opaque)))
        for name, rows in parts.items()
        if len(rows)
    ]


def ranking(compared: Comparison) -> IntArray:
    """Rows from best to worst.

    With labels: by keypoints won minus lost against ``before``, ties by the fall of the mean error; with no
    ``before``, by the share right. Without labels: by mean confidence.
    """
    after, before, annotations = compared.after, compared.before, compared.annotations
    if not compared.labelled or after.hits is None:
        order: IntArray = np.argsort(-after.predictions.scores.mean(1), kind="stable").astype(np.int64)
        return order
    counted = after.hits.counted.sum(1)
    gain, error = after.hits.right.sum(1).astype(np.float64), -errors(after, annotations)
    if before is not None and before.hits is not None:
        gain = gain - before.hits.right.sum(1)
        error = error + errors(before, annotations)
    else:
        gain = gain / np.maximum(counted, 1)
    order = np.lexsort((-np.nan_to_num(error), -gain))
    ranked: IntArray = order[counted[order] > 0].astype(np.int64)
    return ranked


def _opaque(compared: Comparison) -> float:
    scores = [side.predictions.scores for side in (compared.before, compared.after) if side is not None]
    return max(1e-6, float(np.nanpercentile(np.concatenate([one.ravel() for one in scores]), FULL)))


def _pictures(compared: Comparison, crops: Crops, rows: IntArray, opaque: float) -> Iterator[Picture]:
    annotations = compared.annotations
    for row in map(int, rows):
        item = crops[row]
        if item.row != row:
            continue  # this image does not decode; the crop is of another one
        canonical = crops.keypoints[row]
        seen = annotations.visible[row] == 2
        truth = [(float(x), float(y)) for x, y in canonical[seen]] if compared.labelled else []
        sides = [side for side in (compared.before, compared.after) if side is not None]
        yield Picture(
            name=annotations[row].key,
            uri=jpeg(item.pixels),
            poses=tuple(_pose(side, compared, crops, row, opaque) for side in sides),
            truth=tuple(truth),
        )


def jpeg(image: npt.NDArray[np.uint8]) -> str:
    """An image ``H×W×3`` as a data URI."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _pose(side: Side, compared: Comparison, crops: Crops, row: int, opaque: float) -> Pose:
    points = (side.predictions.keypoints[row] - crops.regions[row, :2]) * crops.scale[row] - 0.5
    scores = side.predictions.scores[row]
    if side.hits is None:
        note = f"confidence {float(scores.mean()):.2f}"
    else:
        note = f"{int(side.hits.right[row].sum())} of {int(side.hits.counted[row].sum())} right"
    return Pose(label=side.label, note=note, strokes=tuple(strokes(compared.skeleton, points, scores, opaque)))


def strokes(skeleton: Skeleton, points: FloatArray, scores: FloatArray, opaque: float) -> Iterator[Stroke]:
    """Bones and joints of one skeleton; a bone is as opaque as its less confident end, from 0.12 to 1 at ``opaque``."""
    sides = sides_of(skeleton)
    shown = np.isfinite(points[:, 0]) & np.isfinite(points[:, 1])
    strength = np.clip(np.nan_to_num(scores) / opaque, 0.12, 1)
    for a, b in skeleton.edges:
        if shown[a] and shown[b]:
            yield Stroke(
                x0=float(points[a, 0]),
                y0=float(points[a, 1]),
                x1=float(points[b, 0]),
                y1=float(points[b, 1]),
                side=sides[a] if sides[a] == sides[b] else "centre",
                opacity=float(min(strength[a], strength[b])),
                title=f"{skeleton.keypoints[a]} to {skeleton.keypoints[b]}",
            )
    for k in np.flatnonzero(shown).tolist():
        yield Stroke(
            x0=float(points[k, 0]),
            y0=float(points[k, 1]),
            x1=None,
            y1=None,
            side=sides[k],
            opacity=float(strength[k]),
            title=f"{skeleton.keypoints[k]}, confidence {float(scores[k]):.2f}",
        )


def sides_of(skeleton: Skeleton) -> tuple[str, ...]:
    """``left``, ``right`` or ``centre`` of each keypoint: by its name, else by its place in a flip pair."""
    sides, names = ["centre"] * len(skeleton), told_apart(skeleton.keypoints)
    for first, second in skeleton.flip_pairs:
        swapped = bool(set(names[first]) & {"right", "r"})
        sides[first], sides[second] = ("right", "left") if swapped else ("left", "right")
    return tuple(sides)
