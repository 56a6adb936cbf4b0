"""The order of images that lie in shards and are not kept in memory: as random as a few units in memory allow.

A unit is what one reading fetches, such as a row group of a Parquet file. An epoch takes the units in random order, a
window of :data:`WINDOW` of them at a time, and the rows of a window in random order: each unit is fetched once an epoch
where rows drawn from everywhere would fetch one for every row.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from poseshift.types import IntArray

WINDOW = 16
"""Units whose rows are mixed, and that are kept in memory."""


@runtime_checkable
class UnitImages(Protocol):
    """Images that are fetched many at a time."""

    def units(self, images: IntArray) -> IntArray:
        """``N`` numbers of the units that ``N`` images lie in."""


def permutation(draws: np.random.Generator, units: IntArray) -> IntArray:
    """The rows ``0..N-1`` in the order of one epoch.

    Args:
        draws: Of that epoch.
        units: ``N``: the unit of each row.
    """
    names, unit = np.unique(units, return_inverse=True)
    window = draws.permutation(len(names))[unit] // WINDOW
    return np.lexsort((draws.permutation(len(units)), window))
