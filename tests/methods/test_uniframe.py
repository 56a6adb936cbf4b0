from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context
from poseshift.methods.uniframe import Uniframe, UniframeConfig
from poseshift.ops import affine, heatmaps

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
PLAIN = {"source_style_probability": 0.0, "target_style_probability": 0.0, "occlusion": False}


def made(context: Contexts, targets: TargetBatch, **options: object) -> Uniframe:
    method = Uniframe(UniframeConfig(**{**PLAIN, **options}), context()).train()
    method.refresh(iter([targets]))
    return method


def values(method: Uniframe, given: Batch) -> dict[str, float]:
    (update,) = method.updates(given, 0.0)
    return {name: term.value.item() for name, term in update.terms.items()}


def test_it_needs_a_style_net(context: Contexts) -> None:
    with pytest.raises(UsageError, match=r"'uniframe' needs a style net; give `style: RUN`"):
        Uniframe(UniframeConfig(), context(style=False))


@pytest.mark.parametrize("valid_only", [False, True])
def test_consistency_is_the_masked_distance_to_the_rectified_teacher(
    context: Contexts, batch: Batches, targets: TargetBatch, valid_only: bool
) -> None:
    method, given = made(context, targets, valid_only=valid_only), batch()
    found = values(method, given)["consistency"]
    again = made(context, targets)  # fresh running statistics, same weights
    with torch.no_grad():
        teacher = again.nets.teacher(given.target.teacher[0].images).heatmaps
        student = again.nets.student(given.target.student.images).heatmaps
    teacher = affine.unwarp_heatmaps(teacher, given.target.teacher[0].matrix, stride=4)
    student = affine.unwarp_heatmaps(student, given.target.student.matrix, stride=4)
    cells, peaks = heatmaps.peaks(teacher)
    threshold = peaks.flatten().sort().values[peaks.numel() // 2 - 1]
    seen = affine.seen_cells(student, given.target.student.matrix, stride=4) if valid_only else torch.ones(4, 1, 16, 24)
    total = 0.0
    for b in range(4):
        for k in range(3):
            if peaks[b, k] > threshold:
                gaussian = heatmaps.draw(cells[b : b + 1, k : k + 1], (16, 24), 2.0, window=6)[0, 0]
                total += float(((student[b, k] - gaussian) * seen[b, 0]).square().sum())
    assert found == pytest.approx(total / student.numel(), rel=1e-4)


def test_each_stylisation_touches_its_own_images(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    given = batch()
    plain = values(made(context, targets), given)
    source = values(made(context, targets, source_style_probability=1.0), given)
    target = values(made(context, targets, target_style_probability=1.0), given)
    assert source["supervised"] != pytest.approx(plain["supervised"], rel=1e-3)
    assert source["consistency"] == pytest.approx(plain["consistency"], rel=1e-4)
    assert target["supervised"] == pytest.approx(plain["supervised"], rel=1e-6)
    assert target["consistency"] != pytest.approx(plain["consistency"], rel=1e-3)


def test_occlusion_hides_something_from_the_student_alone(
    context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    options = {"occlusion": True, "occlusion_threshold": 0.0, "occlusion_probability": 1.0}
    method, given = made(context, targets, **options), batch()
    seen: list[torch.Tensor] = []
    method.nets.student.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].clone()))
    method.nets.teacher.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].clone()))
    next(method.updates(given, 0.0))
    teacher, source, student = seen
    assert torch.equal(teacher, given.target.teacher[0].images)
    assert torch.equal(source, given.source.view.images)
    changed = (student != given.target.student.images).any(1).float().mean((1, 2))
    side = round(20 / 256 * 96)
    assert changed.max().item() <= side * side / (64 * 96) + 1e-6
    assert changed.max() > 0


def test_weights_and_the_moving_average(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets, consistency_weight=0.3, ema_decay=0.9)
    (update,) = method.updates(batch(), 0.0)
    assert [(name, term.weight) for name, term in update.terms.items()] == [("supervised", 1.0), ("consistency", 0.3)]
    before = method.nets.teacher.final.bias.clone()
    with torch.no_grad():
        method.nets.student.final.bias.add_(1.0)
    method.after_step(0.0)
    torch.testing.assert_close(method.nets.teacher.final.bias, before + 0.1)
    assert method.predictor is method.nets.teacher
    assert method.student is method.nets.student
