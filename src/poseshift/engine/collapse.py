"""Collapsed predictions: one place, the mean pose, exchanged sides. Found without labels of what was predicted.

What is usual is read off labelled source poses. A pose ``p`` has the spread ``r = √(mean_k |p_k - p̄|²)`` about the mean
of its keypoints ``p̄``, and the shape ``q = (p - p̄) / r``.

``one_place``
    Percent of the images whose spread is below a quarter of the source's median one. Found from 20 %.
``mean_pose``
    Variety of the shapes, ``√(mean |q - q̄|²)`` over images and keypoints, in percent of that of the source's poses.
    Found below 33 %. Shapes of images in one place mean nothing and are left out.
``exchanged_sides``
    Percent of the poses that look more like a source pose when left and right are exchanged. Found above 50 %. The
    judge is linear in ``d⊗(1, s)``: ``d`` are the differences of left and right of each pair, ``s`` their middles and
    all other keypoints, of the shape. All these change their sign when sides are exchanged, so it has no bias to
    either. It is the ridge regression of 1 on source poses. Counted is the quarter of the poses of which it is
    surest, and only where it tells 70 % of that quarter of source poses that it has not seen.

Why these limits: ``docs/trust.md`` shows collapsed and healthy nets. A mirrored second look tells nothing of sides: a
net that calls the left of the *image* the left side agrees with itself perfectly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from poseshift.errors import CheckpointError
from poseshift.metrics import BoolArray, DoubleArray
from poseshift.types import ByteArray, FloatArray, IntArray

NEAR = 0.25
"""Of the source's median spread: a pose below it lies in one place."""
LIMITS = {"one_place": 20.0, "mean_pose": 33.0, "exchanged_sides": 50.0}
"""Percent; see the head of this module."""
BELOW = frozenset({"mean_pose"})
"""Measures that are found below their limit; the others are found above it."""
WORDS = {
    "one_place": "all keypoints on one place",
    "mean_pose": "the mean pose whatever the image",
    "exchanged_sides": "left and right exchanged",
}
UNITS = {
    "one_place": "share of images",
    "mean_pose": "variety of poses, of the source's",
    "exchanged_sides": "share of poses",
}
"""What the percentages are of."""
FEWEST, FEWEST_FOR_SIDES = 8, 64
MOST = 4000
POWER, SURE = 0.7, 0.75
RIDGE = 0.01
SAME = 1e-3
"""Source poses of less variety are one pose: nothing can be told from them."""
USUAL = 0.9
"""Share of the source poses in which a keypoint must be labelled to be used."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Labelled source poses in a few numbers.

    Attributes:
        keypoints: Indices of those that are used.
        pairs: Left and right, as positions among ``keypoints``.
        spread: Median spread, fraction of the crop's side.
        variety: Of the shapes.
        sides: Weights of the judge of sides; None where it tells too little, or there are no pairs or too few poses.
        power: Share of the surest quarter of unseen source poses that it tells; None where there was nothing to judge.
    """

    keypoints: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    spread: float
    variety: float
    sides: tuple[float, ...] | None
    power: float | None

    def to_json(self) -> dict[str, Any]:
        """For a file; :func:`reference_of` reads it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One kind of collapse.

    Attributes:
        name: Key of :data:`LIMITS`.
        value: In percent; None where it cannot be judged.
        rows: Instances that show it, first those that do so clearest.
    """

    name: str
    value: float | None
    rows: tuple[int, ...]

    @property
    def found(self) -> bool:
        """Whether this collapse is there."""
        if self.value is None:
            return False
        limit = LIMITS[self.name]
        return self.value < limit if self.name in BELOW else self.value > limit


def reference(
    keypoints: FloatArray, visible: ByteArray, pairs: tuple[tuple[int, int], ...], *, size: float
) -> Reference | None:
    """What labelled source poses show; None where fewer than 8 of them have all keypoints.

    Args:
        keypoints: ``N×K×2`` in pixels of the crop.
        visible: ``N×K``; 0 is not labelled.
        pairs: Left and right keypoints.
        size: Side of the crop.
    """
    used = np.flatnonzero((visible > 0).sum(0) >= USUAL * max(len(visible), 1))
    whole = np.flatnonzero((visible[:, used] > 0).all(1)) if len(used) > 1 else np.zeros(0, np.int64)
    if len(whole) < FEWEST:
        return None
    chosen = np.unique(np.linspace(0, len(whole) - 1, MOST).round().astype(np.int64))
    poses = keypoints[whole[chosen]][:, used].astype(np.float64)
    place = {int(k): number for number, k in enumerate(used)}
    kept = tuple((place[a], place[b]) for a, b in pairs if a in place and b in place)
    spread = spreads(poses)
    variety = variety_of(shapes(poses)[spread > 0])
    if variety < SAME:
        return None
    power, sides = _judge(shapes(poses), kept)
    return Reference(
        keypoints=tuple(place), pairs=kept, spread=float(np.median(spread)) / size, variety=variety,
        sides=None if sides is None else tuple(float(weight) for weight in sides), power=power,
    )  # fmt: skip


def reference_of(raw: Mapping[str, Any], *, origin: str) -> Reference:
    """A reference as a file keeps it. Raises :class:`CheckpointError` where it is none."""
    try:
        sides = raw["sides"]
        return Reference(
            **{
                **raw,
                "keypoints": tuple(int(k) for k in raw["keypoints"]),
                "pairs": tuple((int(a), int(b)) for a, b in raw["pairs"]),
                "sides": None if sides is None else tuple(float(weight) for weight in sides),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{origin}: no reference of poses ({error!r}); calibrate it, then adapt anew") from error


def measure(keypoints: FloatArray, usual: Reference, *, size: float) -> tuple[Measure, ...]:
    """Every kind of collapse of predictions.

    Args:
        keypoints: ``N×K×2`` in pixels of the crop, at least one row.
        usual: What the source's poses show.
        size: Side of the crop.
    """
    poses = keypoints[:, list(usual.keypoints)].astype(np.float64)
    spread = spreads(poses) / size
    tight = spread < NEAR * usual.spread
    found = [Measure(name="one_place", value=100 * float(tight.mean()), rows=_first(spread, tight))]
    rest = np.flatnonzero(~tight)
    formed = shapes(poses[rest])
    if len(rest) * 2 < len(poses) or len(rest) < 2:
        unknown = [Measure(name=name, value=None, rows=()) for name in ("mean_pose", "exchanged_sides")]
        return (*found, *unknown)
    away = np.sqrt(((formed - formed.mean(0)) ** 2).sum(-1).mean(1))
    share = 100 * variety_of(formed) / usual.variety
    found.append(Measure(name="mean_pose", value=share, rows=tuple(rest[np.argsort(away, kind="stable")].tolist())))
    return (*found, _sides(formed, rest, usual))


def _sides(formed: DoubleArray, rows: IntArray, usual: Reference) -> Measure:
    """``exchanged_sides`` of the shapes of ``rows``; fewer than 8 give no value."""
    if usual.sides is None or len(formed) < FEWEST:
        return Measure(name="exchanged_sides", value=None, rows=())
    told = odd_features(formed, usual.pairs) @ np.array(usual.sides)
    sure = _surest(told)
    return Measure(
        name="exchanged_sides",
        value=100 * float((told[sure] < 0).mean()),
        rows=tuple(rows[list(_first(told, sure & (told < 0)))].tolist()),
    )


def spreads(poses: DoubleArray) -> DoubleArray:
    """``N`` root mean square distances of the keypoints ``N×K×2`` from their mean."""
    out: DoubleArray = np.sqrt(((poses - poses.mean(1, keepdims=True)) ** 2).sum(-1).mean(1))
    return out


def shapes(poses: DoubleArray) -> DoubleArray:
    """Poses ``N×K×2`` about their mean, of spread 1 (0 where all keypoints lie on one point)."""
    about = poses - poses.mean(1, keepdims=True)
    spread = spreads(poses)[:, None, None]
    out: DoubleArray = np.divide(about, spread, out=np.zeros_like(about), where=spread > 0)
    return out


def variety_of(formed: DoubleArray) -> float:
    """Root mean square distance of shapes ``N×K×2`` from their mean."""
    return float(np.sqrt(((formed - formed.mean(0)) ** 2).sum(-1).mean())) if len(formed) else 0.0


def odd_features(formed: DoubleArray, pairs: Sequence[tuple[int, int]]) -> DoubleArray:
    """Features of shapes that change their sign when left and right are exchanged: ``d⊗(1, s)``, flat."""
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    alone = [k for k in range(formed.shape[1]) if k not in {*left, *right}]
    count = len(formed)
    differences = (formed[:, left] - formed[:, right]).reshape(count, -1)
    middles = ((formed[:, left] + formed[:, right]) / 2).reshape(count, -1)
    same = np.concatenate((np.ones((count, 1)), middles, formed[:, alone].reshape(count, -1)), 1)
    out: DoubleArray = (differences[:, :, None] * same[:, None, :]).reshape(count, -1)
    return out


def _judge(formed: DoubleArray, pairs: Sequence[tuple[int, int]]) -> tuple[float | None, DoubleArray | None]:
    """Power of the judge of sides, told on every second pose from the others, and its weights where that is enough."""
    if not pairs or len(formed) < FEWEST_FOR_SIDES:
        return None, None
    features = odd_features(formed, pairs)
    told = features[1::2] @ _ridge(features[::2])
    power = float((told[_surest(told)] > 0).mean())
    return power, _ridge(features) if power >= POWER else None


def _surest(told: DoubleArray) -> BoolArray:
    """The quarter of which the judge is surest."""
    out: BoolArray = np.abs(told) >= np.quantile(np.abs(told), SURE)
    return out


def _ridge(features: DoubleArray) -> DoubleArray:
    """Weights ``w`` for which ``features @ w`` is near to 1, each feature on its own scale."""
    scale: DoubleArray = np.sqrt((features**2).mean(0)) + 1e-12
    scaled = features / scale
    square = scaled.T @ scaled / len(scaled) + RIDGE * np.eye(scaled.shape[1])
    out: DoubleArray = np.linalg.solve(square, scaled.mean(0)) / scale
    return out


def _first(values: DoubleArray, chosen: BoolArray) -> tuple[int, ...]:
    """The chosen rows, those of the lowest values first."""
    order = np.argsort(values, kind="stable")
    return tuple(int(row) for row in order[chosen[order]])
