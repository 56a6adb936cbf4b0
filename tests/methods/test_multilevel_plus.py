from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, OptimiserConfig, Update
from poseshift.methods.multilevel import Multilevel, MultilevelConfig
from poseshift.methods.multilevel_plus import MultilevelPlus, MultilevelPlusConfig

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
AS_PUBLISHED = {
    "mirrored": False,
    "subpixel": False,
    "balanced": False,
    "mask_start": 0.5,
    "mask_end": 0.5,
    "exclusive_pairs": 0.0,
}


def made(context: Contexts, targets: TargetBatch, **options: object) -> MultilevelPlus:
    config = MultilevelPlusConfig(**options)  # type: ignore[arg-type]
    method = MultilevelPlus(config, context(style=bool(config.style_probability))).train()
    method.refresh(iter([targets]))
    return method


def only(method: MultilevelPlus | Multilevel, given: Batch, progress: float = 0.5) -> Update:
    (update,) = method.updates(given, progress)
    return update


def test_without_what_is_new_it_is_multilevel_without_its_pose_level(
    context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    ours = only(made(context, targets, style_probability=1.0, domain_weight=0.1, **AS_PUBLISHED), batch())
    config = MultilevelConfig(levels=("image", "feature"), style_probability=1.0)
    parent = Multilevel(config, context()).train()
    parent.refresh(iter([targets]))
    theirs = only(parent, batch())
    assert list(ours.terms) == list(theirs.terms) == ["supervised", "consistency", "domain"]
    for name, term in theirs.terms.items():
        assert ours.terms[name].weight == term.weight
        torch.testing.assert_close(ours.terms[name].value, term.value)
    assert ours.on == theirs.on


def test_each_change_of_the_pseudo_labels_changes_consistency_alone(
    context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    plain = {"style_probability": 0.0, "domain_weight": 0.0, "occlusion_probability": 0.0}
    before = only(made(context, targets, **plain, **AS_PUBLISHED), batch())
    for change in ({"subpixel": True}, {"balanced": True}, {"mirrored": True}, {"mask_end": 1.0}):
        after = only(made(context, targets, **plain, **{**AS_PUBLISHED, **change}), batch())
        assert after.terms["supervised"].value == before.terms["supervised"].value
        assert after.terms["consistency"].value != before.terms["consistency"].value, change


def test_the_trusted_part_grows(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets, style_probability=0.0, mask_start=0.25, mask_end=0.75, exclusive_pairs=0.0)
    maps = torch.rand(8, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    parts = [method.pseudo_labels(maps, progress)[1].mean().item() for progress in (0.0, 0.5, 1.0)]
    assert parts == pytest.approx([0.25, 0.5, 0.75])


def test_a_weak_keypoint_gets_labels_too(context: Contexts, targets: TargetBatch) -> None:
    """One threshold for all leaves out a keypoint whose peaks are always lower."""
    maps = torch.rand(8, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    maps[:, 2] *= 0.1

    def labels_of_each(balanced: bool) -> Tensor:
        method = made(context, targets, style_probability=0.0, balanced=balanced, mask_start=0.5, mask_end=0.5)
        return method.pseudo_labels(maps, 0.0)[1].mean(0)

    assert labels_of_each(True).tolist() == [0.5, 0.5, 0.5]
    assert labels_of_each(False)[2] == 0


def test_what_is_off_needs_nothing(context: Contexts, targets: TargetBatch) -> None:
    with pytest.raises(UsageError, match=r"method.style_probability: no style net; give `style: RUN`.* or set it to 0"):
        MultilevelPlus(MultilevelPlusConfig(), context(style=False))
    bare = made(context, targets, style_probability=0.0, domain_weight=0.0)
    assert list(bare.parts()) == ["student"]
    assert bare.styles is None


def test_the_discriminator_has_its_own_rate(context: Contexts, targets: TargetBatch) -> None:
    rates = made(context, targets, discriminator_rate=0.5).optimisers(OptimiserConfig(rate=0.25))
    assert {name: one.rate for name, one in rates.items()} == {"student": 0.25, "discriminator": 0.5}


def test_the_teacher_follows_and_predicts(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets, ema_decay=0.75)
    assert method.predictor is method.nets.teacher
    assert method.student is method.nets.student
    before = method.predictor.final.bias.detach().clone()
    with torch.no_grad():
        method.student.final.bias.add_(1.0)
    method.after_step(0.5)
    torch.testing.assert_close(method.predictor.final.bias, before + 0.25)


def test_only_what_the_student_sees_is_compared(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets, style_probability=0.0, domain_weight=0.0, occlusion_probability=0.0)
    given = batch()
    away = given.target.student.matrix.clone()
    away[:, 0, 2] += 10_000  # nothing of the canonical frame is in the view
    student = replace(given.target.student, matrix=away)
    hidden = Batch(draws=given.draws, source=given.source, target=replace(given.target, student=student))
    assert only(method, hidden).terms["consistency"].value == 0
    assert only(method, given).terms["consistency"].value > 0


def test_mixed_statistics_need_a_pass_of_the_source_alone() -> None:
    with pytest.raises(ValidationError, match="leave one_pass out"):
        MultilevelPlusConfig(teacher_bn="mixed", one_pass=True)
