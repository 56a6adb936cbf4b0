from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poseshift.data import windows
from poseshift.data.windows import WINDOW


def test_no_window_needs_more_units_than_are_kept() -> None:
    """Read in order with room for ``WINDOW`` units, each is fetched once."""
    units = np.repeat(np.arange(50), 20)
    order = windows.permutation(np.random.default_rng(0), units)
    assert sorted(order.tolist()) == list(range(1000))
    kept: dict[int, None] = {}
    fetched = []
    for unit in units[order].tolist():
        if unit not in kept:
            fetched.append(unit)
        kept.pop(unit, None)
        kept[unit] = None
        if len(kept) > WINDOW:
            kept.pop(next(iter(kept)))
    assert sorted(fetched) == list(range(50))
    assert fetched != sorted(fetched), "the units come in random order"
    first = units[order[: WINDOW * 20]]
    assert (np.diff(first) != 0).mean() > 0.7, "the rows of a window are mixed"


def test_another_epoch_mixes_other_units() -> None:
    units = np.repeat(np.arange(40), 5)
    one, other = (units[windows.permutation(np.random.default_rng(seed), units)] for seed in (1, 2))
    assert set(one[: WINDOW * 5].tolist()) != set(other[: WINDOW * 5].tolist())


@given(units=st.lists(st.integers(0, 30), min_size=1, max_size=100), seed=st.integers(0, 100))
def test_every_row_once_and_the_same_again(units: list[int], seed: int) -> None:
    order = windows.permutation(np.random.default_rng(seed), np.array(units))
    assert sorted(order.tolist()) == list(range(len(units)))
    np.testing.assert_array_equal(order, windows.permutation(np.random.default_rng(seed), np.array(units)))
    windowed = np.array(units)[order]
    changes = [len(set(windowed[:end].tolist()) & set(windowed[end:].tolist())) for end in range(len(units))]
    assert max(changes, default=0) <= WINDOW, "no more units than a window's are begun and not done"
