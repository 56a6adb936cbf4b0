"""The types that everything else speaks: numpy only, no torch, no I/O.

Axes
    ``N`` instances, ``K`` keypoints, ``H W`` image pixels, ``h w`` heatmap cells, ``B`` batch, ``C`` channels.
Units
    Keypoints and boxes are in pixels of the image they belong to.
Pixel convention
    A keypoint is ``(x, y)``; **the centre of the top-left pixel is (0, 0)**, so an image of width ``W`` covers
    ``-0.5 <= x < W - 0.5``. When an image is resized by a factor ``s`` about its corner, ``x' = s * (x + 0.5) - 0.5``.
Boxes
    ``(x0, y0, x1, y1)``, corners in the same coordinates as the keypoints; a row of NaN says that there is no box.
Visibility
    COCO's: ``0`` not labelled, ``1`` labelled but occluded, ``2`` visible. It is the only truth about absence:
    where it is 0 the coordinates mean nothing (they are stored as 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from poseshift.errors import DataError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]

NOT_LABELLED, OCCLUDED, VISIBLE = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Names of keypoints, and what connects, mirrors and groups them.

    Attributes:
        name: For example ``"lsp"``.
        keypoints: ``K`` names, in the order of every array.
        flip_pairs: Pairs of indices that swap when an image is mirrored.
        edges: Pairs of indices to draw a line between.
        groups: Name of a group to the indices that it averages over, in the order of the paper's table.
        mean_groups: The groups (or all keypoints where empty) whose keypoints make the mean of a table: the field's
            ``all`` of human data leaves head and neck out.
        sigmas: OKS sigma of each keypoint, where known.
    """

    name: str
    keypoints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    mean_groups: tuple[str, ...] = ()
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        if len(set(self.keypoints)) != count:
            raise DataError(
                f"skeleton {self.name!r}: keypoint names repeat in {list(self.keypoints)}; each must be unique"
            )
        indices = [i for pair in (*self.flip_pairs, *self.edges, *self.groups.values()) for i in pair]
        if indices and not (min(indices) >= 0 and max(indices) < count):
            raise DataError(
                f"skeleton {self.name!r}: an index lies outside 0..{count - 1} in its pairs, edges or groups"
            )
        if self.sigmas is not None and len(self.sigmas) != count:
            raise DataError(f"skeleton {self.name!r}: {len(self.sigmas)} sigmas for {count} keypoints")

    def __len__(self) -> int:
        return len(self.keypoints)

    @classmethod
    def restored(cls, raw: Mapping[str, Any]) -> Skeleton:
        """What ``dataclasses.asdict`` made of one, after a way through JSON."""
        pairs = {key: tuple((int(a), int(b)) for a, b in raw[key]) for key in ("flip_pairs", "edges")}
        return cls(
            name=raw["name"],
            keypoints=tuple(raw["keypoints"]),
            groups={name: tuple(rows) for name, rows in raw["groups"].items()},
            mean_groups=tuple(raw["mean_groups"]),
            sigmas=None if raw["sigmas"] is None else tuple(raw["sigmas"]),
            **pairs,
        )

    @cached_property
    def flip_index(self) -> tuple[int, ...]:
        """Index of the keypoint that each keypoint becomes in a mirrored image."""
        index = list(range(len(self.keypoints)))
        for left, right in self.flip_pairs:
            index[left], index[right] = right, left
        return tuple(index)

    @cached_property
    def mean_keypoints(self) -> tuple[int, ...]:
        """Indices of the keypoints that a table's mean counts."""
        if not self.mean_groups:
            return tuple(range(len(self.keypoints)))
        return tuple(i for name in self.mean_groups for i in self.groups[name])


@runtime_checkable
class Images(Protocol):
    """Where pixels come from: files, or a procedural domain. Must be picklable, for loader workers."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, index: int) -> ByteArray:
        """Image ``index`` as ``H×W×3`` RGB, uint8. Raises :class:`DataError` where it does not decode."""

    def key(self, index: int) -> str:
        """A stable name of image ``index``, for messages and results: a path relative to the root."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One instance: a row of :class:`Annotations`."""

    image: int
    key: str
    keypoints: FloatArray
    visible: ByteArray
    box: FloatArray
    group: str
    category: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """Instances in columns: a million of them cost a few hundred bytes each.

    Attributes:
        name: What to call this data in a report, for example ``"lsp"``.
        images: Where the pixels come from.
        image_index: ``N``, int64: which image each instance lies in.
        skeleton: Names of the ``K`` keypoints.
        keypoints: ``N×K×2``, float32.
        visible: ``N×K``, uint8 in {0, 1, 2}.
        boxes: ``N×4``, float32 corners; NaN rows where an instance has no box.
        groups: ``N`` strings (subject, video, animal); a split by group never separates one.
        categories: ``N`` strings (dog, sheep, person): evaluation reports each on its own when there are several.
        note: What the reader wants a report to say about this data, such as where its boxes come from.
        reference_shift: Pixels that the field's own evaluation code adds to these coordinates; only the ``reference``
            protocol repeats it.
    """

    name: str
    images: Images
    image_index: IntArray
    skeleton: Skeleton
    keypoints: FloatArray
    visible: ByteArray
    boxes: FloatArray
    groups: npt.NDArray[np.str_]
    categories: npt.NDArray[np.str_]
    note: str = ""
    reference_shift: float = 0.0

    def __post_init__(self) -> None:
        n, k = len(self.image_index), len(self.skeleton)
        expected = {"keypoints": (n, k, 2), "visible": (n, k), "boxes": (n, 4), "groups": (n,), "categories": (n,)}
        for column, shape in expected.items():
            found = getattr(self, column).shape
            if found != shape:
                raise DataError(f"{self.name}: column {column!r} has shape {found}, expected {shape}")

    def __len__(self) -> int:
        return len(self.image_index)

    def __getitem__(self, index: int) -> Record:
        image = int(self.image_index[index])
        return Record(
            image=image,
            key=self.images.key(image),
            keypoints=self.keypoints[index],
            visible=self.visible[index],
            box=self.boxes[index],
            group=str(self.groups[index]),
            category=str(self.categories[index]),
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | Sequence[int]) -> Annotations:
        """The instances of ``rows`` (indices or a mask), in that order; the images stay as they are."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.int64)
        columns = ("image_index", "keypoints", "visible", "boxes", "groups", "categories")
        return replace(self, **{column: getattr(self, column)[index] for column in columns})

    def blank(self) -> Annotations:
        """The same instances with every keypoint not labelled; the names of the keypoints stay."""
        return replace(self, keypoints=np.zeros_like(self.keypoints), visible=np.zeros_like(self.visible))

    def without_labels(self) -> Annotations:
        """The same instances with no keypoints at all, which is what adaptation is given of a target."""
        n = len(self)
        return replace(
            self,
            skeleton=Skeleton(name="none", keypoints=()),
            keypoints=np.zeros((n, 0, 2), np.float32),
            visible=np.zeros((n, 0), np.uint8),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a predictor says about the instances of some :class:`Annotations`, in their order.

    Attributes:
        keypoints: ``N×K×2``, float32, in pixels of the original image.
        scores: ``N×K``, float32 in [0, 1].
        calibrated: Whether a score is the probability that the keypoint lies within PCK@0.05 of its true place; else
            it is the height of the heatmap's peak, which is no probability.
        crop_side: ``N``, float32: side of the square evaluation crop in pixels of the original image.
    """

    keypoints: FloatArray
    scores: FloatArray
    crop_side: FloatArray
    calibrated: bool = False

    @property
    def count(self) -> int:
        """Instances that have a prediction; one whose image does not decode has NaN."""
        return int(np.isfinite(self.keypoints).all(axis=(1, 2)).sum())
