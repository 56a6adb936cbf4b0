"""The map of one skeleton onto another by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from poseshift.data.skeletons.names import side_words, split_name
from poseshift.errors import DataError, UsageError
from poseshift.types import NOT_LABELLED, Annotations, Skeleton

_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
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
    for i in side_words(tuple(words))[:1]:
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


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What names alone say of two skeletons, all as indices of keypoints.

    Attributes:
        partner: Target to source (-1 where an override wants none); a target keypoint without a partner is left out.
        how: Target to ``mapping`` (an override), ``name`` (equal names) or ``synonym``.
        several: Target to the source keypoints that it could be equally well.
    """

    partner: Mapping[int, int]
    how: Mapping[int, str]
    several: Mapping[int, tuple[int, ...]]


def match(source: Skeleton, target: Skeleton, overrides: Mapping[str, str] | None = None) -> Matches:
    """Match keypoints by name, as :func:`map_keypoints` does, whatever may be missing or unclear.

    Raises:
        UsageError: An override names no keypoint, or gives one source keypoint to two targets.
    """
    index = _from_overrides(source, target, overrides or {})
    how, several = dict.fromkeys(index, "mapping"), dict[int, tuple[int, ...]]()
    names = [_canonical(keypoint) for keypoint in source.keypoints]
    for rule, same in (("name", lambda a, b: a == b), ("synonym", _alike)):
        for number, keypoint in enumerate(target.keypoints):
            if number in index or number in several:
                continue
            wanted, used = _canonical(keypoint), set(index.values())
            found = [i for i, name in enumerate(names) if i not in used and same(wanted, name)]
            if len(found) > 1:
                several[number] = tuple(found)
            elif found:
                index[number], how[number] = found[0], rule
    return Matches(partner=index, how=how, several=several)


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
    found = match(source, target, overrides)
    for number, several in found.several.items():
        names = [source.keypoints[i] for i in several]
        raise DataError(f"keypoint {target.keypoints[number]!r} could be any of {names}: {_lists(source, target)}")
    result = KeypointMap(
        source=source, target=target, index=tuple(found.partner.get(i, -1) for i in range(len(target)))
    )
    if all(i < 0 for i in result.index):
        raise DataError(f"no keypoint of the two skeletons has the same name: {_lists(source, target)}")
    return result


def nearest(keypoint: str, names: Iterable[str]) -> str | None:
    """The name that is spelt most like ``keypoint`` on the same side and end of the body; None where none is alike.

    ``leftear`` is alike to ``left_ear``, though the map does not read a side in it.
    """
    wanted = _canonical(keypoint)
    told = {name: _canonical(name) for name in names}
    same = [name for name, words in told.items() if "".join(words) == "".join(wanted)]
    parts = {words[2]: name for name, words in told.items() if words[:2] == wanted[:2]}
    found = [parts[part] for part in difflib.get_close_matches(wanted[2], parts, n=1)]
    return next(iter(same + found), None)


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
