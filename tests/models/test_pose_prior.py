from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poseshift.models.pose_prior import PoseBank, PosePrior, PosePriorConfig, normalise

K = 5


def poses(count: int, seed: int = 0) -> Tensor:
    return 40 * torch.rand(count, K, 2, generator=torch.Generator().manual_seed(seed)) + 7


def masks(count: int, seed: int = 0, share: float = 0.8) -> Tensor:
    return torch.rand(count, K, generator=torch.Generator().manual_seed(100 + seed)) < share


def prior() -> PosePrior:
    torch.manual_seed(0)
    return PosePrior(PosePriorConfig(width=16, layers=2), K)


@settings(deadline=None, max_examples=40)
@given(st.floats(-500, 500), st.floats(0.1, 50), st.integers(0, 20))
def test_place_and_size_are_taken_off(shift: float, scale: float, seed: int) -> None:
    known = masks(6, seed)
    one, shown = normalise(poses(6, seed).double(), known)
    other, _ = normalise(poses(6, seed).double() * scale + shift, known)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    for pose, row in zip(one, shown, strict=True):
        if row.any():
            torch.testing.assert_close(pose[row].mean(0), torch.zeros(2).double(), atol=1e-9, rtol=0)
            assert pose[row].square().sum(1).mean().item() == pytest.approx(1)
        assert not pose[~row].any()


def test_what_is_not_known_may_be_anything() -> None:
    known = torch.tensor([[True, True, False, True, False]])
    one = poses(1)
    other = torch.where(known.unsqueeze(-1), one, torch.full_like(one, torch.nan)).requires_grad_()
    assert torch.equal(normalise(one, known)[0], normalise(other, known)[0])
    found = prior()(other, known)
    assert torch.equal(found, prior()(one, known))
    (gradient,) = torch.autograd.grad(found.sum(), other)
    assert gradient[known].all()
    assert not gradient[~known].any()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_keypoints_are_no_pose(count: int) -> None:
    known = (torch.arange(K) < count).unsqueeze(0)
    found, shown = normalise(poses(1), known)
    assert not shown.any()
    assert not found.any()
    assert prior()(poses(1), known).item() == 0


def test_keypoints_on_one_spot_give_finite_numbers() -> None:
    point = torch.full((1, K, 2), 3.0).requires_grad_()
    known = torch.ones(1, K, dtype=torch.bool)
    found = prior()(point, known)
    found.sum().backward()
    assert found.isfinite().all()
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_the_distance_is_positive_and_of_the_pose_alone() -> None:
    known = torch.ones(6, K, dtype=torch.bool)
    found = prior()(poses(6), known)
    assert (found > 0).all()
    torch.testing.assert_close(prior()(poses(6) * 3 - 11, known), found, atol=1e-5, rtol=0)
    assert found.std() > 0
    assert not torch.allclose(prior()(poses(6), known & (torch.arange(K) != 2)), found)


def slow_nearest(bank: list[tuple[Tensor, Tensor]], pose: Tensor, known: Tensor) -> float:
    """From the definition: each pose of the bank cut to the same keypoints, normalised, compared point by point."""
    rows = [k for k in range(K) if known[k]]
    best = math.inf
    for other, theirs in bank:
        if len(rows) < 3 or not all(theirs[k] for k in rows):
            continue
        points = [other[k].tolist() for k in rows]
        centre = [sum(p[x] for p in points) / len(rows) for x in range(2)]
        size = math.sqrt(sum((p[0] - centre[0]) ** 2 + (p[1] - centre[1]) ** 2 for p in points) / len(rows))
        apart = sum(
            ((p[x] - centre[x]) / size - float(pose[k][x])) ** 2 for k, p in zip(rows, points, strict=True)
            for x in range(2)
        )  # fmt: skip
        best = min(best, math.sqrt(apart / len(rows)))
    return best if math.isfinite(best) else 0.0


def test_the_nearest_pose_is_that_of_the_slow_version() -> None:
    added, theirs = normalise(poses(12).double(), masks(12))
    asked, known = normalise(poses(9, seed=3).double(), masks(9, seed=3, share=0.7))
    theirs[:, 4] &= torch.arange(12) == 0
    known[0] = True  # all keypoints, which one pose of the bank may have
    bank = PoseBank(20, K)
    bank.add(added.float(), theirs)
    found = bank.nearest(asked.float(), known)
    expected = [slow_nearest(list(zip(added, theirs, strict=True)), *row) for row in zip(asked, known, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert 0 < sum(value == 0 for value in expected) < len(expected), "some have no partner"


def test_a_pose_of_the_bank_is_at_no_distance_also_of_a_part_of_it() -> None:
    bank = PoseBank(8, K)
    whole, known = normalise(poses(8), torch.ones(8, K, dtype=torch.bool))
    bank.add(whole, known)
    part, shown = normalise(poses(8), torch.arange(K).expand(8, K) != 1)
    torch.testing.assert_close(bank.nearest(part, shown), torch.zeros(8), atol=2e-3, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(bank.nearest(part, shown), torch.zeros(8), atol=2e-3, rtol=0)


def test_the_oldest_pose_makes_room() -> None:
    bank, everything = PoseBank(4, K), torch.ones(1, K, dtype=torch.bool)
    made = [normalise(poses(1, seed), everything)[0] for seed in range(6)]
    for pose in made:
        bank.add(pose, everything)
    distances = [bank.nearest(pose, everything).item() for pose in made]
    assert max(distances[2:]) < 2e-3
    assert min(distances[:2]) > 0.05
