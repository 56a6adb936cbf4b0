from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from poseshift.batches import Batch, TargetBatch, View
from poseshift.methods.base import Context
from poseshift.methods.bn_adapt import BnAdapt, BnAdaptConfig

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
BETA = 10.0


def made(context: Contexts, targets: TargetBatch, **options: object) -> BnAdapt:
    method = BnAdapt(BnAdaptConfig(**options), context(style=False)).train()
    method.refresh(iter([targets]))
    return method


def heatmaps_of(method: BnAdapt, images: Tensor) -> Tensor:
    with torch.no_grad():
        return method.net(images).heatmaps.double()


def slow_entropy(map_: Tensor) -> float:
    powers = [math.exp(BETA * value) for value in map_.flatten().tolist()]
    shares = [power / sum(powers) for power in powers]
    return -sum(share * math.log(share) for share in shares) / math.log(len(shares))


def test_the_entropy_is_that_of_the_formula(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method, given = made(context, targets), batch(source=False)
    maps = heatmaps_of(method, given.target.teacher[0].images)
    (update,) = method.updates(given, 0.0)
    expected = sum(slow_entropy(maps[b, k]) for b in range(4) for k in range(3)) / 12
    assert update.terms["entropy"].value.item() == pytest.approx(expected, rel=1e-5)
    assert update.on == ("norms",)


def slow_gaussian(map_: Tensor, sigma: float) -> Tensor:
    """Of peak 1 at the maximum, cut to a square of three sigmas."""
    height, width = map_.shape
    top = int(map_.argmax())
    x, y = top % width, top // width
    drawn = torch.zeros(height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            if max(abs(row - y), abs(column - x)) <= 3 * sigma:
                drawn[row, column] = math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))
    return drawn


def test_the_consistency_is_that_of_the_formula(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    """Both views unmoved: the squared error to Gaussians at the plainer view's maxima, for the upper half of peaks."""
    method, given = made(context, targets, objective="consistency"), batch(source=False)
    still = torch.eye(3).expand(4, 3, 3)
    view, plain = (View(images=v.images, matrix=still) for v in (given.target.student, given.target.teacher[0]))
    given = Batch(draws=given.draws, target=TargetBatch(student=view, teacher=(plain,), ids=given.target.ids))
    found, pseudo = heatmaps_of(method, view.images), heatmaps_of(method, plain.images)
    peaks = sorted(float(pseudo[b, k].max()) for b in range(4) for k in range(3))
    total = 0.0
    for b in range(4):
        for k in range(3):
            if float(pseudo[b, k].max()) > peaks[5]:
                total += float((found[b, k] - slow_gaussian(pseudo[b, k], 2.0)).square().sum())
    (update,) = method.updates(given, 0.0)
    assert update.terms["consistency"].value.item() == pytest.approx(total / found.numel(), rel=1e-4)


def test_consistency_does_not_see_how_a_view_was_moved(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    """Only cells that the augmented view shows are compared, and a mirrored one exchanges left and right."""
    method, given = made(context, targets, objective="consistency", mask_fraction=1.0), batch(source=False)
    images, away = given.target.student.images, torch.eye(3).repeat(4, 1, 1)
    away[:, 0, 2] = 1e4
    still = View(images=images, matrix=torch.eye(3).expand(4, 3, 3))
    unseen = Batch(
        draws=given.draws,
        target=TargetBatch(
            student=View(images=images, matrix=away), teacher=(still,), ids=given.target.ids
        ),
    )  # fmt: skip
    (update,) = method.updates(unseen, 0.0)
    assert update.terms["consistency"].value.item() == 0
    maps = heatmaps_of(method, images)
    mirror = torch.tensor([[-1.0, 0, 95], [0, 1, 0], [0, 0, 1]]).expand(4, 3, 3)
    method.other_side = torch.tensor([2, 1, 0])
    torch.testing.assert_close(method._canonical(maps, mirror), maps.float().flip(-1)[:, [2, 1, 0]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("objective", ["entropy", "consistency"])
def test_scales_and_shifts_move_and_nothing_else(
    objective: str, context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    method = made(context, targets, objective=objective)
    (update,) = method.updates(batch(source=False), 0.0)
    update.total.backward()
    moved = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    norms = {f"{name}.{kind}" for name, m in method.named_modules() if isinstance(m, torch.nn.BatchNorm2d)
             for kind in ("weight", "bias")}  # fmt: skip
    assert moved <= norms
    assert len(moved) > len(norms) // 2
    assert method.training
    assert not any(module.training for module in method.net.modules())


def test_statistics_alone_yield_no_update(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets, objective="none")
    assert not list(method.updates(batch(source=False), 0.0))
    assert not method.parts()
    assert not any(p.requires_grad for p in method.parameters())
    untouched = BnAdapt(BnAdaptConfig(objective="none"), context(style=False))
    images = targets.student.images
    assert not torch.allclose(heatmaps_of(method, images), heatmaps_of(untouched.train(), images), atol=1e-3)
    assert method.predictor is method.student is method.net


def test_it_needs_target_images_alone_and_a_trained_net() -> None:
    assert BnAdaptConfig().needs == {"target"}
    assert BnAdaptConfig().needs_init
