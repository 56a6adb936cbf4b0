"""Split annotations into parts without ever separating a group (a subject, a video, an image)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from poseshift.errors import DataError, UsageError
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
