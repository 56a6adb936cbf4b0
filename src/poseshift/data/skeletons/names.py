"""Skeletons from bare names: sides, flip pairs and groups are read from the words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from poseshift.types import Skeleton

_SWAPPED = {"left": "right", "right": "left", "l": "r", "r": "l"}


def split_name(name: str) -> tuple[str, ...]:
    """Lower-case words of a keypoint name: ``"L_EarBase"`` and ``"l ear-base"`` both give ``("l", "ear", "base")``."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return tuple(re.findall(r"[a-z0-9]+", spaced.lower()))


def side_words(words: tuple[str, ...]) -> list[int]:
    """Positions of words that may name a side: full words anywhere, single letters only at an end."""
    last = len(words) - 1
    return [i for i, word in enumerate(words) if word in ("left", "right") or (word in ("l", "r") and i in (0, last))]


def _mirrored(words: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each way to read ``words`` as one side of a pair: ``(the mirrored words, the words without the side)``."""
    return [
        ((*words[:i], _SWAPPED[words[i]], *words[i + 1 :]), words[:i] + words[i + 1 :])
        for i in side_words(words)
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
