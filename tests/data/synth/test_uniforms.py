"""Counter-based random numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseshift.data.synth.uniforms import Draws, stream_key


@given(st.integers(0, 2**40), st.integers(1, 6), st.integers(1, 40))
def test_a_row_does_not_depend_on_its_neighbours(first: int, columns: int, count: int) -> None:
    index = np.arange(first, first + count)
    together = Draws(7, index).uniform("pose", columns)
    alone = Draws(7, index[-1:]).uniform("pose", columns)
    assert together.shape == (count, columns)
    assert np.array_equal(together[-1:], alone)


def test_numbers_are_uniform_and_columns_independent() -> None:
    drawn = Draws(1, np.arange(40_000)).uniform("pose", 3)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert np.allclose(drawn.mean(0), 0.5, atol=0.01)
    assert np.allclose(drawn.var(0), 1 / 12, atol=0.002)
    neighbours = np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.02
    assert abs(neighbours) < 0.02


def test_names_and_keys_give_other_streams() -> None:
    index = np.arange(100)
    base = Draws(1, index).uniform("a", 1)
    assert not np.any(base == Draws(1, index).uniform("b", 1))
    assert not np.any(base == Draws(2, index).uniform("a", 1))


def test_stream_key_is_the_same_in_another_process() -> None:
    code = "from poseshift.data.synth.uniforms import stream_key; print(stream_key('figures', 'train', 3))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == stream_key("figures", "train", 3)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.1, 0.0, 0.9), (5.0,)])
def test_choice_follows_the_weights(weights: tuple[float, ...]) -> None:
    chosen = Draws(3, np.arange(20_000)).choice("kind", weights)
    shares = np.bincount(chosen, minlength=len(weights)) / len(chosen)
    assert np.allclose(shares, np.array(weights) / sum(weights), atol=0.015)


def test_between_stays_inside() -> None:
    drawn = Draws(3, np.arange(5_000)).between("x", [(-2.0, -1.0), (4.0, 4.0)])
    assert drawn[:, 0].min() >= -2
    assert drawn[:, 0].max() < -1
    assert np.all(drawn[:, 1] == 4)
