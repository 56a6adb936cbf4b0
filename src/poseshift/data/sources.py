"""A data set as a configuration names it: read, limited, mapped to a skeleton, stripped of labels where it must be."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

import numpy as np

from poseshift.data import formats, skeletons
from poseshift.data.skeletons import KeypointMap
from poseshift.errors import DataError
from poseshift.types import Annotations, Skeleton

log = logging.getLogger(__name__)


def read(spec: str, *, split: str | None = None, limit: int | None = None, labelled: bool = True) -> Annotations:
    """The annotations of ``FORMAT:PATH``, at most ``limit`` of them; without ``labelled``, no label is looked at.

    Raises:
        UsageError: Unknown format or split.
        DataError: Nothing to read, or files that do not fit.
    """
    annotations = formats.read(spec, split=split) if labelled else formats.read_unlabelled(spec, split=split)
    if limit is not None:
        annotations = annotations.select(np.arange(min(limit, len(annotations))))
    if not len(annotations):
        raise DataError(f"{spec}: no instances in split {split or 'default'}; check the path and the split")
    return annotations


def skeleton_map(source: Skeleton, wanted: Skeleton, mapping: Mapping[str, str], *, origin: str) -> KeypointMap:
    """Which keypoint of ``source`` each one of ``wanted`` is.

    Raises:
        DataError: No keypoint has a partner, one has several; or the numbers of keypoints differ, some have no
            partner, and no mapping was given.
    """
    if source.keypoints == wanted.keypoints:
        return KeypointMap(source=source, target=wanted, index=tuple(range(len(wanted))))
    found = skeletons.map_keypoints(source, wanted, mapping)
    if found.missing and not mapping and len(wanted) != len(source):
        raise DataError(
            f"{origin}: {len(source)} keypoints {list(source.keypoints)}, "
            f"expected {len(wanted)} {list(wanted.keypoints)}; without a partner: {list(found.missing)}; "
            "give `mapping: {target_name: source_name}`"
        )
    return found


def to_skeleton(annotations: Annotations, wanted: Skeleton, mapping: Mapping[str, str], *, origin: str) -> Annotations:
    """Labelled annotations in another skeleton, by name; logs what has no partner.

    Raises:
        DataError: See :func:`skeleton_map`.
    """
    if annotations.skeleton.keypoints == wanted.keypoints:
        return annotations
    found = skeleton_map(annotations.skeleton, wanted, mapping, origin=origin)
    if found.missing:
        log.warning("%s: no partner for %s; they are never labelled", origin, ", ".join(found.missing))
    return skeletons.apply(annotations, found)


def fingerprint(annotations: Annotations) -> str:
    """A sha256 over the columns and the names of the images: the same data gives the same string."""
    total = hashlib.sha256()
    for column in (annotations.keypoints, annotations.visible, annotations.boxes, annotations.image_index):
        total.update(np.ascontiguousarray(column).tobytes())
    step = max(1, len(annotations.images) // 1000)
    for index in range(0, len(annotations.images), step):
        total.update(annotations.images.key(index).encode())
    return total.hexdigest()
