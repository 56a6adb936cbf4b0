"""Skeletons from bare names: sides, flip pairs and groups are read from the words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from poseshift.types import Skeleton

_SIDES = {"left": "left", "right": "right", "near": "left", "off": "right", "l": "left", "r": "right"}
_SWAPPED = {"left": "right", "right": "left", "near": "off", "off": "near", "l": "r", "r": "l"}
Words = tuple[str, ...]


def split_name(name: str) -> Words:
    """Lower-case words of a keypoint name.

    ``"L_EarBase"``, ``"l ear-base"`` and ``"LEarBase"`` all give ``("l", "ear", "base")``.
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", name)
    return tuple(re.findall(r"[a-z0-9]+", spaced.lower()))


def side_words(words: Words) -> list[int]:
    """Positions of words that may name a side: full words anywhere, then single letters, only at an end."""
    full = [i for i, word in enumerate(words) if word in ("left", "right")]
    return full + [i for i in sorted({0, len(words) - 1}) if words[i : i + 1] in (("l",), ("r",))]


def _readings(words: Words) -> Iterator[tuple[Words, Words]]:
    """Each way to read a side in ``words``: the words with ``left`` or ``right`` in its place, and the other side's."""
    for i, word in enumerate(words):
        if word in _SIDES and len(words) > 1:
            before, after = words[:i], words[i + 1 :]
            yield (*before, _SIDES[word], *after), (*before, _SWAPPED[word], *after)
    for i, word in enumerate(words):
        before, after = words[:i], words[i + 1 :]
        for side, other in _SWAPPED.items():
            if word.startswith(side) and word != side:
                rest = word.removeprefix(side)
                yield (*before, _SIDES[side], rest, *after), (*before, other + rest, *after)
        for side, other in _SWAPPED.items():
            if word.endswith(side) and word != side:
                rest = word.removesuffix(side)
                yield (*before, rest, _SIDES[side], *after), (*before, rest + other, *after)


def told_apart(keypoints: Iterable[str]) -> list[Words]:
    """The words of each name, with ``left`` or ``right`` as a word wherever the name of the other side is there too.

    So ``leftear`` beside ``rightear`` is ``("left", "ear")``, and so are the sides of ``LWrist``, ``forelegR4``,
    ``ma_l_end``, ``paw_FL`` and a horse's ``Nearknee`` (beside ``Offknee``); a name without a partner keeps the words
    of :func:`split_name`.
    """
    split = [split_name(keypoint) for keypoint in keypoints]
    there = set(split)
    found = {
        words: next(((told, other) for told, other in _readings(words) if other in there), (words, words))
        for words in there
    }
    told = {words: one for words, (one, other) in found.items() if found[other][1] == words}
    counts = Counter(told.get(words, words) for words in there)
    return [told[words] if words in told and counts[told[words]] == 1 else words for words in split]


def from_names(name: str, keypoints: Sequence[str], *, edges: Sequence[tuple[int, int]] = ()) -> Skeleton:
    """A skeleton from bare names.

    Two names are a flip pair where they differ in one side only, see :func:`told_apart`. Groups are the names without
    that side, in order of appearance; an unpaired keypoint is its own group.

    Args:
        name: Name of the skeleton.
        keypoints: ``K`` unique names.
        edges: Pairs of 0-based indices.

    Raises:
        DataError: Names repeat, or an edge leaves ``0..K-1``.
    """
    names = told_apart(keypoints)
    index = {words: i for i, words in enumerate(names)}
    pairs: set[tuple[int, int]] = set()
    groups: dict[str, list[int]] = {}
    for i, (keypoint, words) in enumerate(zip(keypoints, names, strict=True)):
        label = keypoint
        for place in (place for place, word in enumerate(words) if word in ("left", "right")):
            partner = index.get((*words[:place], _SWAPPED[words[place]], *words[place + 1 :]))
            if partner is not None:
                pairs.add((min(i, partner), max(i, partner)))
                label = "_".join(words[:place] + words[place + 1 :])
                break
        groups.setdefault(label, []).append(i)
    return Skeleton(
        name=name,
        keypoints=tuple(keypoints),
        flip_pairs=tuple(sorted(pairs)),
        edges=tuple((int(a), int(b)) for a, b in edges),
        groups={label: tuple(members) for label, members in groups.items()},
    )


def known(
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
