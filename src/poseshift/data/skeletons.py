"""Named skeletons, skeletons from bare names, and the map of one skeleton onto another by name.

Sides, pairs and groups are read from the names, so a user's own skeleton needs no further description:
``left_knee`` and ``right_knee`` mirror each other because both names exist, and both belong to the group ``knee``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from poseshift.errors import DataError, UsageError
from poseshift.types import NOT_LABELLED, Annotations, Skeleton

_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_SWAPPED = {"left": "right", "right": "left", "l": "r", "r": "l"}
_ENDS = {"front": "front", "fore": "front", "f": "front", "back": "back", "hind": "back", "rear": "back", "b": "back"}
_SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset({"wrist", "hand"}),
    frozenset({"ankle", "foot"}),
    frozenset({"paw", "hoof", "foot"}),
    frozenset({"headtop", "topofhead", "topheadpoint", "head"}),
    frozenset({"pelvis", "root", "rootpelvis", "midhip"}),
    frozenset({"ear", "earbase"}),
    frozenset({"tailbase", "rootoftail", "tailroot", "tailstart"}),
    frozenset({"withers", "wither"}),
)


def split_name(name: str) -> tuple[str, ...]:
    """Lower-case words of a keypoint name: ``"L_EarBase"`` and ``"l ear-base"`` both give ``("l", "ear", "base")``."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return tuple(re.findall(r"[a-z0-9]+", spaced.lower()))


def _side_words(words: tuple[str, ...]) -> list[int]:
    """Positions of words that may name a side: full words anywhere, single letters only at an end."""
    last = len(words) - 1
    return [i for i, word in enumerate(words) if word in ("left", "right") or (word in ("l", "r") and i in (0, last))]


def _mirrored(words: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each way to read ``words`` as one side of a pair: ``(the mirrored words, the words without the side)``."""
    return [
        ((*words[:i], _SWAPPED[words[i]], *words[i + 1 :]), words[:i] + words[i + 1 :])
        for i in _side_words(words)
        if len(words) > 1
    ]


def from_names(name: str, keypoints: Sequence[str], *, edges: Sequence[tuple[int, int]] = ()) -> Skeleton:
    """A skeleton from bare names.

    Two names are a flip pair where they differ in one side word only (``left``/``right`` anywhere, ``l``/``r`` first
    or last). Groups are the names without that word, in order of appearance; an unpaired keypoint is its own group.

    Args:
        name: Name of the skeleton.
        keypoints: ``K`` unique names.
        edges: Pairs of 0-based indices.

    Raises:
        DataError: Names repeat, or an edge leaves ``0..K-1``.
    """
    index = {split_name(keypoint): i for i, keypoint in enumerate(keypoints)}
    pairs: set[tuple[int, int]] = set()
    groups: dict[str, list[int]] = {}
    for i, keypoint in enumerate(keypoints):
        label = keypoint
        for mirrored, rest in _mirrored(split_name(keypoint)):
            partner = index.get(mirrored)
            if partner is not None and partner != i:
                pairs.add((min(i, partner), max(i, partner)))
                label = "_".join(rest)
                break
        groups.setdefault(label, []).append(i)
    return Skeleton(
        name=name,
        keypoints=tuple(keypoints),
        flip_pairs=tuple(sorted(pairs)),
        edges=tuple((int(a), int(b)) for a, b in edges),
        groups={label: tuple(members) for label, members in groups.items()},
    )


def _known(
    name: str,
    keypoints: str,
    groups: Mapping[str, str],
    edges: str,
    *,
    mean_groups: tuple[str, ...] = (),
    sigmas: tuple[float, ...] | None = None,
) -> Skeleton:
    """A named skeleton; ``groups`` maps a table's column to how the names of its keypoints end."""
    names = keypoints.split()
    pairs = [tuple(names.index(end) for end in edge.split("-")) for edge in edges.split()]
    plain = from_names(name, names, edges=[(a, b) for a, b in pairs])
    members = {column: tuple(i for i, k in enumerate(names) if k.endswith(end)) for column, end in groups.items()}
    return replace(plain, groups=members, mean_groups=mean_groups, sigmas=sigmas)


_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_QUADRUPED_LEGS = " ".join(
    f"{side}_{end}_elbow-{side}_{end}_knee {side}_{end}_knee-{side}_{end}_paw"
    for side in ("left", "right")
    for end in ("front", "back")
)

LSP = _known(
    "lsp",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder "
    "left_shoulder left_elbow left_wrist neck head_top",
    {**{limb: limb for limb in _LIMBS}, "head": "head_top"},
    "right_ankle-right_knee right_knee-right_hip left_hip-left_knee left_knee-left_ankle right_hip-left_hip "
    "right_wrist-right_elbow right_elbow-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-neck left_shoulder-neck neck-head_top right_shoulder-right_hip left_shoulder-left_hip",
    mean_groups=_LIMBS,
)
"""Leeds Sports Pose, 14 joints; the field's ``all`` is the mean of the 12 limb joints."""

ANIMAL14 = _known(
    "animal14",
    "left_eye right_eye "
    "left_front_paw right_front_paw left_back_paw right_back_paw "
    "left_front_knee right_front_knee left_back_knee right_back_knee "
    "left_front_elbow right_front_elbow left_back_elbow right_back_elbow",
    {"eye": "eye", "hoof": "paw", "knee": "knee", "elbow": "elbow"},
    f"left_eye-right_eye left_front_elbow-right_front_elbow left_back_elbow-right_back_elbow {_QUADRUPED_LEGS}",
)
"""The 14 joints that SyntheticAnimal and AnimalPose share."""

ANIMALPOSE20 = _known(
    "animalpose20",
    "left_eye right_eye nose left_ear right_ear "
    "left_front_elbow right_front_elbow left_back_elbow right_back_elbow "
    "left_front_knee right_front_knee left_back_knee right_back_knee "
    "left_front_paw right_front_paw left_back_paw right_back_paw throat withers tailbase",
    {
        part: {"hoof": "paw"}.get(part, part)
        for part in ("eye", "nose", "ear", "hoof", "knee", "elbow", "throat", "withers", "tailbase")
    },
    "left_eye-right_eye left_eye-nose right_eye-nose left_eye-left_ear right_eye-right_ear nose-throat "
    f"withers-tailbase {_QUADRUPED_LEGS}",
)
"""AnimalPose (Cao et al., ICCV 2019), official order of 20 joints."""

COCO17 = _known(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    {part: part for part in ("nose", "eye", "ear", *_LIMBS)},
    "left_ankle-left_knee left_knee-left_hip right_ankle-right_knee right_knee-right_hip left_hip-right_hip "
    "left_shoulder-left_hip right_shoulder-right_hip left_shoulder-right_shoulder left_shoulder-left_elbow "
    "right_shoulder-right_elbow left_elbow-left_wrist right_elbow-right_wrist left_eye-right_eye nose-left_eye "
    "nose-right_eye left_eye-left_ear right_eye-right_ear left_ear-left_shoulder right_ear-right_shoulder",
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)
"""COCO persons, 17 keypoints, with the sigmas of COCO's own evaluation."""

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (LSP, ANIMAL14, ANIMALPOSE20, COCO17)}


def known_or_new(name: str, keypoints: Sequence[str], *, edges: Sequence[tuple[int, int]] = ()) -> Skeleton:
    """The entry of :data:`SKELETONS` with these names in this order, else :func:`from_names`.

    Case and separators of names make no difference.
    """
    words = [split_name(keypoint) for keypoint in keypoints]
    for skeleton in SKELETONS.values():
        if words == [split_name(keypoint) for keypoint in skeleton.keypoints]:
            return skeleton
    return from_names(name, keypoints, edges=edges)


@dataclass(frozen=True, kw_only=True)
class KeypointMap:
    """Which keypoint of ``source`` each keypoint of ``target`` is.

    Attributes:
        source: Skeleton of the annotations to convert.
        target: Skeleton wanted.
        index: For each target keypoint the source index, or -1 where it has no partner.
    """

    source: Skeleton
    target: Skeleton
    index: tuple[int, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the target keypoints without a partner: never labelled after :func:`apply`."""
        return tuple(name for name, i in zip(self.target.keypoints, self.index, strict=True) if i < 0)


def _canonical(name: str) -> tuple[str, str, str]:
    """``(side, end, part)`` of a name: ``"L_F_Paw"`` and ``"left_front_paw"`` give ``("left", "front", "paw")``."""
    words = list(split_name(name))
    side = end = ""
    for i in _side_words(tuple(words))[:1]:
        if len(words) > 1:
            side = _SIDES[words.pop(i)]
    if len(words) > 1 and words[0] in _ENDS:
        end = _ENDS[words.pop(0)]
    return side, end, "".join(words)


def _alike(a: tuple[str, str, str], b: tuple[str, str, str]) -> bool:
    return a[:2] == b[:2] and any(a[2] in words and b[2] in words for words in _SYNONYMS)


def _lists(source: Skeleton, target: Skeleton) -> str:
    """The tail of every message below: both lists, and what to write."""
    return (
        f"source {source.name!r} has {list(source.keypoints)}, target {target.name!r} has {list(target.keypoints)}; "
        "give `mapping: {target_name: source_name}` in the configuration"
    )


def _from_overrides(source: Skeleton, target: Skeleton, overrides: Mapping[str, str]) -> dict[int, int]:
    """Target index to source index (-1: none wanted) of what the user wrote."""
    index: dict[int, int] = {}
    for wanted, given in overrides.items():
        if wanted not in target.keypoints:
            raise UsageError(f"mapping: {wanted!r} is no keypoint of the target: {_lists(source, target)}")
        if given and given not in source.keypoints:
            raise UsageError(f"mapping: {given!r} is no keypoint of the source: {_lists(source, target)}")
        number = source.keypoints.index(given) if given else -1
        if number >= 0 and number in index.values():
            raise UsageError(f"mapping: {given!r} is given to two target keypoints: {_lists(source, target)}")
        index[target.keypoints.index(wanted)] = number
    return index


def map_keypoints(source: Skeleton, target: Skeleton, overrides: Mapping[str, str] | None = None) -> KeypointMap:
    """Match keypoints by name.

    In this order: what ``overrides`` says, equal names (case, separators, ``l_``/``left`` and ``hind``/``back`` apart),
    then synonyms (wrist/hand, paw/hoof, head/head_top, …) among the source keypoints still free.

    Args:
        source: Skeleton of the annotations.
        target: Skeleton wanted.
        overrides: Target name to source name; an empty source name leaves the target keypoint without a partner.

    Raises:
        UsageError: An override names no keypoint, or gives one source keypoint to two targets.
        DataError: No keypoint has a partner, or a target keypoint has several equally good ones.
    """
    index = _from_overrides(source, target, overrides or {})
    names = [_canonical(keypoint) for keypoint in source.keypoints]
    for same in (lambda a, b: a == b, _alike):
        for number, keypoint in enumerate(target.keypoints):
            if number in index:
                continue
            wanted, used = _canonical(keypoint), set(index.values())
            found = [i for i, name in enumerate(names) if i not in used and same(wanted, name)]
            if len(found) > 1:
                several = [source.keypoints[i] for i in found]
                raise DataError(f"keypoint {keypoint!r} could be any of {several}: {_lists(source, target)}")
            if found:
                index[number] = found[0]
    result = KeypointMap(source=source, target=target, index=tuple(index.get(i, -1) for i in range(len(target))))
    if all(i < 0 for i in result.index):
        raise DataError(f"no keypoint of the two skeletons has the same name: {_lists(source, target)}")
    return result


def apply(annotations: Annotations, mapping: KeypointMap) -> Annotations:
    """The annotations in the target skeleton: columns reordered, visibility 0 where a keypoint has no partner.

    Raises:
        DataError: The map was made for another skeleton.
    """
    if annotations.skeleton.keypoints != mapping.source.keypoints:
        found, expected = list(annotations.skeleton.keypoints), list(mapping.source.keypoints)
        raise DataError(
            f"{annotations.name}: the map expects keypoints {expected}, found {found}; make it from this data"
        )
    index = np.asarray(mapping.index, np.int64)
    partner = index >= 0
    keypoints = np.where(partner[None, :, None], annotations.keypoints[:, index], 0).astype(np.float32)
    visible = np.where(partner[None, :], annotations.visible[:, index], NOT_LABELLED).astype(np.uint8)
    return replace(annotations, skeleton=mapping.target, keypoints=keypoints, visible=visible)
