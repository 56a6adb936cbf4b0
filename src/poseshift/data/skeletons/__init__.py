"""Named skeletons, skeletons from bare names, and the map of one skeleton onto another by name.

Sides, pairs and groups are read from the names, so a user's own skeleton needs no further description:
``left_knee`` and ``right_knee`` mirror each other because both names exist, and both belong to the group ``knee``.
"""

from __future__ import annotations

from collections.abc import Sequence

from poseshift.data.skeletons.animals import ANIMAL14, ANIMAL18, ANIMALPOSE20, AP10K17, BADJA20
from poseshift.data.skeletons.hands import HAND21
from poseshift.data.skeletons.mapping import KeypointMap, Matches, Partner, apply, map_keypoints, match, nearest
from poseshift.data.skeletons.names import from_names, split_name, told_apart
from poseshift.data.skeletons.people import COCO17, HUMAN16, LSP, MPII16
from poseshift.types import Skeleton

__all__ = [
    "ANIMAL14",
    "ANIMAL18",
    "ANIMALPOSE20",
    "AP10K17",
    "BADJA20",
    "COCO17",
    "HAND21",
    "HUMAN16",
    "LSP",
    "MPII16",
    "SKELETONS",
    "KeypointMap",
    "Matches",
    "Partner",
    "apply",
    "from_names",
    "known_or_new",
    "map_keypoints",
    "match",
    "nearest",
    "split_name",
    "told_apart",
]

SKELETONS: dict[str, Skeleton] = {
    s.name: s for s in (LSP, MPII16, HUMAN16, COCO17, HAND21, ANIMAL14, ANIMAL18, ANIMALPOSE20, AP10K17, BADJA20)
}


def known_or_new(name: str, keypoints: Sequence[str], *, edges: Sequence[tuple[int, int]] = ()) -> Skeleton:
    """The entry of :data:`SKELETONS` with these names in this order, else :func:`from_names`.

    Case and separators of names make no difference.
    """
    words = told_apart(keypoints)
    for skeleton in SKELETONS.values():
        if words == told_apart(skeleton.keypoints):
            return skeleton
    return from_names(name, keypoints, edges=edges)
