from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from poseshift.batches import Batch, SourceBatch, View
from poseshift.draws import Draws
from poseshift.methods.base import Context
from poseshift.methods.pose_prior import PosePriorTraining, PosePriorTrainingConfig, canonical_poses
from poseshift.models.pose_prior import normalise
from poseshift.ops import affine

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
K = 6
PAIRS = ((0, 1), (2, 3))


def made(context: Contexts, **options: object) -> PosePriorTraining:
    torch.manual_seed(0)
    given = dataclasses.replace(context(style=False), keypoints=K, pairs=PAIRS)
    return PosePriorTraining(PosePriorTrainingConfig(net={"width": 64, "layers": 2}, **options), given).train()


def figures(count: int, seed: int) -> Tensor:
    """A body of fixed shape whose two limbs swing: a manifold of two dimensions."""
    a, b = 1.2 * torch.rand(2, count, generator=torch.Generator().manual_seed(seed)) - 0.6
    zero = torch.zeros(count)
    limbs = [(-10 + 12 * a.sin(), 20 * a.cos()), (10 + 12 * b.sin(), 20 * b.cos())]
    points = [*limbs, (zero - 10, zero), (zero + 10, zero), (zero, zero - 10), (zero, zero - 30)]
    return torch.stack([torch.stack(point, -1) for point in points], 1) + 32


def batch_of(keypoints: Tensor, *, step: int = 0, visible: Tensor | None = None, matrix: Tensor | None = None) -> Batch:
    count = len(keypoints)
    view = View(
        images=torch.zeros(count, 3, 32, 32), matrix=torch.eye(3).expand(count, 3, 3) if matrix is None else matrix
    )
    shown = torch.full((count, K), 2) if visible is None else visible
    source = SourceBatch(view=view, keypoints=keypoints, visible=shown, ids=torch.arange(count))
    draws = Draws(seed=0, step=step, start=0, count=count, total=count, device=torch.device("cpu"))
    return Batch(source=source, draws=draws)


def test_the_terms_are_squared_errors_of_distances(context: Contexts) -> None:
    """To the nearest pose of the source seen so far, from the definition, and to 0 for its own poses."""
    method = made(context, hidden=0.0)
    whole = torch.ones(8, K, dtype=torch.bool)
    bank: list[Tensor] = []
    for step in range(2):
        given = batch_of(figures(8, step), step=step)
        clean, _ = normalise(figures(8, step), whole)
        bank += list(clean)
        disturbed, _ = normalise(method._disturbed(clean, whole, given.draws), whole)
        wanted = [min(float((pose - other).square().sum(1).mean().sqrt()) for other in bank) for pose in disturbed]
        with torch.no_grad():
            said, own = method.prior(disturbed, whole).tolist(), method.prior(clean, whole).tolist()
        (update,) = method.updates(given, 0.0)
        expected = sum((one - other) ** 2 for one, other in zip(said, wanted, strict=True)) / 8
        assert update.terms["distance"].value.item() == pytest.approx(expected, rel=1e-3)
        assert update.terms["plausible"].value.item() == pytest.approx(sum(one**2 for one in own) / 8, rel=1e-4)
        assert sum(wanted) / 8 > 0.05


@pytest.mark.parametrize("flip", [False, True])
def test_poses_are_those_of_the_canonical_frame(flip: bool) -> None:
    """However the view was moved; of a mirrored one left and right are exchanged, and with them what is visible."""
    keypoints, other_side = figures(3, 0), affine.other_side(K, PAIRS)
    visible = torch.tensor([2, 0, 1, 2, 2, 0]).expand(3, K)
    block = affine.rotation_shear_scale(torch.tensor([0.5, -1, 2]), torch.full((3,), 0.2), torch.tensor([0.7, 1, 1.2]))
    matrix = affine.linear(block, centre=torch.tensor([16.0, 16.0]))
    shown, seen = affine.apply(matrix, keypoints), visible
    if flip:
        matrix = affine.mirror(64, like=matrix) @ matrix
        shown, seen = affine.apply(matrix, keypoints)[:, other_side], visible[:, other_side]
    found, known = canonical_poses(batch_of(shown, visible=seen, matrix=matrix).source, other_side)
    torch.testing.assert_close(found, keypoints, atol=1e-3, rtol=0)
    assert torch.equal(known, visible > 0)


def test_what_is_not_labelled_changes_nothing(context: Contexts) -> None:
    visible = torch.tensor([2, 0, 1, 2, 2, 0]).expand(8, K)
    values = []
    for stray in (0.0, 500.0):
        method = made(context)
        keypoints = torch.where(visible.unsqueeze(-1) > 0, figures(8, 0), torch.tensor(stray))
        (update,) = method.updates(batch_of(keypoints, visible=visible), 0.0)
        values.append({name: term.value.item() for name, term in update.terms.items()})
        assert method.bank.known[:8].equal(visible > 0)
    assert values[0] == values[1]
    empty = batch_of(figures(8, 0), visible=torch.zeros(8, K, dtype=torch.long))
    (update,) = made(context).updates(empty, 0.0)
    assert update.total.item() == 0


def test_disturbing_leaves_what_is_unknown_out_and_does_each_thing(context: Contexts) -> None:
    clean, known = normalise(figures(64, 0), torch.ones(64, K, dtype=torch.bool))
    draws = batch_of(figures(64, 0)).draws
    still = {"noise": 1e-9}
    exchanged = made(context, **still, exchanged=1.0, misplaced=0.0)._disturbed(clean, known, draws)
    partner = affine.other_side(K, PAIRS)
    for before, after in zip(clean, exchanged, strict=True):
        changed = (before - after).abs().amax(1) > 1e-4
        assert changed.sum() in (0, 2)
        assert torch.allclose(after[changed], before[partner][changed], atol=1e-4)
    assert 20 < int(((clean - exchanged).abs().amax((1, 2)) > 1e-4).sum()) < 60, "two keypoints have no partner"
    fallen = made(context, **still, exchanged=0.0, misplaced=1.0)._disturbed(clean, known, draws)
    assert (((clean - fallen).abs().amax(2) > 1e-4).sum(1) <= 1).all()
    noisy = made(context, exchanged=0.0, misplaced=0.0, noisy_share=0.5)._disturbed(clean, known, draws)
    assert 0.4 < ((noisy - clean).abs().amax(2) > 1e-6).float().mean() < 0.6


def test_it_learns_how_far_a_pose_is_from_plausible_ones(context: Contexts) -> None:
    """On poses that it was not shown; and its gradient leads back to them."""
    method = made(context, bank=256)
    optimiser = torch.optim.Adam(method.prior.parameters(), 1e-2)
    for step in range(300):
        (update,) = method.updates(batch_of(figures(64, step), step=step), 0.0)
        optimiser.zero_grad()
        update.total.backward()
        optimiser.step()
    known = torch.ones(64, K, dtype=torch.bool)
    clean, _ = normalise(figures(64, 9999), known)
    noise = torch.randn(64, K, 2, generator=torch.Generator().manual_seed(1))
    said = [method.prior(normalise(clean + strength * noise, known)[0], known) for strength in (0.0, 0.1, 0.3)]
    assert said[0].mean() < said[1].mean()
    assert said[2].mean() > 3 * said[0].mean()
    pose = (clean + 0.3 * noise).requires_grad_()
    before = method.bank.nearest(*normalise(pose.detach(), known)).mean()
    for _ in range(40):
        (gradient,) = torch.autograd.grad(method.prior(pose, known).sum(), pose)
        pose = (pose - 0.02 * gradient).detach().requires_grad_()
    assert method.bank.nearest(*normalise(pose.detach(), known)).mean() < 0.8 * before
    swapped = clean[:, affine.other_side(K, PAIRS)]
    assert method.prior(swapped, known).mean() > 3 * said[0].mean()


def test_it_needs_the_source_alone_and_makes_no_pose_net(context: Contexts) -> None:
    config = PosePriorTrainingConfig()
    assert config.needs == {"source"}
    assert not config.needs_init
    method = made(context)
    assert method.predictor is None
    assert method.pose_prior is method.prior
