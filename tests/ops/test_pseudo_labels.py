from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poseshift.batches import View
from poseshift.draws import Draws
from poseshift.ops import affine, heatmaps, pseudo_labels

HEIGHT, WIDTH, SIDE = 96, 160, 20


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 9),
    keypoints=st.integers(1, 12),
    fraction=st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_top_fraction_is_strictly_above_the_kth_smallest(rows: int, keypoints: int, fraction: float, seed: int) -> None:
    peaks = torch.rand(rows, keypoints, generator=torch.Generator().manual_seed(seed))
    rank = math.floor(round((1 - fraction) * peaks.numel(), 9))
    values = sorted(peaks.flatten().tolist())
    expected = peaks > values[rank - 1] if rank else torch.ones_like(peaks, dtype=torch.bool)
    mask = pseudo_labels.top_fraction(peaks, fraction)
    assert mask.dtype == peaks.dtype
    assert torch.equal(mask.bool(), expected)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 9),
    keypoints=st.integers(1, 6),
    fraction=st.sampled_from([0.1, 0.4, 0.5, 0.8, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_a_balanced_fraction_compares_a_keypoint_with_itself(
    rows: int, keypoints: int, fraction: float, seed: int
) -> None:
    peaks = torch.rand(rows, keypoints, generator=torch.Generator().manual_seed(seed))
    peaks = peaks * torch.arange(1, keypoints + 1)  # some are always higher than others
    mask = pseudo_labels.top_fraction(peaks, fraction, balanced=True)
    rank = math.floor(round((1 - fraction) * rows, 9))
    for keypoint in range(keypoints):
        values = sorted(peaks[:, keypoint].tolist())
        expected = [not rank or value > values[rank - 1] for value in peaks[:, keypoint].tolist()]
        assert mask[:, keypoint].bool().tolist() == expected


def test_ties_with_the_threshold_are_left_out() -> None:
    peaks = torch.tensor([[0.1, 0.5, 0.5], [0.5, 0.9, 0.2]])
    assert pseudo_labels.top_fraction(peaks, 0.5).tolist() == [[0, 0, 0], [0, 1, 0]]


def test_all_equal_and_whole_fraction() -> None:
    peaks = torch.full((3, 4), 0.3)
    assert not pseudo_labels.top_fraction(peaks, 0.5).any()
    assert pseudo_labels.top_fraction(peaks, 1.0).all()


def test_the_mask_has_no_gradient() -> None:
    assert not pseudo_labels.top_fraction(torch.rand(3, 4, requires_grad=True), 0.5).requires_grad


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), distance=st.floats(0, 8))
def test_exclude_coincident_against_a_loop(seed: int, distance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 6, (5, 6, 2), generator=generator).float()
    peaks = torch.rand(5, 6, generator=generator)
    mask = (torch.rand(5, 6, generator=generator) < 0.7).float()
    pairs = torch.tensor([[0, 5], [3, 2]])
    expected = mask.clone()
    for row in range(5):
        for left, right in pairs.tolist():
            if torch.dist(points[row, left], points[row, right]) < distance:
                expected[row, left if peaks[row, left] < peaks[row, right] else right] = 0
    found = pseudo_labels.exclude_coincident(mask, points, peaks, pairs, distance=distance)
    assert torch.equal(found, expected)


def test_labels_are_drawn_where_the_view_shows_them() -> None:
    """In a mirrored view the sides are exchanged; beyond its border there is no label."""
    other_side = torch.tensor([1, 0, 2])
    points = torch.tensor([[[9.5, 21.5], [101.5, 61.5], [5.5, 9.5]]]).expand(2, -1, -1)
    shift = affine.translation(torch.tensor([8.0, -12.0]))
    matrix = torch.stack((shift, affine.mirror(WIDTH, like=shift) @ shift))
    maps, weight = pseudo_labels.drawn_in_view(
        points, matrix, other_side, (24, 40), stride=4, sigma=1.5, convention="exact"
    )
    places, _ = heatmaps.decode(maps, stride=4)
    assert weight.tolist() == [[1, 1, 0], [1, 1, 0]]
    torch.testing.assert_close(places[0, :2], torch.tensor([[17.5, 9.5], [109.5, 49.5]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(places[1, :2], torch.tensor([[49.5, 49.5], [141.5, 9.5]]), atol=1e-3, rtol=0)
    assert not maps[:, 2].any()


def test_without_pairs_nothing_is_excluded() -> None:
    mask = torch.ones(2, 3)
    none = torch.empty(0, 2, dtype=torch.long)
    found = pseudo_labels.exclude_coincident(mask, torch.zeros(2, 3, 2), torch.rand(2, 3), none, distance=1.0)
    assert torch.equal(found, mask)


def test_trusted_is_the_upper_part_less_the_weaker_of_a_pair_on_one_spot() -> None:
    pseudo = torch.zeros(1, 4, 10, 20)
    for k, (x, y, value) in enumerate([(3, 3, 0.9), (4, 3, 0.8), (15, 8, 0.7), (9, 9, 0.1)]):
        pseudo[0, k, y, x] = value
    pairs = torch.tensor([[0, 1], [2, 3]])
    for exclusive, expected in ((0.0, [1, 1, 1, 0]), (0.04, [1, 1, 1, 0]), (0.06, [1, 0, 1, 0])):
        mask, peaks = pseudo_labels.trusted(pseudo, fraction=0.75, pairs=pairs, exclusive=exclusive)
        assert mask.tolist() == [expected]
        torch.testing.assert_close(peaks, torch.tensor([[0.9, 0.8, 0.7, 0.1]]))


def test_choose_confident() -> None:
    peaks = torch.tensor([[0.95, 0.2, 0.9], [0.1, 0.2, 0.3], [0.99, 0.99, 0.99], [0.0, 0.93, 0.0]])
    draws = torch.tensor([[0.4, 0.1, 0.9, 0.5], [0.0, 0.1, 0.2, 0.3], [0.5, 0.7, 0.8, 0.1], [0.49, 0.0, 0.0, 0.0]])
    chosen, hide = pseudo_labels.choose_confident(peaks, threshold=0.9, probability=0.5, draws=draws)
    assert hide.tolist() == [True, False, False, True]
    assert chosen[0] == 2, "the confident one with the larger draw"
    assert chosen[3] == 1


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_the_share_of_samples_that_are_occluded(probability: float, share: float) -> None:
    draws = torch.rand(4000, 4, generator=torch.Generator().manual_seed(1))
    chosen, hide = pseudo_labels.choose_confident(
        torch.ones(4000, 3), threshold=0.9, probability=probability, draws=draws
    )
    assert hide.float().mean().item() == pytest.approx(share, abs=0.03)
    assert (chosen.bincount() / 4000 - 1 / 3).abs().max() < 0.03


def rotated(degrees: list[float]) -> Tensor:
    angle = torch.tensor(degrees).deg2rad()
    block = affine.rotation_shear_scale(angle, torch.full_like(angle, 0.2), torch.full_like(angle, 0.9))
    return affine.linear(block, centre=torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]))


def slow_occlusion(
    images: Tensor, matrix: Tensor, points: Tensor, chosen: Tensor, mask: Tensor, side: int, draws: Tensor
) -> Tensor:
    out = images.clone()
    for b in range(len(images)):
        if not mask[b]:
            continue
        x, y, _ = (matrix[b] @ torch.tensor([*points[b, chosen[b]].tolist(), 1.0])).tolist()
        left, top = round(x - (side - 1) / 2), round(y - (side - 1) / 2)
        from_x = int(draws[b, 0].item() * (WIDTH - side + 1))
        from_y = int(draws[b, 1].item() * (HEIGHT - side + 1))
        for i in range(side):
            for j in range(side):
                if 0 <= top + i < HEIGHT and 0 <= left + j < WIDTH:
                    out[b, :, top + i, left + j] = images[b, :, from_y + i, from_x + j]
    return out


def test_occlusion_against_a_loop_over_samples() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(6, 3, HEIGHT, WIDTH, generator=generator)
    matrix = rotated([0, 60, -60, 45, -20, 10])
    points = torch.rand(6, 5, 2, generator=generator) * torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])
    points[3, 2] = torch.tensor([300.0, 300.0])  # out of the view altogether
    chosen, mask = torch.tensor([0, 4, 3, 2, 1, 2]), torch.tensor([True, True, False, True, True, True])
    draws = torch.rand(6, 2, generator=generator)
    found = pseudo_labels.occlude(images, matrix, points, chosen, mask, side=SIDE, draws=draws)
    assert torch.equal(found, slow_occlusion(images, matrix, points, chosen, mask, SIDE, draws))
    assert torch.equal(found[2], images[2]), "not masked"
    assert torch.equal(found[3], images[3]), "nothing of the patch lies inside"
    assert not torch.equal(found[0], images[0])


@settings(deadline=None, max_examples=40)
@given(
    side=st.integers(1, 24),
    at=st.tuples(st.integers(-40, 4 * WIDTH), st.integers(-40, 4 * HEIGHT)),
    origin=st.tuples(st.floats(0, 1, exclude_max=True, width=32), st.floats(0, 1, exclude_max=True, width=32)),
    hidden=st.booleans(),
    last=st.booleans(),
)
def test_occlusion_is_the_plain_one_to_the_bit(
    side: int, at: tuple[int, int], origin: tuple[float, float], hidden: bool, last: bool
) -> None:
    """Wherever the patch lands, of any size, in either memory format; in quarters of a pixel, which round alike."""
    images = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(side))
    images = images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    points = torch.tensor([[[3.0, 5.0], at], [at, [1.0, 2.0]]]) / 4
    matrix = affine.translation(torch.tensor([[0.0, 0.0], [2.25, -1.0]]))
    chosen, mask, draws = torch.tensor([1, 0]), torch.tensor([hidden, True]), torch.tensor([origin, origin[::-1]])
    found = pseudo_labels.occlude(images, matrix, points, chosen, mask, side=side, draws=draws)
    assert torch.equal(found, slow_occlusion(images, matrix, points, chosen, mask, side, draws))


@pytest.mark.parametrize("degrees", [-60.0, -17.0, 0.0, 38.0, 60.0])
def test_the_patch_is_centred_on_the_keypoint_as_the_view_shows_it(degrees: float) -> None:
    images = torch.arange(HEIGHT * WIDTH).float().view(1, 1, HEIGHT, WIDTH).expand(-1, 3, -1, -1)  # no two pixels alike
    matrix, points = rotated([degrees]), torch.tensor([[[10.0, 10.0], [92.3, 60.8]]])
    found = pseudo_labels.occlude(
        images, matrix, points, torch.tensor([1]), torch.tensor([True]), side=SIDE, draws=torch.zeros(1, 2)
    )
    changed = (found != images)[0, 0].nonzero().float()
    assert len(changed) == SIDE * SIDE
    centre = changed.mean(0).flip(0)
    assert (centre - affine.apply(matrix, points)[0, 1]).norm() < 1


@pytest.mark.parametrize(
    ("point", "columns", "rows"), [((0.0, 0.0), 10, 10), ((WIDTH - 1.0, 40.0), 10, 20), ((80.0, HEIGHT - 1.0), 20, 10)]
)
def test_the_patch_is_cut_at_the_border(point: tuple[float, float], columns: int, rows: int) -> None:
    images = torch.rand(1, 3, HEIGHT, WIDTH)
    same = affine.identity(1, like=images)
    at = torch.tensor([[point]])
    draws = torch.full((1, 2), 0.4)
    found = pseudo_labels.occlude(images, same, at, torch.tensor([0]), torch.tensor([True]), side=SIDE, draws=draws)
    changed = (found != images).any(1)[0]
    assert changed.any(0).sum() == pytest.approx(columns, abs=1)
    assert changed.any(1).sum() == pytest.approx(rows, abs=1)


def test_a_patch_larger_than_the_image() -> None:
    images = torch.rand(2, 3, 12, 18)
    found = pseudo_labels.occlude(
        images,
        affine.identity(2, like=images),
        torch.zeros(2, 1, 2),
        torch.tensor([0, 0]),
        torch.tensor([True, True]),
        side=40,
        draws=torch.rand(2, 2),
    )
    assert found.isfinite().all()


@pytest.fixture
def draws() -> Callable[[int], Draws]:
    return lambda count: Draws(seed=5, step=2, start=0, count=count, total=count, device=torch.device("cpu"))


def test_occlude_confident_hides_only_confident_keypoints(draws: Callable[[int], Draws]) -> None:
    images = torch.rand(8, 3, HEIGHT, WIDTH)
    view = View(images=images, matrix=rotated([30.0] * 8))
    centres = torch.tensor([[[20.0, 12.0], [25.0, 8.0]]]).expand(8, -1, -1)
    height = torch.tensor([[0.95, 0.5]] * 4 + [[0.5, 0.4]] * 4)
    pseudo = heatmaps.draw(centres, (HEIGHT // 4, WIDTH // 4), 2.0) * height[..., None, None]
    found = pseudo_labels.occlude_confident(
        view, pseudo, draws(8), stride=4, threshold=0.9, probability=1.0, side=20 / WIDTH
    )
    assert torch.equal(found[4:], images[4:]), "no confident keypoint there"
    target = affine.apply(view.matrix, (centres + 0.5) * 4 - 0.5)[:4, 0]
    for b in range(4):
        changed = (found[b] != images[b]).any(0).nonzero().float()
        assert (changed.mean(0).flip(0) - target[b]).norm() < 1.5
    untouched = pseudo_labels.occlude_confident(
        view, pseudo, draws(8), stride=4, threshold=0.9, probability=0.0, side=20 / WIDTH
    )
    assert torch.equal(untouched, images)
