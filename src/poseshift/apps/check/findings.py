"""What can be wrong with annotations: each finding is rows of them, found for all instances at once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseshift.data.layouts import file_of
from poseshift.errors import DataError
from poseshift.types import NOT_LABELLED, Annotations, FloatArray, Images, IntArray

BoolArray = npt.NDArray[np.bool_]

MARGIN = 1.0
"""Pixels that a box or keypoint may leave its image before anybody is told: rounding."""
AGREE, OPPOSED, USUAL, COHERENT = 0.5, -0.9, 0.9, 0.9
"""Cosines from which two left-to-right directions agree or are opposed; how often a pair must agree in the data; how
long the mean of the other pairs' unit directions must be."""


@dataclass(frozen=True, kw_only=True)
class Headers:
    """What the files of all images say.

    Attributes:
        sizes: ``M×2`` width and height; NaN where an image cannot be read.
        unreadable: Name and reason of each image that cannot be read.
        same: Names of images with the same bytes, two or more each.
    """

    sizes: FloatArray
    unreadable: dict[str, str]
    same: list[list[str]]


def headers(images: Images, advance: Callable[[int], None] = lambda count: None) -> Headers:
    """Reads the header of every image (the whole image where its source has no headers), and hashes files.

    Args:
        images: Of the data.
        advance: Called with the number of images done, for a progress bar.
    """
    sizes = np.full((len(images), 2), np.nan, np.float32)
    unreadable: dict[str, str] = {}
    hashes: dict[bytes, list[str]] = defaultdict(list)
    size_of = getattr(images, "size", None)
    for index in range(len(images)):
        try:
            if size_of is not None:
                sizes[index] = size_of(index)
            else:
                sizes[index] = images.read(index).shape[1::-1]
            if (file := file_of(images, index)) is not None:
                hashes[hashlib.blake2b(file.read_bytes(), digest_size=16).digest()].append(images.key(index))
        except (DataError, OSError) as error:
            unreadable[images.key(index)] = str(error)
        advance(1)
    return Headers(sizes=sizes, unreadable=unreadable, same=[names for names in hashes.values() if len(names) > 1])


def repeated(annotations: Annotations) -> IntArray:
    """Rows that repeat an earlier row: same image, keypoints, visibility and box."""
    if not len(annotations):
        return np.zeros(0, np.int64)
    n = len(annotations)
    numbers = np.concatenate([annotations.keypoints.reshape(n, -1), annotations.visible, annotations.boxes], axis=1)
    table = np.concatenate([annotations.image_index[:, None], np.nan_to_num(numbers, nan=-1e9)], axis=1)
    _, first = np.unique(table, axis=0, return_index=True)
    return np.setdiff1d(np.arange(n), first)


def boxes_outside(annotations: Annotations, sizes: FloatArray) -> IntArray:
    """Rows whose box leaves its image by more than a pixel; boxes and images of unknown size are passed over."""
    size = sizes[annotations.image_index]
    low, high = annotations.boxes[:, :2], annotations.boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        leaves = (low < -0.5 - MARGIN) | (high > size - 0.5 + MARGIN)
    return np.flatnonzero(leaves.any(1))


def keypoints_outside(annotations: Annotations, sizes: FloatArray) -> IntArray:
    """Rows with a labelled keypoint outside its image by more than a pixel."""
    size = sizes[annotations.image_index][:, None]
    points, labelled = annotations.keypoints, annotations.visible != NOT_LABELLED
    with np.errstate(invalid="ignore"):
        leaves = ((points < -0.5 - MARGIN) | (points > size - 0.5 + MARGIN)).any(2)
    return np.flatnonzero((leaves & labelled).any(1))


def swapped(annotations: Annotations) -> dict[tuple[int, int], IntArray]:
    """Suspects of a left and right exchanged: rows by flip pair.

    A pair's direction from first to second keypoint is compared with the mean direction of the other pairs of the same
    instance, where two or more of these point the same way. Where a pair agrees with the others in nine of ten such
    instances (as hips do with shoulders), those where it points the opposite way are suspects. An instance with every
    pair exchanged looks like one seen from behind, and is not found.
    """
    pairs = annotations.skeleton.flip_pairs
    if len(pairs) < 2:
        return {}
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    both = (annotations.visible[:, first] != NOT_LABELLED) & (annotations.visible[:, second] != NOT_LABELLED)
    steps = np.where(both[..., None], annotations.keypoints[:, second] - annotations.keypoints[:, first], 0)
    length = np.linalg.norm(steps, axis=2, keepdims=True)
    unit = np.divide(steps, length, out=np.zeros_like(steps), where=length > 0)
    known = both & (length[..., 0] > 0)
    beside = known.sum(1, keepdims=True) - known
    others = unit.sum(1, keepdims=True) - unit
    weight = np.linalg.norm(others, axis=2)
    cosine = (unit * others).sum(2) / np.maximum(weight, 1e-6)
    return dict(_opposed(pairs, cosine, known & (beside >= 2) & (weight >= COHERENT * beside)))


def _opposed(
    pairs: tuple[tuple[int, int], ...], cosine: FloatArray, known: BoolArray
) -> Iterator[tuple[tuple[int, int], IntArray]]:
    for number, pair in enumerate(pairs):
        said, own = known[:, number], cosine[:, number]
        clear = said & ((own > AGREE) | (own < OPPOSED))
        against = clear & (own < OPPOSED)
        if against.any() and (clear & ~against).sum() >= USUAL * clear.sum():
            yield pair, np.flatnonzero(against)
