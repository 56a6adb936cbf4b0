"""Random numbers that are a function of (key, name, index, column) alone.

A counter goes through the finaliser of SplitMix64 (Steele, Lea, Flood 2014), so a number does not depend on how many
others are asked for, nor on which process asks: instance ``i`` of a domain is the same whatever the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_INDEX_STEP = np.uint64(0x9E3779B97F4A7C15)
_COLUMN_STEP = np.uint64(0xD1B54A32D192ED03)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


@lru_cache(maxsize=4096)
def stream_key(*words: str | int) -> int:
    """A 64-bit key of the words that name a stream, the same in every process."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(counter: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    counter = (counter ^ (counter >> np.uint64(30))) * _MIX_A
    counter = (counter ^ (counter >> np.uint64(27))) * _MIX_B
    return counter ^ (counter >> np.uint64(31))


@lru_cache(maxsize=4096)
def _columns(key: int, name: str, columns: int) -> npt.NDArray[np.uint64]:
    start = np.array([stream_key(key, name)], np.uint64)
    return _mix(start + np.arange(columns, dtype=np.uint64) * _COLUMN_STEP)


class Draws:
    """Named random columns for some instances.

    Args:
        key: Names the stream, see :func:`stream_key`.
        index: ``N`` instance numbers.
    """

    def __init__(self, key: int, index: Indices) -> None:
        self.key = key
        self._rows = index.astype(np.uint64) * _INDEX_STEP

    def __len__(self) -> int:
        return len(self._rows)

    def uniform(self, name: str, columns: int) -> Floats:
        """``N×columns`` numbers in [0, 1)."""
        bits = _mix(_columns(self.key, name, columns) + self._rows[:, None])
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def between(self, name: str, ranges: Sequence[tuple[float, float]]) -> Floats:
        """``N×len(ranges)`` numbers, column ``j`` uniform in ``ranges[j]``."""
        bounds = np.asarray(ranges, np.float64)
        return bounds[:, 0] + self.uniform(name, len(bounds)) * (bounds[:, 1] - bounds[:, 0])

    def choice(self, name: str, weights: Sequence[float]) -> Indices:
        """``N`` indices into ``weights``, drawn in proportion to them."""
        edges = np.cumsum(np.asarray(weights, np.float64))
        found = np.searchsorted(edges / edges[-1], self.uniform(name, 1)[:, 0], side="right")
        return np.minimum(found, len(edges) - 1).astype(np.int64)
