"""Parts of annotations: splits that never separate a group (a subject, a video, an image), and published ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

BY_GROUP = "groups_"
"""What a split of any format begins with that takes a share of its groups: ``groups_0_80``."""


def split_by_group(annotations: Annotations, fractions: Mapping[str, float], *, seed: int) -> dict[str, Annotations]:
    """Parts of about the wanted sizes, whole groups each.

    Groups are shuffled by ``seed`` and laid end to end; a group belongs to the part that its middle falls into. The
    assignment depends on the groups, their sizes and the seed alone, not on the order of the instances; within a part
    instances keep their order.

    Args:
        annotations: ``N`` instances.
        fractions: Name of a part to its share of the instances; shares > 0 that sum to 1.
        seed: Any integer >= 0.

    Raises:
        UsageError: Shares are not positive or do not sum to 1.
        DataError: A part would be empty because there are too few groups.
    """
    shares = np.array(list(fractions.values()), np.float64)
    if len(shares) == 0 or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise UsageError(f"split: shares {dict(fractions)} must all be above 0 and sum to 1")
    names, member, counts = np.unique(annotations.groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    middles = np.cumsum(counts[order]) - counts[order] / 2
    part_of_group = np.empty(len(names), np.int64)
    part_of_group[order] = np.searchsorted(np.cumsum(shares)[:-1] * len(annotations), middles, side="right")
    parts = {}
    for number, name in enumerate(fractions):
        rows = np.flatnonzero(part_of_group[member] == number)
        if len(rows) == 0:
            raise DataError(
                f"{annotations.name}: part {name!r} of split {dict(fractions)} is empty, since {len(annotations)} "
                f"instances lie in only {len(names)} groups, which are never separated; use fewer or larger parts"
            )
        parts[name] = annotations.select(rows)
    return parts


def share_of_groups(split: str | None) -> tuple[float, float] | None:
    """The percentages of ``groups_A_B``; None for any other split. Raises :class:`UsageError` where they are none."""
    if split is None or not split.startswith(BY_GROUP):
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)", split.removeprefix(BY_GROUP))
    low, high = (float(one) for one in found.groups()) if found else (0.0, 0.0)
    if not 0 <= low < high <= 100:
        raise UsageError(f"split {split!r}: expected {BY_GROUP}A_B with percentages 0 <= A < B <= 100, as groups_0_80")
    return low, high


def in_share(annotations: Annotations, share: tuple[float, float]) -> Annotations:
    """The instances whose group has its place between two percentages.

    The place is a hash of the group's name alone: no group is ever on both sides, and it stays where it is when data is
    added, or read without its labels. So parts have about the wanted sizes where there are many groups.

    Raises:
        DataError: No group lies there.
    """
    names, member = np.unique(annotations.groups, return_inverse=True)
    hashes = (hashlib.sha256(str(name).encode("utf-8", "surrogatepass")).digest() for name in names)
    places = np.array([int.from_bytes(one[:6], "big") / 2**48 * 100 for one in hashes])
    chosen = (places >= share[0]) & (places < share[1])
    if not chosen.any():
        shown = ", ".join(f"{name} at {place:.0f}" for name, place in zip(names[:5], places[:5], strict=True))
        raise DataError(
            f"{annotations.name}: none of its {len(names)} groups, which are never separated, lies between "
            f"{share[0]:g} and {share[1]:g} ({shown}); take a wider range"
        )
    return annotations.select(chosen[member])


def held_out(annotations: Annotations, count: int) -> tuple[Annotations, Annotations]:
    """At most ``count`` instances in whole groups, and the rest; each keeps its order.

    Which groups depends on their names and sizes alone: runs on the same data hold out the same.
    """
    names, member, counts = np.unique(annotations.groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    chosen = np.zeros(len(names), bool)
    chosen[order[np.cumsum(counts[order]) <= count]] = True
    return annotations.select(chosen[member]), annotations.select(~chosen[member])


def published_rows(
    file: Path, content: Mapping[str, Any], part: str, split: str, *, count: int
) -> npt.NDArray[np.int64]:
    """Sorted positions of one part of a data set in a published split.

    Args:
        file: Where ``content`` was read from, for messages.
        content: ``{part: {split: [positions]}}``.
        part: For example an animal.
        split: The key of its list.
        count: Number of instances that the positions count.

    Raises:
        DataError: There is no such list, or it is empty.
        FormatError: It does not hold whole numbers, names one twice, or one outside ``0..count-1``.
    """
    entry = content.get(part)
    if not isinstance(entry, Mapping) or split not in entry:
        raise DataError(f"{str(file)!r} has no list {split!r} for {part!r}; choose another split or complete the file")
    found = entry[split]
    if not isinstance(found, list) or not all(type(value) is int for value in found):
        raise FormatError(f"{str(file)!r}: {part!r}/{split!r} is no list of whole numbers; fetch the file again")
    if not found:
        raise DataError(f"{str(file)!r}: {part!r}/{split!r} is empty; choose another split")
    if min(found) < 0 or max(found) >= count:
        raise FormatError(
            f"{str(file)!r}: {part!r}/{split!r} reaches from {min(found)} to {max(found)}, but the data has {count} "
            "instances; use the split of this very data, complete"
        )
    if len(set(found)) != len(found):
        raise FormatError(f"{str(file)!r}: {part!r}/{split!r} names a position twice; fetch the file again")
    return np.sort(np.array(found, np.int64))
