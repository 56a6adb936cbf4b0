"""The map of one skeleton onto another by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from poseshift.data.skeletons.names import Words, side_words, split_name, told_apart
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


SAME, SYNONYM, CONFIGURED, MIDPOINT, NONE = "same name", "synonym", "configured", "mid-point", "none"
Partner = str | tuple[str, str]
"""What a target keypoint is made of: a source keypoint, or the mid-point of two; an empty text for none."""


@dataclass(frozen=True, kw_only=True)
class KeypointMap:
    """What each keypoint of ``target`` is made of.

    Attributes:
        source: Skeleton of the annotations to convert.
        target: Skeleton wanted.
        partners: For each target keypoint the source indices whose mean it is: one, two for a mid-point, none.
        how: For each target keypoint how that was found: ``same name``, ``synonym``, ``configured``, ``mid-point`` or
            ``none``.
    """

    source: Skeleton
    target: Skeleton
    partners: tuple[tuple[int, ...], ...]
    how: tuple[str, ...]

    @property
    def index(self) -> tuple[int, ...]:
        """The source keypoint that each target keypoint is; -1 where it has no partner or is a mid-point."""
        return tuple(found[0] if len(found) == 1 else -1 for found in self.partners)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the target keypoints without a partner: never labelled after :func:`apply`."""
        return tuple(name for name, found in zip(self.target.keypoints, self.partners, strict=True) if not found)

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the source keypoints that no target keypoint is made of."""
        used = {i for found in self.partners for i in found}
        return tuple(name for i, name in enumerate(self.source.keypoints) if i not in used)

    @property
    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """For people: each target keypoint, what it is made of (empty for nothing), and how that was found."""
        made_of = (" + ".join(self.source.keypoints[i] for i in found) for found in self.partners)
        return tuple(zip(self.target.keypoints, made_of, self.how, strict=True))

    def table(self) -> str:
        """:attr:`rows` as lines of text, and what of the source is not used."""
        rows = [
            (name, made_of or "–", "none: never labelled" if how == NONE else how) for name, made_of, how in self.rows
        ]
        wide, wider = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = [f"  {name:<{wide}} ← {made_of:<{wider}}  {how}" for name, made_of, how in rows]
        unused = f"  not used of the source: {', '.join(self.unused)}" if self.unused else ""
        head = f"keypoints, target ({self.target.name}) ← source ({self.source.name}):"
        return "\n".join([head, *lines, *([unused] if unused else [])])


def _canonical(told: Words) -> tuple[str, str, str]:
    """``(side, end, part)`` of a name: ``"L_F_Paw"`` and ``"left_front_paw"`` give ``("left", "front", "paw")``."""
    words, side, end = list(told), "", ""
    for i in side_words(told)[:1]:
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
        "give `mapping: {target_name: source_name}` in the configuration, or [source_name, source_name] for a mid-point"
    )


def _named(skeleton: Skeleton, role: str, name: str, lists: str) -> int:
    if name not in skeleton.keypoints:
        raise UsageError(f"mapping: {name!r} is no keypoint of the {role}: {lists}")
    return skeleton.keypoints.index(name)


def _from_overrides(source: Skeleton, target: Skeleton, overrides: Mapping[str, Partner]) -> dict[int, tuple[int, ...]]:
    """Target index to source indices (none: no partner wanted) of what the user wrote."""
    found: dict[int, tuple[int, ...]] = {}
    lists = _lists(source, target)
    for wanted, given in overrides.items():
        number = _named(target, "target", wanted, lists)
        names = [name for name in ([given] if isinstance(given, str) else given) if name]
        partner = tuple(_named(source, "source", name, lists) for name in names)
        if len(partner) == 1 and partner in found.values():
            raise UsageError(f"mapping: {given!r} is given to two target keypoints: {lists}")
        if not isinstance(given, str) and len(set(partner)) != 2:
            raise UsageError(f"mapping: {wanted!r}: {list(given)} are no two keypoints to take the middle of: {lists}")
        found[number] = partner
    return found


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What names alone say of two skeletons, all as indices of keypoints.

    Attributes:
        partners: Target to the source keypoints whose mean it is, none where the configuration wants none; a target
            keypoint that was not found is left out.
        how: Target to how its partner was found, as in :class:`KeypointMap`.
        several: Target to the source keypoints that it could be equally well.
    """

    partners: Mapping[int, tuple[int, ...]]
    how: Mapping[int, str]
    several: Mapping[int, tuple[int, ...]]


def match(source: Skeleton, target: Skeleton, overrides: Mapping[str, Partner] | None = None) -> Matches:
    """Match keypoints by name, as :func:`map_keypoints` does, whatever may be missing or unclear.

    Raises:
        UsageError: As :func:`map_keypoints`.
    """
    partners = _from_overrides(source, target, overrides or {})
    how = {number: (NONE, CONFIGURED, MIDPOINT)[len(found)] for number, found in partners.items()}
    several: dict[int, tuple[int, ...]] = {}
    names, wanted_names = ([_canonical(words) for words in told_apart(one.keypoints)] for one in (source, target))
    for label, same in ((SAME, lambda a, b: a == b), (SYNONYM, _alike)):
        for number, wanted in enumerate(wanted_names):
            if number in partners or number in several:
                continue
            used = set(partners.values())
            found = tuple(i for i, name in enumerate(names) if (i,) not in used and same(wanted, name))
            if len(found) > 1:
                several[number] = found
            elif found:
                partners[number], how[number] = found, label
    return Matches(partners=partners, how=how, several=several)


def map_keypoints(source: Skeleton, target: Skeleton, overrides: Mapping[str, Partner] | None = None) -> KeypointMap:
    """Match keypoints by name.

    In this order: what ``overrides`` says, equal names (case, separators, ``l_``/``left`` and ``hind``/``back`` apart),
    then synonyms (wrist/hand, paw/hoof, head/head_top, …) among the source keypoints still free. A keypoint that a
    mid-point is made of stays free.

    Args:
        source: Skeleton of the annotations.
        target: Skeleton wanted.
        overrides: Target name to source name, or to the two source names whose mid-point it is; an empty source name
            leaves the target keypoint without a partner.

    Raises:
        UsageError: An override names no keypoint, gives one source keypoint to two targets, or a mid-point is not of
            two keypoints.
        DataError: No keypoint has a partner, or a target keypoint has several equally good ones.
    """
    found = match(source, target, overrides)
    for number, several in found.several.items():
        names = [source.keypoints[i] for i in several]
        raise DataError(f"keypoint {target.keypoints[number]!r} could be any of {names}: {_lists(source, target)}")
    if not any(found.partners.values()):
        raise DataError(f"no keypoint of the two skeletons has the same name: {_lists(source, target)}")
    numbers = range(len(target))
    return KeypointMap(
        source=source,
        target=target,
        partners=tuple(found.partners.get(number, ()) for number in numbers),
        how=tuple(found.how.get(number, NONE) for number in numbers),
    )


def nearest(keypoint: str, names: Iterable[str]) -> str | None:
    """The name that is spelt most like ``keypoint`` on the same side and end of the body; None where none is alike.

    ``leftear`` is alike to ``left_ear``, though no ``rightear`` beside it says that it is a side.
    """
    names = list(names)
    wanted = _canonical(split_name(keypoint))
    told = {name: _canonical(words) for name, words in zip(names, told_apart(names), strict=True)}
    same = [name for name, words in told.items() if "".join(words) == "".join(wanted)]
    parts = {words[2]: name for name, words in told.items() if words[:2] == wanted[:2]}
    found = [parts[part] for part in difflib.get_close_matches(wanted[2], parts, n=1)]
    return next(iter(same + found), None)


def apply(annotations: Annotations, mapping: KeypointMap) -> Annotations:
    """The annotations in the target skeleton; visibility is 0 where a keypoint has no partner.

    A mid-point is visible where both of its keypoints are, occluded where both are labelled and one is occluded, else
    not labelled.

    Raises:
        DataError: The map was made for another skeleton.
    """
    if annotations.skeleton.keypoints != mapping.source.keypoints:
        found, expected = list(annotations.skeleton.keypoints), list(mapping.source.keypoints)
        raise DataError(
            f"{annotations.name}: the map expects keypoints {expected}, found {found}; make it from this data"
        )
    ends = [(partner[0], partner[-1]) if partner else (0, 0) for partner in mapping.partners]
    first, second = np.array(ends, np.int64).reshape(-1, 2).T
    has = np.array([bool(partner) for partner in mapping.partners])
    visible = np.where(has, np.minimum(annotations.visible[:, first], annotations.visible[:, second]), NOT_LABELLED)
    middle = (annotations.keypoints[:, first] + annotations.keypoints[:, second]) / 2  # of one with itself: itself
    keypoints = np.where((visible != NOT_LABELLED)[..., None], middle, 0)
    return replace(
        annotations,
        skeleton=mapping.target,
        keypoints=keypoints.astype(np.float32),
        visible=visible.astype(np.uint8),
    )
