from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from poseshift.ops.optical_flow import follow

HEIGHT, WIDTH = 72, 96
POINTS = torch.tensor([[30.0, 30.0], [60.5, 40.25], [47.0, 20.0], [70.0, 50.0]])


def texture(x: Tensor, y: Tensor) -> Tensor:
    """A smooth picture, in [0, 1], known at every place; long waves are stronger than short ones."""
    waves = [(0.07, 0.03, 0.0), (-0.03, 0.08, 1.0), (0.19, 0.07, 0.5), (-0.11, 0.23, 1.5), (0.31, -0.17, 2.0)]
    heights = [0.15, 0.15, 0.08, 0.08, 0.04]
    return 0.5 + sum(h * (x * a + y * b + c).sin() for h, (a, b, c) in zip(heights, waves, strict=True))


def pictures(matrix: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The picture, and the one in which what was at ``x`` is at ``matrix·x + shift``."""
    y, x = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    places = torch.stack((x, y), -1)
    back = (places - shift.double()) @ torch.linalg.inv(matrix.double()).T
    return tuple(one[None, None].float() for one in (texture(x, y), texture(back[..., 0], back[..., 1])))  # type: ignore[return-value]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3), (2.0, 1.5), (-6.5, 5.0), (9.0, -8.0)])
def test_a_picture_that_moves(shift: tuple[float, float]) -> None:
    before, after = pictures(torch.eye(2), torch.tensor(shift))
    moved, found = follow(before, after, POINTS[None], radius=7)
    assert found.all()
    assert (moved - POINTS - torch.tensor(shift)).norm(dim=-1).max() < 0.05, "far below a heatmap cell"


def test_a_picture_that_turns_and_grows() -> None:
    angle = math.radians(5)
    matrix = 1.04 * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = torch.tensor([48.0, 36.0])
    shift = middle - matrix @ middle + torch.tensor([1.0, -2.0])
    before, after = pictures(matrix, shift)
    moved, found = follow(before, after, POINTS[None], radius=5)
    assert found.all()
    differs = (
        5 * (matrix - torch.eye(2)).norm()
    )  # how much movement differs between the middle of a window and its edge
    assert (moved - POINTS @ matrix.T - shift).norm(dim=-1).max() < differs < 0.8


def test_each_picture_has_its_own_movement() -> None:
    shifts = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    pairs = [pictures(torch.eye(2), shift) for shift in shifts]
    before, after = (torch.cat(side) for side in zip(*pairs, strict=True))
    moved, _ = follow(before, after, POINTS.expand(2, -1, -1), radius=7)
    assert (moved - POINTS - shifts[:, None]).norm(dim=-1).max() < 0.05


def test_where_nothing_fixes_a_point() -> None:
    """A flat picture, and one that is the same along one direction; there is no step to nowhere either."""
    x = torch.arange(WIDTH).expand(HEIGHT, -1).float()
    stripes = [(0.5 + 0.4 * (0.3 * (x - shift)).sin())[None, None] for shift in (0, 1)]
    for before, after in (stripes, [torch.full_like(x, grey)[None, None] for grey in (0.5, 0.6)]):
        moved, found = follow(before, after, POINTS[None], radius=7)
        assert not found.any()
        assert torch.equal(moved[0], POINTS)


def slow_step(first: np.ndarray, second: np.ndarray, point: tuple[int, int], radius: int) -> np.ndarray:
    """One round on one level from the formula, in loops; at a pixel's centre and without a movement so far."""
    matrix, right = np.zeros((2, 2)), np.zeros(2)
    for y in range(point[1] - radius, point[1] + radius + 1):
        for x in range(point[0] - radius, point[0] + radius + 1):
            slope = np.array([first[y, x + 1] - first[y, x - 1], first[y + 1, x] - first[y - 1, x]]) / 2
            matrix += np.outer(slope, slope)
            right += (first[y, x] - second[y, x]) * slope
    return np.linalg.solve(matrix, right)


def test_one_round_is_that_of_the_formula() -> None:
    before, after = pictures(torch.eye(2), torch.tensor([0.4, -0.3]))
    points = torch.tensor([[30.0, 30.0], [61.0, 40.0], [47.0, 20.0]])
    moved, _ = follow(before, after, points[None], radius=4, levels=1, rounds=1)
    for point, found in zip(points, moved[0], strict=True):
        place = (int(point[0]), int(point[1]))
        expected = slow_step(before[0, 0].double().numpy(), after[0, 0].double().numpy(), place, 4)
        assert (found - point).numpy() == pytest.approx(expected, abs=1e-4)


def test_points_outside_of_the_picture_do_no_harm() -> None:
    before, after = pictures(torch.eye(2), torch.tensor([1.0, 1.0]))
    far = torch.tensor([[[-40.0, -40.0], [500.0, 20.0], [-0.5, 71.5]]])
    moved, found = follow(before, after, far, radius=7)
    assert moved.isfinite().all()
    assert found.shape == (1, 3)
