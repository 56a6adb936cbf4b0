"""Parts of annotations: splits that never separate a group (a subject, a video, an image), and published ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations


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
