from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from pydantic import ValidationError

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, OptimiserConfig, Update
from poseshift.methods.multilevel import Multilevel, MultilevelConfig
from poseshift.ops import adversarial, affine, information

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
LEVELS = ("image", "feature", "pose")
SUBSETS = [subset for size in range(4) for subset in combinations(LEVELS, size)]
TERMS = {"feature": ["domain"], "pose": ["certainty", "diversity"]}


def made(context: Contexts, targets: TargetBatch, *, style: bool = True, **options: object) -> Multilevel:
    method = Multilevel(MultilevelConfig(**{"style_probability": 1.0, **options}), context(style=style)).train()
    method.refresh(iter([targets]))
    return method


def only(method: Multilevel, given: Batch, progress: float = 0.5) -> Update:
    (update,) = method.updates(given, progress)
    return update


@pytest.mark.parametrize("levels", SUBSETS, ids="+".join)
def test_a_level_adds_its_own_terms_and_changes_nothing_else(
    levels: tuple[str, ...], context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    method = made(context, targets, levels=levels, style="image" in levels)
    update = only(method, batch())
    expected = ["supervised", "consistency", *(term for level in levels for term in TERMS.get(level, []))]
    assert list(update.terms) == expected, "in the order of the equations"
    assert list(method.parts()) == ["student", *(["discriminator"] if "feature" in levels else [])]
    assert update.on == tuple(method.parts())
    assert (method.styles is not None) == ("image" in levels)
    # What a term of one level is worth does not depend on which others are on.
    whole = only(made(context, targets, levels=LEVELS if "image" in levels else LEVELS[1:]), batch())
    for name, term in update.terms.items():
        assert term.weight == whole.terms[name].weight
        torch.testing.assert_close(term.value, whole.terms[name].value, rtol=1e-5, atol=1e-7)


def test_the_image_level_restyles_the_source_alone(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    with_it = only(made(context, targets, levels=("image",)), batch())
    without = only(made(context, targets, levels=()), batch())
    never = only(made(context, targets, levels=("image",), style_probability=0.0), batch())
    values = [{name: term.value.item() for name, term in u.terms.items()} for u in (with_it, without, never)]
    assert values[0]["supervised"] != pytest.approx(values[1]["supervised"], rel=1e-3)
    assert values[0]["consistency"] == pytest.approx(values[1]["consistency"], rel=1e-4)
    assert values[2] == pytest.approx(values[1])


def test_the_mean_teacher_alone_still_has_its_two_switches(
    context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    update = only(made(context, targets, levels=(), consistency=False), batch())
    assert list(update.terms) == ["supervised"]
    always = {"occlusion_threshold": 0.0, "occlusion_probability": 1.0}
    hidden = only(made(context, targets, levels=(), **always), batch())
    shown = only(made(context, targets, levels=(), occlusion=False), batch())
    assert hidden.terms["consistency"].value != shown.terms["consistency"].value
    assert hidden.terms["supervised"].value == shown.terms["supervised"].value


def test_exclusive_pairs_drop_labels_and_change_nothing_else(
    context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    """A net that puts every keypoint on one spot: of the pair, one label stays."""
    published = made(context, targets, levels=(), mask_fraction=1.0)
    exclusive = Multilevel(
        MultilevelConfig(levels=(), mask_fraction=1.0, exclusive_pairs=0.05),
        replace(context(), pairs=((0, 2),)),
    ).train()
    same = torch.zeros(4, 3, 16, 24)
    same[:, :, 5, 7] = torch.tensor([0.9, 0.6, 0.8])
    masks = []
    for method in (published, exclusive):
        method.nets.pseudo_heatmaps = lambda *args: same  # type: ignore[method-assign]
        method._consistency = lambda canonical, pseudo, mask, matrix: masks.append(mask) or mask.sum()  # type: ignore[assignment,func-returns-value,method-assign]
        only(method, batch())
    assert masks[0].tolist() == [[1, 1, 1]] * 4
    assert masks[1].tolist() == [[1, 1, 0]] * 4


def test_the_total_is_equation_nine(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    weights = {"consistency_weight": 0.7, "domain_weight": 0.2, "certainty_weight": 0.03, "diversity_weight": 0.05}
    update = only(made(context, targets, **weights), batch())
    value = {name: term.value.item() for name, term in update.terms.items()}
    expected = value["supervised"] + 0.7 * value["consistency"] + 0.2 * value["domain"]
    expected += 0.03 * value["certainty"] - 0.05 * value["diversity"]
    assert update.total.item() == pytest.approx(expected, rel=1e-5)


def test_published_defaults() -> None:
    config = MultilevelConfig()
    assert (config.consistency_weight, config.domain_weight, config.ema_decay) == (1.0, 0.1, 0.999)
    assert (config.mask_fraction, config.occlusion_threshold, config.occlusion_probability) == (0.5, 0.9, 0.5)
    assert config.occlusion_side == 20 / 256
    assert config.style_probability == 0.5
    assert (config.reversal, config.teacher_bn, config.discriminator_rate) == ("constant", "batch", 1e-4)


def test_the_student_works_against_the_discriminator(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets, levels=("feature",))
    update = only(method, batch())
    (reversed_,) = torch.autograd.grad(update.terms["domain"].value, update.probe[0], retain_graph=True)
    source, student = (feature.detach().requires_grad_() for feature in update.probe)
    loss = adversarial.domain_cross_entropy(method.discriminator(source), method.discriminator(student))
    torch.testing.assert_close(update.terms["domain"].value, loss)
    straight, _ = torch.autograd.grad(loss, (source, student))
    torch.testing.assert_close(reversed_, -straight)
    assert update.terms["domain"].value.item() == pytest.approx(2 * torch.tensor(2.0).log().item(), abs=0.2)


@pytest.mark.parametrize("progress", [0.0, 0.3])
def test_the_ramp_scales_the_students_gradient_and_not_the_discriminators(
    context: Contexts, batch: Batches, targets: TargetBatch, progress: float
) -> None:
    found = {}
    for reversal in ("constant", "ramp"):
        method = made(context, targets, levels=("feature",), reversal=reversal)
        update = only(method, batch(), progress)
        weights = next(method.discriminator.parameters())
        found[reversal] = torch.autograd.grad(update.terms["domain"].value, (update.probe[1], weights))
    factor = adversarial.dann_ramp(progress)
    torch.testing.assert_close(found["ramp"][0], factor * found["constant"][0])
    torch.testing.assert_close(found["ramp"][1], found["constant"][1])


@pytest.mark.parametrize("form", ["released", "calibrated"])
def test_the_pose_level_reads_canonical_heatmaps(
    context: Contexts, batch: Batches, targets: TargetBatch, form: str
) -> None:
    given = batch()
    options = {"levels": ("pose",), "pose": form, "occlusion": False}
    terms = only(made(context, targets, **options), given).terms
    again = made(context, targets, **options)
    with torch.no_grad():
        again.nets.student(given.source.view.images)
        raw = again.nets.student(given.target.student.images).heatmaps
    maps = affine.unwarp_heatmaps(raw, given.target.student.matrix, stride=4)
    if form == "released":
        expected = information.released_certainty(maps), information.released_diversity(maps)
    else:
        beta = MultilevelConfig().inverse_temperature
        cells = maps.shape[-2] * maps.shape[-1]
        expected = (
            information.certainty(maps, inverse_temperature=beta) / cells,
            information.diversity(maps, inverse_temperature=beta) / cells,
        )
    torch.testing.assert_close(terms["certainty"].value, expected[0], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(terms["diversity"].value, expected[1], rtol=1e-4, atol=1e-9)
    assert terms["certainty"].weight > 0 > terms["diversity"].weight


def test_the_discriminator_has_its_own_rate(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets, discriminator_rate=3e-5)
    default = OptimiserConfig(rate=1e-3, schedule="cosine")
    assert method.optimisers(default) == {
        "student": default,
        "discriminator": default.model_copy(update={"rate": 3e-5}),
    }


def test_after_a_step_the_teacher_follows(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets, ema_decay=0.5)
    before = method.nets.teacher.final.bias.clone()
    with torch.no_grad():
        method.nets.student.final.bias.add_(1.0)
    method.after_step(0.0)
    torch.testing.assert_close(method.nets.teacher.final.bias, before + 0.5)
    assert method.predictor is method.nets.teacher
    assert method.student is method.nets.student


def test_the_image_level_needs_a_style_net(context: Contexts) -> None:
    with pytest.raises(UsageError, match=r"'image' needs a style net; give `style: RUN`"):
        Multilevel(MultilevelConfig(), context(style=False))


@pytest.mark.parametrize("change", [{"levels": ("pose", "pose")}, {"levels": ("joint",)}, {"mask_fraction": 0.0}])
def test_configuration_is_strict(change: dict) -> None:
    with pytest.raises(ValidationError):
        MultilevelConfig(**change)
