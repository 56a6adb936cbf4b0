from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from poseshift.batches import Batch, TargetBatch, View
from poseshift.errors import UsageError
from poseshift.methods.base import Context
from poseshift.methods.post import Post, PostConfig, decorrelation, soft_argmax
from poseshift.models.pose_prior import PosePrior, PosePriorConfig
from poseshift.ops import affine, collective, heatmaps, losses

Contexts, Batches = Callable[..., Context], Callable[..., Batch]


def made(context: Contexts, **options: Any) -> Post:
    plain = context(style=False)
    prior = PosePrior(PosePriorConfig(width=16, layers=1), 3)
    given = dataclasses.replace(plain, prior=prior, keypoints=3)
    return Post(PostConfig(occlusion=False, **options), given).train()


def slow_decorrelation(one: Tensor, other: Tensor, redundancy: float) -> float:
    """Barlow Twins' loss from the formula, in loops."""
    count, channels = one.shape

    def standard(features: Tensor, channel: int) -> list[float]:
        values = features[:, channel].tolist()
        mean = sum(values) / count
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / count)
        return [(value - mean) / deviation for value in values]

    total = 0.0
    for i in range(channels):
        for j in range(channels):
            pairs = zip(standard(one, i), standard(other, j), strict=True)
            correlation = sum(a * b for a, b in pairs) / count
            total += (1 - correlation) ** 2 if i == j else redundancy * correlation**2
    return total


@pytest.mark.parametrize("redundancy", [0.0, 5e-3, 1.0])
def test_the_decorrelation_is_that_of_the_slow_version(redundancy: float) -> None:
    one, other = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
    expected = slow_decorrelation(one.double(), other.double(), redundancy)
    assert decorrelation(one, other, redundancy).item() == pytest.approx(expected, rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert decorrelation(one, other, redundancy).item() == pytest.approx(expected, rel=1e-4)


def test_equal_features_whose_channels_are_independent_cost_nothing_and_dead_ones_are_finite() -> None:
    one = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert decorrelation(one, 5 * one + 3, 1.0).item() == pytest.approx(0, abs=1e-4)
    dead = torch.cat((one, torch.full((4, 1), 2.0)), 1).requires_grad_()
    found = decorrelation(dead, dead.detach(), 1.0)
    found.backward()
    assert found.item() == pytest.approx(1, abs=1e-3)
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_correlations_are_those_of_the_global_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over processes of a half each, taken in turn, are those of the whole."""
    one, other = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(1))
    whole, asked = decorrelation(one, other, 0.3).item(), list[Tensor]()
    statistics: list[Tensor] = []

    def two(x: Tensor) -> Tensor:
        asked.append(x)
        return statistics[len(asked) - 1] if len(asked) <= len(statistics) else x

    monkeypatch.setattr(collective, "mean", two)
    for _ in range(6):  # each round settles one more of what is averaged over processes
        halves = []
        for rows in (slice(0, 4), slice(4, 8)):
            asked.clear()
            found = decorrelation(one[rows], other[rows], 0.3).item()
            halves.append(list(asked))
        known = len(statistics)
        if known < len(halves[0]):
            statistics.append((halves[0][known] + halves[1][known]) / 2)
    assert len(statistics) == 5
    assert found == pytest.approx(whole, rel=1e-4)


def slow_soft_argmax(map_: Tensor, stride: int, beta: float) -> tuple[float, float]:
    top = float(map_.max())
    total = x = y = 0.0
    for row in range(map_.shape[0]):
        for column in range(map_.shape[1]):
            share = math.exp(beta * (float(map_[row, column]) - top))
            total, x, y = total + share, x + share * column, y + share * row
    return stride * (x / total + 0.5) - 0.5, stride * (y / total + 0.5) - 0.5


def test_soft_argmax_is_that_of_the_slow_version_and_near_a_clear_maximum() -> None:
    maps = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    found = soft_argmax(maps, stride=4, inverse_temperature=7.0)
    for b in range(2):
        for k in range(3):
            expected = slow_soft_argmax(maps[b, k].double(), 4, 7.0)
            assert found[b, k].tolist() == pytest.approx(expected, rel=1e-5)
    points = torch.tensor([[[20.3, 17.0], [40.0, 50.0]]])
    drawn, _ = heatmaps.encode(points, torch.ones(1, 2), (16, 24), stride=4, sigma=2.0)
    near = soft_argmax(drawn, stride=4, inverse_temperature=100.0)
    torch.testing.assert_close(near, points, atol=2.0, rtol=0)  # half a cell


def test_terms_are_those_of_their_parts(context: Contexts, batch: Batches) -> None:
    method, given = made(context), batch(source=False)
    moved = affine.translation(torch.tensor([45.0, 0.0])) @ given.target.student.matrix
    student_view = View(images=given.target.student.images, matrix=moved)
    target = TargetBatch(student=student_view, teacher=given.target.teacher, ids=given.target.ids)
    given = Batch(draws=given.draws, target=target)
    twin = made(context)
    with torch.no_grad():
        maps = {name: getattr(twin.nets, name).backbone(view.images)[-1] for name, view in
                (("student", target.student), ("teacher", target.teacher[0]))}  # fmt: skip
        twin = made(context)
        student = twin.nets.student(target.student.images).heatmaps
        teacher = twin.nets.to_canonical(twin.nets.teacher(target.teacher[0].images).heatmaps, target.teacher[0])
    method.prior.load_state_dict(twin.prior.state_dict())
    (update,) = method.updates(given, 0.5)
    peaks = teacher.amax((-2, -1))
    mask = (peaks > peaks.flatten().kthvalue(6).values).float()
    consistency = losses.consistency(
        twin.nets.to_canonical(student, target.student), heatmaps.rectify(teacher, 2.0), mask
    )
    means = [
        affine.unwarp_heatmaps(maps[name], view.matrix, stride=16).mean((-2, -1))
        for name, view in (("student", target.student), ("teacher", target.teacher[0]))
    ]
    poses = affine.apply(
        affine.invert(target.student.matrix), soft_argmax(student, stride=4, inverse_temperature=100.0)
    )
    labels = affine.apply(target.student.matrix, 4 * heatmaps.peaks(teacher)[0] + 1.5)
    inside = ((labels > -0.5) & (labels < torch.tensor([95.5, 63.5]))).all(-1)
    assert 0 < inside.sum() < inside.numel()
    expected = {
        "consistency": consistency.item(),
        "feature": slow_decorrelation(means[0].double(), means[1].double(), 5e-3),
        "prior": twin.prior(poses, inside).mean().item(),
    }
    assert {name: term.value.item() for name, term in update.terms.items()} == pytest.approx(expected, rel=2e-3)


def test_what_a_mirrored_view_says_is_mirrored_back(context: Contexts, batch: Batches) -> None:
    method, target = made(context), batch(source=False).target
    method.nets.other_side = torch.tensor([2, 1, 0])
    maps = torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    still = View(images=target.student.images, matrix=torch.eye(3).expand(4, 3, 3))
    turned = View(images=still.images, matrix=affine.mirror(96, like=maps).expand(4, 3, 3))
    pseudo = torch.zeros_like(maps)
    one, _ = method._poses(maps, pseudo, still)
    other, _ = method._poses(maps.flip(-1)[:, [2, 1, 0]], pseudo, turned)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("progress", "feature", "prior"), [(0.2, 0.5, 0.0), (0.24, 1.0, 1.0)])
def test_the_prior_joins_late_and_the_features_count_half_until_then(
    progress: float, feature: float, prior: float, context: Contexts, batch: Batches
) -> None:
    method = made(context)
    (update,) = method.updates(batch(source=False), progress)
    weights = {name: term.weight for name, term in update.terms.items()}
    assert weights == pytest.approx(
        {
            "consistency": 1.0,
            "feature": feature * method.config.feature_weight,
            "prior": prior * method.config.prior_weight,
        }
    )


def test_the_backbone_moves_and_what_stands_above_it_does_not(context: Contexts, batch: Batches) -> None:
    method = made(context)
    (update,) = method.updates(batch(source=False), 0.5)
    update.total.backward()
    with_gradient = {name for name, p in method.named_parameters() if p.grad is not None}
    assert with_gradient
    assert all(name.startswith("nets.student.backbone.") for name in with_gradient)
    assert update.on == ("backbone",)
    still = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert any(name.startswith("prior.") for name in still)
    assert any(name.startswith("nets.student.head.") for name in still)
    before = {name: p.clone() for name, p in method.nets.teacher.final.named_parameters()}
    method.after_step(0.5)
    assert all(torch.equal(p, before[name]) for name, p in method.nets.teacher.final.named_parameters())
    assert method.predictor is method.nets.teacher
    assert method.student is method.nets.student


def test_without_a_prior_one_line_says_what_to_give(context: Contexts, batch: Batches) -> None:
    with pytest.raises(UsageError, match=r"needs a pose prior; give `prior: RUN`.*or .*method\.prior_weight=0") as told:
        Post(PostConfig(), context(style=False))
    assert "\n" not in str(told.value)
    method = Post(PostConfig(prior_weight=0.0), context(style=False)).train()
    (update,) = method.updates(batch(source=False), 0.5)
    assert list(update.terms) == ["consistency", "feature"]


def test_it_needs_target_images_alone_and_a_trained_net() -> None:
    assert PostConfig().needs == {"target"}
    assert PostConfig().needs_init


def test_several_teacher_views_are_averaged(context: Contexts, batch: Batches) -> None:
    given = batch(source=False)
    view = given.target.teacher[0]
    twice = TargetBatch(student=given.target.student, teacher=(view, view), ids=given.target.ids)
    values = []
    for one in (given, Batch(draws=given.draws, target=twice)):
        (update,) = made(context, prior_weight=0.0).updates(one, 0.5)
        values.append([term.value.item() for term in update.terms.values()])
    assert values[1] == pytest.approx(values[0], rel=1e-3)
