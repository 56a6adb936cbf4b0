from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poseshift.ops import heatmaps

HEIGHT, WIDTH = 24, 40


def encoded(
    x: float, y: float, *, convention: heatmaps.Convention = "exact", sigma: float = 2.0
) -> tuple[Tensor, float]:
    maps, weight = heatmaps.encode(
        torch.tensor([[[x, y]]]), torch.ones(1, 1), (HEIGHT, WIDTH), stride=4, sigma=sigma, convention=convention
    )
    return maps[0, 0], float(weight)


@settings(deadline=None, max_examples=60)
@given(
    stride=st.sampled_from([2, 4, 8]),
    sigma=st.floats(1.0, 3.0),
    place=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
def test_exact_round_trip(stride: int, sigma: float, place: tuple[float, float]) -> None:
    low = 0.5 * stride  # inside of the outer ring of cells, where a parabola has both neighbours
    x = stride + low + place[0] * ((WIDTH - 2) * stride - 2 * low) - 0.5
    y = stride + low + place[1] * ((HEIGHT - 2) * stride - 2 * low) - 0.5
    maps, weight = heatmaps.encode(
        torch.tensor([[[x, y]]]), torch.ones(1, 1), (HEIGHT, WIDTH), stride=stride, sigma=sigma
    )
    found, score = heatmaps.decode(maps, stride=stride)
    assert weight.item() == 1
    assert math.dist(found[0, 0].tolist(), (x, y)) < 0.02
    assert 0 < score.item() <= 1


@pytest.mark.parametrize(
    ("x", "y"), [(-0.5, 40.0), (159.4, 40.0), (70.0, -0.5), (70.0, 95.4), (0.0, 0.0), (159.4, 95.4)]
)
def test_a_peak_at_the_border_comes_back_to_half_a_cell(x: float, y: float) -> None:
    maps, weight = encoded(x, y)
    found, _ = heatmaps.decode(maps[None, None], stride=4)
    assert weight == 1
    assert abs(found[0, 0, 0] - x) <= 2.0 + 1e-4
    assert abs(found[0, 0, 1] - y) <= 2.0 + 1e-4


@pytest.mark.parametrize(("x", "y"), [(-0.6, 40.0), (159.6, 40.0), (70.0, -0.6), (70.0, 95.6), (math.nan, 3.0)])
@pytest.mark.parametrize("convention", ["exact", "published_animal"])
def test_outside_weighs_nothing_and_its_map_is_empty(x: float, y: float, convention: heatmaps.Convention) -> None:
    maps, weight = encoded(x, y, convention=convention)
    assert weight == 0
    assert not maps.any()


def test_exact_is_a_gaussian_at_the_sub_pixel_position() -> None:
    maps, _ = encoded(61.7, 33.2)
    cx, cy = (61.7 + 0.5) / 4 - 0.5, (33.2 + 0.5) / 4 - 0.5
    for row, column in ((8, 15), (7, 13), (0, 39), (23, 0)):
        expected = math.exp(-((column - cx) ** 2 + (row - cy) ** 2) / (2 * 2.0**2))
        assert maps[row, column].item() == pytest.approx(expected, rel=1e-4, abs=1e-30)


def test_unlabelled_keypoints_draw_nothing_even_where_their_coordinates_are_no_numbers() -> None:
    points = torch.tensor([[[30.0, 20.0], [math.nan, math.inf], [50.0, 40.0]]])
    maps, weight = heatmaps.encode(points, torch.tensor([[2, 0, 0]]), (HEIGHT, WIDTH), stride=4, sigma=2.0)
    assert weight.tolist() == [[1, 0, 0]]
    assert maps.isfinite().all()
    assert not maps[0, 1:].any()


@pytest.mark.parametrize("x", [-5.9, -4.0, -2.1])
def test_published_human_truncates_towards_zero(x: float) -> None:
    maps, weight = encoded(x, 40.0, convention="published_human")
    assert weight == 1
    assert maps.argmax().item() == 10 * WIDTH + 0
    assert maps[10, 0] == 1


@pytest.mark.parametrize(
    ("x", "y", "weight"),
    [(-6.0, 40.0, 0), (157.9, 40.0, 1), (158.0, 40.0, 0), (40.0, 93.9, 1), (40.0, 94.0, 0), (40.0, -6.0, 0)],
)
def test_published_human_at_the_borders(x: float, y: float, weight: int) -> None:
    maps, found = encoded(x, y, convention="published_human")
    assert found == weight
    assert bool(maps.any()) == bool(weight)


def test_published_human_is_a_square_window_of_a_gaussian() -> None:
    maps, _ = encoded(61.7, 45.0, convention="published_human", sigma=2.0)  # cells 15.9 → 15, 11.75 → 11
    support = maps.nonzero()
    assert support.amin(0).tolist() == [11 - 6, 15 - 6]
    assert support.amax(0).tolist() == [11 + 6, 15 + 6]
    assert len(support) == 13 * 13
    assert maps[11 - 6, 15 - 6].item() == pytest.approx(math.exp(-(36 + 36) / 8), rel=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "weight"),
    [(24.0, 24.0, 1), (23.9, 24.0, 0), (24.0, 23.9, 0), (135.9, 71.9, 1), (136.0, 40.0, 0), (40.0, 72.0, 0)],
)
def test_published_animal_needs_its_whole_window(x: float, y: float, weight: int) -> None:
    maps, found = encoded(x, y, convention="published_animal")
    assert found == weight
    if weight:
        assert maps.argmax().item() == int(y / 4) * WIDTH + int(x / 4)


def test_peaks_of_a_map_without_a_positive_value_are_at_the_origin() -> None:
    maps = -torch.rand(1, 3, HEIGHT, WIDTH) - 0.1
    maps[0, 1, 5, 7] = 0.3
    maps[0, 2] = 0.0
    cells, values = heatmaps.peaks(maps)
    assert cells.tolist() == [[[0, 0], [7, 5], [0, 0]]]
    assert values[0, 0] < 0
    assert values[0, 1].item() == pytest.approx(0.3)
    points, scores = heatmaps.decode(maps, stride=4)
    assert points[0, 0].tolist() == [1.5, 1.5]
    assert scores[0].tolist() == pytest.approx([0, 0.3, 0])


@pytest.mark.parametrize("fill", [0.0, 1.0, -3.0, 1e6])
def test_a_flat_map_decodes_to_finite_numbers(fill: float) -> None:
    points, scores = heatmaps.decode(torch.full((1, 1, HEIGHT, WIDTH), fill), stride=4)
    assert points.tolist() == [[[1.5, 1.5]]]
    assert 0 <= scores.item() <= 1


def test_a_plateau_decodes_within_itself() -> None:
    maps = torch.zeros(1, 1, HEIGHT, WIDTH)
    maps[0, 0, 9:11, 20:22] = 0.5
    points, _ = heatmaps.decode(maps, stride=4)
    assert ((points[0, 0] + 0.5) / 4 - 0.5).tolist() == [pytest.approx(20.5), pytest.approx(9.5)]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-8, 1.0, 1e4]))
def test_decode_of_noise_is_finite_and_near_its_maximum(seed: int, scale: float) -> None:
    maps = torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) * scale
    points, scores = heatmaps.decode(maps, stride=4)
    plain, _ = heatmaps.decode(maps, stride=4, subpixel=False)
    assert points.isfinite().all()
    assert (points - plain).abs().max() <= 2.0 + 1e-4
    assert ((scores >= 0) & (scores <= 1)).all()


def test_rectify_is_a_unit_gaussian_in_a_square() -> None:
    maps = torch.rand(2, 3, HEIGHT, WIDTH) * 0.2
    maps[1, 2, 13, 21] = 0.7
    found = heatmaps.rectify(maps, 1.0)
    assert found.amax((-2, -1)).eq(1).all()
    support = found[1, 2].nonzero()
    assert support.amin(0).tolist() == [10, 18]
    assert support.amax(0).tolist() == [16, 24]
    assert found[1, 2, 10, 18].item() == pytest.approx(math.exp(-9), rel=1e-5)


def test_rectify_to_a_fraction_of_a_cell_is_where_decode_reads() -> None:
    points = torch.tensor([[[60.3, 41.9], [83.0, 55.6], [31.7, 70.2]]])
    maps, _ = heatmaps.encode(points, torch.full((1, 3), 2), (HEIGHT, WIDTH), stride=4, sigma=1.5)
    found = heatmaps.rectify(0.4 * maps, 1.5, subpixel=True)
    torch.testing.assert_close(heatmaps.decode(found, stride=4)[0], points, atol=1e-3, rtol=0)
    whole = heatmaps.decode(heatmaps.rectify(0.4 * maps, 1.5), stride=4)[0]
    assert (whole - points).abs().max() > 0.5


def test_rectify_of_an_empty_map_sits_at_the_origin() -> None:
    found = heatmaps.rectify(torch.full((1, 1, HEIGHT, WIDTH), -1.0), 2.0)
    assert found[0, 0, 0, 0] == 1
    assert not found[0, 0, 7:].any()
    assert not found[0, 0, :, 7:].any()


def test_logits_of_a_gaussian_have_its_peak_and_place() -> None:
    """A net that has learnt the divergence to the end; a constant added to its logits changes nothing."""
    drawn, _ = encoded(70.3, 41.8, sigma=2.0)
    logits = (drawn + 1e-12).log()[None, None] - 40.0
    maps = heatmaps.from_logits(logits, 2.0)
    torch.testing.assert_close(maps[0, 0], drawn, atol=2e-4, rtol=0)
    found, score = heatmaps.decode(maps, stride=4)
    assert math.dist(found[0, 0].tolist(), (70.3, 41.8)) < 0.02
    assert score.item() == pytest.approx(drawn.max().item(), abs=2e-4)
    assert heatmaps.decode(logits, stride=4)[1].item() == 0


def test_logits_that_know_nothing_score_next_to_nothing() -> None:
    maps = heatmaps.from_logits(torch.full((1, 1, HEIGHT, WIDTH), 7.0), 1.5)
    assert maps.max().item() == pytest.approx(2 * math.pi * 1.5**2 / (HEIGHT * WIDTH))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_peaks_are_the_first_maxima_of_the_flattened_maps(memory_format: torch.memory_format) -> None:
    """Many cells share the maximum, so the order in which they are looked at decides."""
    maps = torch.randint(-2, 4, (6, 5, 9, 13), generator=torch.Generator().manual_seed(0)).float()
    cells, values = heatmaps.peaks(maps.to(memory_format=memory_format))
    for one, cell, value in zip(
        maps.flatten(0, 1), cells.flatten(0, 1).tolist(), values.flatten().tolist(), strict=True
    ):
        assert value == one.max()
        assert cell == list(divmod(one.flatten().tolist().index(value), 13))[::-1]
