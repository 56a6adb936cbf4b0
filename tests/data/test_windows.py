from __future__ import annotations

import numpy as np
import pytest
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


@pytest.mark.parametrize(
    ("count", "total", "expected"), [(128, 32, 16), (127, 32, 8), (64, 12, 4), (500, 9, 1), (3, 16, 1)]
)
def test_lanes_divide_the_batch_and_have_enough_units(count: int, total: int, expected: int) -> None:
    units = np.repeat(np.arange(count), 3)
    found = windows.lanes(units, total)
    assert len(found) == expected
    assert sorted(np.concatenate(found).tolist()) == list(range(len(units)))


@given(sizes=st.lists(st.integers(1, 40), min_size=16, max_size=60), total=st.sampled_from([2, 4, 6, 32]))
def test_no_unit_is_in_two_lanes_and_none_is_much_longer(sizes: list[int], total: int) -> None:
    units = np.repeat(np.arange(len(sizes)), sizes)
    found = windows.lanes(units, total)
    owners = [set(units[rows].tolist()) for rows in found]
    assert sum(map(len, owners)) == len(sizes)
    held = [len(rows) for rows in found]
    assert max(held) - min(held) <= max(sizes)
