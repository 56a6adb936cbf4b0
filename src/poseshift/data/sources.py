"""A data set as a configuration names it: read, limited, mapped to a skeleton, stripped of labels where it must be."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from poseshift.data import formats, skeletons
from poseshift.data.skeletons import KeypointMap, Partner
from poseshift.errors import DataError
from poseshift.types import Annotations, Skeleton

log = logging.getLogger(__name__)


LABEL_BOXES = "Boxes and instances are those that labels give (label_boxes), as published protocols cut."


def read(
    spec: str,
    *,
    split: str | None = None,
    limit: int | None = None,
    labelled: bool = True,
    label_boxes: bool = False,
) -> Annotations:
    """The annotations of ``FORMAT:PATH``.

    Args:
        spec: ``FORMAT:PATH``.
        split: Of that format.
        limit: At most so many, the first ones.
        labelled: Without it no label is looked at.
        label_boxes: Without labels: keep the instances and boxes that the reader computes from labels all the same,
            and only these; the note says so.

    Raises:
        UsageError: Unknown format or split.
        DataError: Nothing to read, or files that do not fit.
    """
    looked = labelled or label_boxes
    annotations = formats.read(spec, split=split) if looked else formats.read_unlabelled(spec, split=split)
    if label_boxes and not labelled:
        annotations = replace(annotations.blank(), note=f"{annotations.note} {LABEL_BOXES}".strip())
    if not labelled and split is None and (parts := formats.taken_together(spec)):
        log.warning(
            "%s: no split is named, so %s are read together; name one to keep test images unseen",
            spec,
            ", ".join(parts),
        )
    if limit is not None:
        annotations = annotations.select(np.arange(min(limit, len(annotations))))
    if not len(annotations):
        raise DataError(f"{spec}: no instances in split {split or 'default'}; check the path and the split")
    return annotations


def skeleton_map(
    source: Skeleton, wanted: Skeleton, mapping: Mapping[str, Partner], *, origin: str
) -> KeypointMap | None:
    """What each keypoint of ``wanted`` is made of; None where the keypoints are the same and no mapping says otherwise.

    Raises:
        DataError: No keypoint has a partner, one has several; or the numbers of keypoints differ, some have no
            partner, and no mapping was given.
    """
    if source.keypoints == wanted.keypoints and not mapping:
        return None
    found = skeletons.map_keypoints(source, wanted, mapping)
    if found.missing and not mapping and len(wanted) != len(source):
        raise DataError(
            f"{origin}: {len(source)} keypoints {list(source.keypoints)}, "
            f"expected {len(wanted)} {list(wanted.keypoints)}; without a partner: {list(found.missing)}; "
            "give `mapping: {target_name: source_name}`"
        )
    return found


def match(
    annotations: Annotations, wanted: Skeleton, mapping: Mapping[str, Partner], *, origin: str
) -> KeypointMap | None:
    """:func:`skeleton_map` of labelled annotations; logs what has no partner. Raises as it does."""
    found = skeleton_map(annotations.skeleton, wanted, mapping, origin=origin)
    if found is not None and found.missing:
        log.warning("%s: no partner for %s; they are never labelled", origin, ", ".join(found.missing))
    return found


def to_skeleton(
    annotations: Annotations, wanted: Skeleton, mapping: Mapping[str, Partner], *, origin: str
) -> Annotations:
    """Labelled annotations in another skeleton, as :func:`match` finds. Raises as it does."""
    found = match(annotations, wanted, mapping, origin=origin)
    return annotations if found is None else skeletons.apply(annotations, found)


def of_target(
    annotations: Annotations, wanted: Skeleton, mapping: Mapping[str, Partner], *, origin: str
) -> Annotations:
    """Labelled annotations like the target's in a run's skeleton. Raises as :func:`match`.

    Where they have the run's keypoints they stay as they are: what a mapping says is then about the source.
    """
    same = annotations.skeleton.keypoints == wanted.keypoints
    return annotations if same else to_skeleton(annotations, wanted, mapping, origin=origin)


def fingerprint(annotations: Annotations) -> str:
    """A sha256 over the columns and the names of the images: the same data gives the same string."""
    total = hashlib.sha256()
    for column in (annotations.keypoints, annotations.visible, annotations.boxes, annotations.image_index):
        total.update(np.ascontiguousarray(column).tobytes())
    step = max(1, len(annotations.images) // 1000)
    for index in range(0, len(annotations.images), step):
        total.update(annotations.images.key(index).encode())
    return total.hexdigest()
