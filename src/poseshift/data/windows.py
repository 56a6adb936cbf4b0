"""The order of images that lie in shards and are not kept in memory: as random as a few units in memory allow.

A unit is what one reading fetches, such as a row group of a Parquet file. Units are dealt to lanes, and each place of
the global batch draws from one lane: a process, which has some of the places, fetches the units of its lanes and no
others, and which image stands where does not depend on the number of processes. An epoch of a lane takes its units in
random order, a window of them at a time, and the rows of a window in random order: each unit is fetched once an epoch
where rows drawn from everywhere would fetch one for every row. The windows of all lanes together have :data:`WINDOW`
units.
"""

from __future__ import annotations

import heapq
import math
from typing import Protocol, runtime_checkable

import numpy as np

from poseshift.types import IntArray

WINDOW = 16
"""Units whose rows are mixed, over all lanes."""
FEWEST = 8
"""Units of a lane: with fewer, some lanes would be done with theirs much earlier than others."""


@runtime_checkable
class UnitImages(Protocol):
    """Images that are fetched many at a time."""

    def units(self, images: IntArray) -> IntArray:
        """``N`` numbers of the units that ``N`` images lie in."""


def lanes(units: IntArray, total: int) -> list[IntArray]:
    """The rows of each lane, in order; as many lanes as divide the batch and the window and have :data:`FEWEST` units.

    Args:
        units: ``N``: the unit of each row.
        total: Places of the global batch.
    """
    names, unit, rows = np.unique(units, return_inverse=True, return_counts=True)
    count = math.gcd(total, WINDOW)
    while count > 1 and count * FEWEST > len(names):
        count //= 2
    lane, filled = np.empty(len(names), np.int64), [(0, number) for number in range(count)]
    for name in np.argsort(-rows, kind="stable").tolist():  # the largest units first, each to the emptiest lane
        held, number = heapq.heappop(filled)
        lane[name] = number
        heapq.heappush(filled, (held + int(rows[name]), number))
    return [np.flatnonzero(lane[unit] == number) for number in range(count)]


def permutation(draws: np.random.Generator, units: IntArray, *, window: int = WINDOW) -> IntArray:
    """The rows ``0..N-1`` in the order of one epoch.

    Args:
        draws: Of that epoch.
        units: ``N``: the unit of each row.
        window: Units whose rows are mixed.
    """
    names, unit = np.unique(units, return_inverse=True)
    turn = draws.permutation(len(names))[unit] // window
    return np.lexsort((draws.permutation(len(units)), turn))
