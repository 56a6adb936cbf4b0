"""Poses of the source, which are labelled: spread of the keypoints, orientation in the plane, facing left or right.

Instances are aligned with their mean pose by shift, scale, rotation and, since an animal seen from its other side is a
mirrored image with left and right exchanged, by mirroring. The rotation that an instance needs is its orientation; what
is left over is the variety of its pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseshift.data.skeletons import split_name
from poseshift.types import NOT_LABELLED, VISIBLE, FloatArray, Skeleton

Complex = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HEAD = frozenset({"nose", "snout", "muzzle", "beak", "eye", "ear", "head", "jaw", "chin", "mouth", "headtop"})
"""Words of keypoints that lie at the head end."""
ASIDE = 0.15
"""Share of the instance's size that its head must lie beside its middle to say that it faces that way."""
ROUNDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """Pose statistics of ``n`` instances with ``K`` keypoints.

    Attributes:
        labelled: ``K`` shares of instances in which a keypoint is labelled.
        visible: ``K`` shares in which it is visible.
        mean: ``K×2`` mean place in the crop, shares of its side; NaN where never labelled.
        spread: ``K×2`` standard deviations, likewise.
        extent: ``n`` longer sides of the labelled keypoints' box, shares of the crop's side.
        angles: Orientations about their mean, degrees, clockwise; of instances with three labelled keypoints.
        turn: Circular standard deviation of the angles, degrees; None without any.
        variety: Root mean square distance of a keypoint from its place in the mean pose after alignment, as a share of
            the longer side of the mean pose's box; None without angles.
        facing: Shares that face ``left``, ``right`` and ``neither``; None where no keypoint is one of a head.
    """

    labelled: FloatArray
    visible: FloatArray
    mean: FloatArray
    spread: FloatArray
    extent: FloatArray
    angles: FloatArray
    turn: float | None
    variety: float | None
    facing: dict[str, float] | None


def describe(skeleton: Skeleton, keypoints: FloatArray, visible: npt.NDArray[np.uint8], regions: FloatArray) -> Poses:
    """Pose statistics.

    Args:
        skeleton: Of ``K`` keypoints.
        keypoints: ``n×K×2`` in pixels of the image.
        visible: ``n×K``, COCO's.
        regions: ``n×4`` squares that the instances are cut to.
    """
    told: Bools = visible != NOT_LABELLED
    side = (regions[:, 2] - regions[:, 0]).astype(np.float64)[:, None, None]
    places = np.where(told[..., None], (keypoints - regions[:, None, :2]) / side, 0)
    count = np.maximum(told.sum(0), 1)[:, None]
    mean = places.sum(0) / count
    spread = np.sqrt((np.square(places - mean) * told[..., None]).sum(0) / count)
    never = ~told.any(0)
    mean[never], spread[never] = np.nan, np.nan
    angles, variety = _aligned(places, told, skeleton)
    return Poses(
        labelled=told.mean(0).astype(np.float32),
        visible=(visible == VISIBLE).mean(0).astype(np.float32),
        mean=mean.astype(np.float32),
        spread=spread.astype(np.float32),
        extent=_extent(places, told).astype(np.float32),
        angles=np.degrees(angles).astype(np.float32),
        turn=_circular_deviation(angles) if len(angles) else None,
        variety=variety,
        facing=_facing(skeleton, places, told),
    )


def _extent(places: Floats, told: Bools) -> Floats:
    """Longer side of the box of what is labelled; 0 where nothing is."""
    low = np.where(told[..., None], places, np.inf).min(1, initial=np.inf)
    high = np.where(told[..., None], places, -np.inf).max(1, initial=-np.inf)
    longer: Floats = np.where(told.any(1), (high - low).max(1, initial=0), 0)
    return longer


def _aligned(places: Floats, told: Bools, skeleton: Skeleton) -> tuple[Floats, float | None]:
    """Orientation of each instance about the mean of all, radians, and what alignment leaves."""
    kept = told.sum(1) >= 3
    if not kept.any():
        return np.zeros(0), None
    weight = told[kept]
    points: Complex = places[kept][..., 0] + 1j * places[kept][..., 1]
    points = _normalised(points, weight)
    flip = list(skeleton.flip_index)
    mirrored, other = -points.conj()[:, flip], weight[:, flip]
    mean = points[int(weight.sum(1).argmax())]
    turned, where, turn, swap = points, weight, np.ones(len(points), np.complex128), np.zeros(len(points), np.bool_)
    for _ in range(ROUNDS):
        fits = (points.conj() * weight) @ mean, (mirrored.conj() * other) @ mean
        swap = np.abs(fits[1]) > np.abs(fits[0]) + 1e-9
        fit = np.where(swap, fits[1], fits[0])
        turn = fit / np.maximum(np.abs(fit), 1e-12)
        turned = np.where(swap[:, None], mirrored, points) * turn[:, None]
        where = np.where(swap[:, None], other, weight)
        mean = (turned * where).sum(0) / np.maximum(where.sum(0), 1)
        mean = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return _orientations(turn, swap), _left_over(turned, where)


def _orientations(turn: Complex, swap: Bools) -> Floats:
    """Angles of the instances about their mean, from the turns that lay them, mirrored or not, on the mean pose.

    A mean pose that is itself turned has its mirror image turned the other way: half of the angle between both kinds.
    """
    own = np.where(swap, turn, turn.conj())
    kinds = [np.angle(own[kind].mean()) for kind in (swap, ~swap) if kind.any()]
    tilt = (kinds[0] - kinds[1]) / 2 if len(kinds) == 2 else 0.0
    own = own * np.exp(1j * np.where(swap, -tilt, tilt))
    upright: Floats = np.angle(own * np.exp(-1j * np.angle(own.mean())))
    return upright


def _normalised(points: Complex, weight: Bools) -> Complex:
    """Centred on what is labelled, with a root mean square radius of 1."""
    count = weight.sum(1, keepdims=True)
    centred = np.where(weight, points - (points * weight).sum(1, keepdims=True) / count, 0)
    radius = np.sqrt((np.abs(centred) ** 2).sum(1, keepdims=True) / count)
    unit: Complex = centred / np.maximum(radius, 1e-12)
    return unit


def _left_over(turned: Complex, where: Bools) -> float:
    count = np.maximum(where.sum(0), 1)
    mean = (turned * where).sum(0) / count
    rest = np.sqrt((np.abs(turned - mean) ** 2 * where).sum() / max(int(where.sum()), 1))
    seen = mean[where.any(0)]
    longer = max(float(np.ptp(seen.real)), float(np.ptp(seen.imag)), 1e-12)
    return float(rest / longer)


def _circular_deviation(angles: Floats) -> float:
    length = min(1.0, max(abs(complex(np.exp(1j * angles).mean())), 1e-12))
    return float(np.degrees(np.sqrt(-2 * np.log(length))))


def _facing(skeleton: Skeleton, places: Floats, told: Bools) -> dict[str, float] | None:
    head = np.array([bool(HEAD & set(split_name(name))) for name in skeleton.keypoints], np.bool_)
    both = told[:, head].any(1) & told[:, ~head].any(1) if head.any() else np.zeros(len(told), np.bool_)
    if not both.any():
        return None
    points, weight = places[both], told[both]
    x = points[..., 0]
    middles = [(x * weight * part).sum(1) / np.maximum((weight * part).sum(1), 1) for part in (head, ~head)]
    aside = (middles[0] - middles[1]) / np.maximum(_extent(points, weight), 1e-12)
    left, right = float((aside < -ASIDE).mean()), float((aside > ASIDE).mean())
    return {"left": left, "right": right, "neither": max(0.0, 1 - left - right)}
