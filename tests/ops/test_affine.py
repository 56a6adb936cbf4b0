from __future__ import annotations

import math

import kornia
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from poseshift.ops import affine, heatmaps

HEIGHT, WIDTH = 160, 224
CENTRE = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])


def matrices(rows: list[tuple[float, float, float, float, float]]) -> Tensor:
    """Rows of degrees, degrees of shear, scale, shift along x and y in pixels."""
    angle, shear, scale, x, y = torch.tensor(rows).T
    block = affine.rotation_shear_scale(angle.deg2rad(), shear.deg2rad(), scale)
    return affine.translation(torch.stack((x, y), 1)) @ affine.linear(block, centre=CENTRE)


PLAIN = matrices([(0, 0, 1, 0, 0), (60, 30, 0.7, 9, -6), (-60, -30, 1.3, -11, 8), (20, -30, 0.6, 0.5, 7.25)])
MIRROR = affine.mirror(WIDTH, like=PLAIN)
VIEWS = torch.cat((PLAIN, MIRROR @ PLAIN[:3]))
"""The last three are mirrored."""
POINTS = torch.tensor([[[100.3, 71.2], [130.0, 88.5]]]).expand(len(VIEWS), -1, -1)


def centroid(maps: Tensor) -> Tensor:
    """Centres of mass ``B×K×2`` of non-negative maps."""
    y = torch.arange(maps.shape[-2], dtype=maps.dtype)
    x = torch.arange(maps.shape[-1], dtype=maps.dtype)
    mass = maps.sum((-2, -1))
    return torch.stack(((maps.sum(-2) * x).sum(-1), (maps.sum(-1) * y).sum(-1)), -1) / mass.unsqueeze(-1)


def test_rotation_shear_scale_is_the_product_in_the_published_order() -> None:
    angle, shear, scale = torch.tensor([0.4]), torch.tensor([-0.3]), torch.tensor([1.2])
    rotation = torch.tensor([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
    slant = torch.tensor([[1.0, math.tan(-0.3)], [0.0, 1.0]])
    torch.testing.assert_close(affine.rotation_shear_scale(angle, shear, scale)[0], rotation @ (1.2 * slant))


def test_a_linear_map_leaves_its_centre_where_it_is() -> None:
    block = affine.rotation_shear_scale(torch.tensor([0.7, 1.0]), torch.tensor([0.1, 0.2]), torch.tensor([0.9, 2.0]))
    centre = torch.tensor([[12.0, 5.0], [-3.0, 40.0]])
    moved = affine.apply(affine.linear(block, centre=centre), centre.unsqueeze(1))
    torch.testing.assert_close(moved.squeeze(1), centre)


def test_invert_and_compose() -> None:
    torch.testing.assert_close(affine.invert(VIEWS), torch.linalg.inv(VIEWS), atol=1e-4, rtol=1e-4)
    both = affine.invert(VIEWS) @ VIEWS
    torch.testing.assert_close(both, affine.identity(len(VIEWS), like=VIEWS), atol=1e-4, rtol=0)
    one, other = VIEWS[1:2], VIEWS[2:3]
    in_turn = affine.apply(one, affine.apply(other, POINTS[:1]))
    torch.testing.assert_close(affine.apply(one @ other, POINTS[:1]), in_turn)


def test_apply_against_a_loop() -> None:
    moved = affine.apply(VIEWS, POINTS)
    for b in range(len(VIEWS)):
        for k in range(POINTS.shape[1]):
            slow = VIEWS[b] @ torch.tensor([*POINTS[b, k].tolist(), 1.0])
            torch.testing.assert_close(moved[b, k], slow[:2])


def test_resize_keeps_the_outer_edges() -> None:
    matrix = affine.resize((30, 50), (45, 200), like=VIEWS)
    edges = torch.tensor([[[-0.5, -0.5], [49.5, 29.5]]])
    torch.testing.assert_close(affine.apply(matrix[None], edges), torch.tensor([[[-0.5, -0.5], [199.5, 44.5]]]))


def test_image_and_points_move_with_the_same_matrix() -> None:
    image = heatmaps.draw(POINTS, (HEIGHT, WIDTH), 3.0)
    out = affine.warp(image, VIEWS, (HEIGHT + 40, WIDTH - 20))
    assert out.shape == (len(VIEWS), 2, HEIGHT + 40, WIDTH - 20)
    assert (centroid(out) - affine.apply(VIEWS, POINTS)).norm(dim=-1).max() < 0.1


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_heatmaps_and_points_move_with_the_same_matrix(stride: int) -> None:
    size = (HEIGHT // stride, WIDTH // stride)
    maps, _ = heatmaps.encode(POINTS, torch.ones(POINTS.shape[:2]), size, stride=stride, sigma=1.5)
    cells = centroid(affine.warp(maps, affine.to_cells(VIEWS, stride), size))
    pixels = (cells + 0.5) * stride - 0.5
    assert (pixels - affine.apply(VIEWS, POINTS)).norm(dim=-1).max() < 0.1


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_to_cells_is_the_matrix_between_cell_centres(stride: int) -> None:
    cells = torch.tensor([[[0.0, 0.0], [7.0, 3.0]]]).expand(len(VIEWS), -1, -1)
    pixels = affine.apply(VIEWS, (cells + 0.5) * stride - 0.5)
    expected = (pixels + 0.5) / stride - 0.5
    torch.testing.assert_close(affine.apply(affine.to_cells(VIEWS, stride), cells), expected, atol=1e-4, rtol=1e-5)


def test_identity_warp_changes_nothing_and_outside_is_zero() -> None:
    image = torch.rand(2, 3, 13, 22)
    same = affine.identity(2, like=image)
    torch.testing.assert_close(affine.warp(image, same, (13, 22)), image, atol=2e-5, rtol=0)
    larger = affine.warp(image, same, (15, 30))
    assert not larger[..., 13:, :].any()
    assert not larger[..., 22:].any()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_warp_agrees_with_kornia(mode: str) -> None:
    image = torch.rand(len(VIEWS), 3, HEIGHT, WIDTH, dtype=torch.float64)
    size = (90, 140)
    ours = affine.warp(image, VIEWS.double(), size, mode=mode)
    theirs = kornia.geometry.transform.warp_affine(
        image, VIEWS.double()[:, :2], size, mode=mode, padding_mode="zeros", align_corners=True
    )
    assert (ours - theirs).abs().flatten().quantile(0.999) < 1e-9  # a few pixels are ties of `nearest`


degrees = st.floats(-60, 60)


@settings(deadline=None, max_examples=60)
@given(
    angle=degrees,
    shear=st.floats(-30, 30),
    scale=st.floats(0.6, 1.3),
    shift=st.tuples(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05)),
    place=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    stride=st.sampled_from([2, 4, 8]),
    flipped=st.booleans(),
)
@example(angle=38.0, shear=30.0, scale=1.1, shift=(0.0, -0.03125), place=(0.4, 0.4), stride=2, flipped=False)
def test_forward_then_inverse_brings_the_peak_back(
    angle: float, shear: float, scale: float, shift: tuple[float, float], place: tuple[float, float], stride: int,
    flipped: bool,
) -> None:  # fmt: skip
    matrix = matrices([(angle, shear, scale, shift[0] * WIDTH, shift[1] * HEIGHT)])
    matrix = MIRROR @ matrix if flipped else matrix
    point = torch.tensor([[[place[0] * WIDTH, place[1] * HEIGHT]]])
    image = affine.apply(matrix, point)[0, 0]
    edge = 2 * stride  # a peak beyond the border is not in the view, and cannot come back
    assume(edge <= image[0] < WIDTH - edge and edge <= image[1] < HEIGHT - edge)
    size = (HEIGHT // stride, WIDTH // stride)
    maps, _ = heatmaps.encode(point, torch.ones(1, 1), size, stride=stride, sigma=2.0)
    there = affine.warp(maps, affine.to_cells(matrix, stride), size)
    moved, _ = heatmaps.decode(there, stride=stride)
    assert (moved - affine.apply(matrix, point)).norm() < 0.75 * stride
    back, _ = heatmaps.decode(affine.unwarp_heatmaps(there, matrix, stride=stride), stride=stride)
    assert (back - point).norm() < 0.75 * stride


def test_a_mirrored_image_is_the_flipped_array_and_its_own_inverse() -> None:
    image = torch.rand(2, 3, 13, 22)
    matrix = affine.mirror(22, like=image).expand(2, 3, 3)
    torch.testing.assert_close(affine.warp(image, matrix, (13, 22)), image.flip(-1), atol=2e-5, rtol=0)
    torch.testing.assert_close(affine.invert(matrix), matrix)
    maps = torch.rand(2, 5, 12, 20)
    torch.testing.assert_close(
        affine.unwarp_heatmaps(maps.flip(-1), affine.mirror(80, like=maps).expand(2, 3, 3), stride=4), maps,
        atol=2e-5, rtol=0,
    )  # fmt: skip


def test_mirrored_views_are_told_from_their_matrix() -> None:
    assert affine.mirrored(VIEWS).tolist() == [False] * 4 + [True] * 3
    assert affine.mirrored(affine.invert(VIEWS)).tolist() == [False] * 4 + [True] * 3


def test_seen_cells_is_one_inside_the_view_and_zero_outside() -> None:
    matrix = affine.translation(torch.tensor([[32.0, 0.0]]))  # the view shows all but the last 32 columns
    seen = affine.seen_cells(torch.zeros(1, 5, 20, 28), matrix, stride=8)
    assert seen.shape == (1, 1, 20, 28)
    torch.testing.assert_close(seen[..., :24], torch.ones(1, 1, 20, 24), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[..., 24:], torch.zeros(1, 1, 20, 4), atol=1e-4, rtol=0)


def test_autocast_does_not_touch_geometry() -> None:
    maps = torch.rand(len(VIEWS), 2, HEIGHT // 4, WIDTH // 4)

    def everything() -> tuple[Tensor, ...]:
        block = affine.rotation_shear_scale(torch.tensor([0.3]), torch.tensor([0.2]), torch.tensor([0.9]))
        return (
            affine.linear(block, centre=CENTRE),
            affine.apply(VIEWS, POINTS),
            affine.to_cells(VIEWS, 4),
            affine.unwarp_heatmaps(maps, VIEWS, stride=4),
        )

    expected = everything()
    with torch.autocast("cpu", torch.bfloat16):
        found = everything()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_other_side_of_each_keypoint() -> None:
    assert affine.other_side(5, [(0, 3), (4, 1)]).tolist() == [3, 4, 2, 0, 1]
    assert affine.other_side(2, []).tolist() == [0, 1]


def test_keypoints_of_a_mirrored_view_exchange_sides() -> None:
    points = torch.tensor([[[10.0, 5.0], [20.0, 6.0], [30.0, 7.0]]]).expand(len(VIEWS), -1, -1)
    found = affine.to_view(VIEWS, points, torch.tensor([2, 1, 0]))
    for matrix, view in zip(VIEWS, found, strict=True):
        sides = [2, 1, 0] if torch.linalg.det(matrix) < 0 else [0, 1, 2]
        for keypoint, side in zip(view, sides, strict=True):
            expected = matrix @ torch.cat((points[0, side], torch.ones(1)))
            assert keypoint.tolist() == pytest.approx(expected[:2].tolist(), abs=1e-3)


def test_each_part_is_warped_as_the_batch_is() -> None:
    image = torch.randint(1, 256, (len(VIEWS), 3, HEIGHT, WIDTH), dtype=torch.uint8)
    matrices = [VIEWS.double(), affine.invert(VIEWS.double())]
    parts = list(affine.warp_each(image, matrices, (30, 44)))
    assert [(view, rows.start, len(part)) for view, rows, part in parts] == [
        (view, row, 1) for row in range(len(VIEWS)) for view in range(2)
    ]
    for number, matrix in enumerate(matrices):
        found = torch.cat([part for view, _, part in parts if view == number])
        expected = affine.warp(image.double(), matrix, (30, 44))
        assert (expected == 0).any()  # some comes from outside, where a frame stands in for zeros
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
