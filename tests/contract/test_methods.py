"""What every method owes the engine (rules 4 to 6 of docs/design.md), over all of ``METHODS``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from poseshift.batches import Batch, SourceBatch, TargetBatch, View
from poseshift.draws import Draws
from poseshift.errors import UsageError
from poseshift.methods import METHODS
from poseshift.methods.base import Context, HeatmapConfig, Method, OptimiserConfig, Update
from poseshift.models.adain import StyleNet, StyleNetConfig
from poseshift.models.mean_teacher import MeanTeacher
from poseshift.models.pose_net import PoseNet, PoseNetConfig
from poseshift.models.pose_prior import PosePrior, PosePriorConfig
from poseshift.ops import affine

COUNT, KEYPOINTS, SIZE, TARGETS = 4, 5, 64, 8
FILM = torch.arange(-1, TARGETS - 1)

# Beside the default configuration of each method, which a new one gets for nothing.
always = {"occlusion_probability": 1.0, "occlusion_threshold": 0.0}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "source_only": [{"stylise": True, "style_probability": 1.0}, {"ema_decay": 0.9}],
    "uniframe": [
        {"source_style_probability": 1.0, "target_style_probability": 1.0, "teacher_bn": "ema", **always},
        {"valid_only": True, "occlusion": False},
    ],
    "multilevel": [
        {"style_probability": 1.0, "teacher_bn": "ema", "reversal": "ramp", **always},
        {"pose": "released", "valid_only": False},
        {"levels": ()},
        {"one_pass": True},
        {"consistency": False, "occlusion": False},
    ],
    "multilevel_plus": [
        {"style_probability": 1.0, "teacher_bn": "ema", "occlusion_probability": 1.0, "occlusion_threshold": 0.0},
        {"style_probability": 0.0, "domain_weight": 0.0, "occlusion_probability": 0.0},
        {"subpixel": False, "balanced": False, "exclusive_pairs": 0.0},
        {"one_pass": True},
        {"teacher_bn": "mixed", "mirrored": True},
    ],
    "ccssl": [{"temporal": False, "ema_decay": 0.9}],
    "dann": [{"reversal": "constant", "ema_decay": 0.9}],
    "uda_animal": [{"kept_keypoints": 1.0, "pseudo_label_share": 1.0}],
    "regda": [{"supervised_loss": "mse", "trade_off": 0.005, "ema_decay": 0.9}],
    "shot": [{"pseudo_label_weight": 0.0}, {"candidates": 1}],
    "maps": [
        {"mixup_weight": 0.0, "teacher_bn": "ema"},
        {"pseudo_label_weight": 0.0},
        {"easy_first": 0.5, "easy_last": 1.0, "rounds": 1},
    ],
    "sfdahpe": [{"inverse_temperature": 40.0, "ema_decay": 0.5}],
    "bn_adapt": [{"objective": "none"}, {"objective": "consistency"}],
    "post": [{"prior_weight": 0.0, "teacher_bn": "ema"}, {"prior_from": 0.9, "occlusion": False}, always],
    "style": [{"reconstruction_weight": 0.0}],
    "pose_prior": [{"bank": 3, "exchanged": 0.0, "misplaced": 0.0, "hidden": 0.0}],
}
CASES = [
    pytest.param(name, options, id="-".join([name, *options]))
    for name in METHODS
    for options in [{}, *VARIANTS.get(name, [])]
]
every_case = pytest.mark.parametrize(("name", "options"), CASES)
every_method = pytest.mark.parametrize("name", METHODS)


def pose_net() -> PoseNet:
    torch.manual_seed(1)
    net = PoseNet(PoseNetConfig(backbone="small", head="pyramid", width=16), keypoints=KEYPOINTS)
    with torch.no_grad():
        net.final.weight.mul_(100)  # heatmaps of a net that has learnt something
    return net


def make(name: str, options: dict[str, Any], *, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    style = StyleNet(StyleNetConfig())
    prior = PosePrior(PosePriorConfig(width=16, layers=1), KEYPOINTS)
    context = Context(
        net=pose_net,
        style=style,
        heatmap=HeatmapConfig(),
        targets=TARGETS,
        pairs=((0, 2),),
        previous=FILM,
        keypoints=KEYPOINTS,
        prior=prior,
    )
    method = METHODS[name](METHODS[name].Config(**options), context).train()
    method.refresh(iter([plain_targets()]))
    return method


def random_view(generator: torch.Generator) -> View:
    angle, shear = (torch.rand(COUNT, generator=generator) - 0.5 for _ in range(2))
    scale = 0.8 + 0.4 * torch.rand(COUNT, generator=generator)
    block = affine.rotation_shear_scale(angle, shear, scale)
    matrix = affine.linear(block, centre=torch.full((2,), (SIZE - 1) / 2))
    return View(images=torch.randn(COUNT, 3, SIZE, SIZE, generator=generator), matrix=matrix)


def plain_targets() -> TargetBatch:
    generator = torch.Generator().manual_seed(99)
    images = torch.randn(TARGETS, 3, SIZE, SIZE, generator=generator)
    view = View(images=images, matrix=torch.eye(3).expand(TARGETS, 3, 3))
    return TargetBatch(student=view, teacher=(view,), ids=torch.arange(TARGETS))


def batch(fields: frozenset[str], *, step: int = 0) -> Batch:
    """A random batch with ``fields`` and no others."""
    generator = torch.Generator().manual_seed(100 + step)
    source = SourceBatch(
        view=random_view(generator),
        keypoints=torch.rand(COUNT, KEYPOINTS, 2, generator=generator) * SIZE,
        visible=torch.full((COUNT, KEYPOINTS), 2, dtype=torch.uint8),
        ids=torch.arange(COUNT),
    )
    target = TargetBatch(
        student=random_view(generator),
        teacher=(random_view(generator),),
        ids=torch.randint(TARGETS, (COUNT,), generator=generator),
    )
    return Batch(
        draws=Draws(seed=0, step=step, start=0, count=COUNT, total=COUNT, device=torch.device("cpu")),
        source=source if "source" in fields else None,
        target=target if "target" in fields else None,
    )


def updates(method: Method, step: int = 0, progress: float = 0.5) -> Iterator[Update]:
    return method.updates(batch(method.config.needs, step=step), progress)


def parameters_of(method: Method, names: tuple[str, ...]) -> list[nn.Parameter]:
    return [p for name in names for p in method.parts()[name].parameters() if p.requires_grad]


def take(method: Method, update: Update, rate: float = 0.01) -> None:
    """One step of plain descent for the parts that the update names."""
    moving = parameters_of(method, update.on)
    gradients = torch.autograd.grad(update.total, moving, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(moving, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(rate * gradient)


def run(method: Method, steps: int = 2, first: int = 0) -> list[float]:
    """The value of every term of some steps, each taken."""
    values = []
    for step in range(first, first + steps):
        for update in updates(method, step):
            values += [term.value.item() for term in update.terms.values()]
            take(method, update)
        method.after_step(0.5)
    return values


def copies(named: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named}


def moved(before: dict[str, Tensor], now: Iterator[tuple[str, Tensor]]) -> set[str]:
    return {name for name, tensor in now if not torch.equal(before[name], tensor)}


def names_within(method: Method, modules: list[nn.Module], tensors: Iterator[tuple[str, Tensor]]) -> set[str]:
    inside = {id(t) for module in modules for t in (*module.parameters(), *module.buffers())}
    return {name for name, tensor in tensors if id(tensor) in inside}


def test_the_methods_of_the_issue_are_all_there() -> None:
    with_source = {"source_only", "uniframe", "multilevel", "multilevel_plus", "dann", "regda", "ccssl", "uda_animal"}
    source_free = {"shot", "maps", "sfdahpe", "post", "bn_adapt"}
    assert with_source | source_free | {"style", "pose_prior"} <= set(METHODS)
    for name in source_free:
        assert METHODS[name].Config().needs == {"target"}
    assert set(VARIANTS) <= set(METHODS)


@every_case
def test_terms_are_finite_scalars_yielded_with_gradients_on_and_outside_of_autocast(
    name: str, options: dict[str, Any]
) -> None:
    method = make(name, options)
    for update in updates(method):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert update.terms
        for term in update.terms.values():
            assert term.value.shape == ()
            assert term.value.isfinite()
            assert term.value.requires_grad
        assert update.total.dtype == torch.float32
        for monitor in update.monitors.values():
            assert monitor.shape == ()
            assert not monitor.requires_grad
        take(method, update)


@every_case
def test_every_term_moves_a_part_it_names_and_every_named_part_is_moved(name: str, options: dict[str, Any]) -> None:
    method = make(name, options)
    for update in updates(method):
        assert update.on
        assert set(update.on) <= set(method.parts())
        for label, term in update.terms.items():
            found = torch.autograd.grad(
                term.value, parameters_of(method, update.on), retain_graph=True, allow_unused=True
            )
            assert any(g is not None and g.any() for g in found), f"{label} moves nothing of {update.on}"
            assert all(g is None or g.isfinite().all() for g in found), label
            if update.probe:
                found = torch.autograd.grad(term.value, update.probe, retain_graph=True, allow_unused=True)
                assert any(g is not None and g.any() for g in found), f"{label} cannot be measured at the probe"
        for part in update.on:
            found = torch.autograd.grad(
                update.total, parameters_of(method, (part,)), retain_graph=True, allow_unused=True
            )
            assert any(g is not None and g.any() for g in found), f"nothing moves {part}"
        take(method, update)


@every_case
def test_what_is_not_named_stands_still(name: str, options: dict[str, Any]) -> None:
    method = make(name, options)
    parts = list(method.parts().values())
    for step in range(2):
        values, buffers = copies(method.named_parameters()), copies(method.named_buffers())
        for update in updates(method, step):
            named = [method.parts()[part] for part in update.on]
            take(method, update)
            allowed = names_within(method, named, method.named_parameters())
            changed = moved(values, method.named_parameters())
            assert changed, "a step moves something"
            assert changed <= allowed
            free = names_within(method, named, method.named_buffers())
            free |= {n for n in buffers if method.moving_buffers & set(n.split("."))}
            assert moved(buffers, method.named_buffers()) <= free
            values, buffers = copies(method.named_parameters()), copies(method.named_buffers())
        method.after_step(0.5)
        changed = moved(values, method.named_parameters())
        assert not changed & names_within(method, parts, method.named_parameters()), "only an update trains a part"
        free = names_within(method, parts, method.named_buffers())
        free |= {n for n in buffers if method.moving_buffers & set(n.split("."))}
        assert moved(buffers, method.named_buffers()) <= free


@every_case
def test_what_is_not_needed_is_not_there_and_changes_nothing(name: str, options: dict[str, Any]) -> None:
    """A method without a source runs on batches that hold none; given one all the same, it gives the same numbers."""
    one, other = make(name, options), make(name, options)
    bare = batch(one.config.needs)
    for field in {"source", "target"} - one.config.needs:
        assert not bare.has(field)
        with pytest.raises(UsageError, match=f"does not name '{field}' in its `needs`"):
            getattr(bare, field)
    for expected, found in zip(
        one.updates(bare, 0.5), other.updates(batch(frozenset({"source", "target"})), 0.5), strict=True
    ):
        assert {k: t.value.item() for k, t in found.terms.items()} == {
            k: t.value.item() for k, t in expected.terms.items()
        }
        take(one, expected)
        take(other, found)


@every_case
def test_the_same_seed_gives_the_same_numbers_whatever_the_global_generator(name: str, options: dict[str, Any]) -> None:
    one, other = make(name, options), make(name, options)
    torch.manual_seed(1234)
    first = run(one)
    torch.manual_seed(4321)
    assert run(other) == first
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@every_case
def test_a_state_goes_on_as_if_it_had_never_been_saved(name: str, options: dict[str, Any]) -> None:
    straight, saved = make(name, options), make(name, options)
    run(saved, 1)
    resumed = make(name, options, seed=77)
    resumed.load_state_dict({key: value.clone() for key, value in saved.state_dict().items()})
    run(straight, 1)
    assert run(resumed, 1, first=1) == run(straight, 1, first=1)


@every_case
def test_terms_under_autocast_are_those_of_full_precision(name: str, options: dict[str, Any]) -> None:
    full, narrow = make(name, options), make(name, options)
    expected = next(updates(full), None)
    generator = updates(narrow)
    with torch.autocast("cpu", torch.bfloat16):
        found = next(generator, None)
    if expected is None or found is None:  # a method that trains nothing under these options
        assert expected is found
        return
    assert found.terms.keys() == expected.terms.keys()
    for label, term in found.terms.items():
        assert term.value.dtype == torch.float32, label
        scale = abs(expected.terms[label].value.item())
        assert term.value.item() == pytest.approx(expected.terms[label].value.item(), abs=0.1 * scale + 1e-6), label


@every_method
def test_the_docstring_names_the_terms_and_no_others(name: str) -> None:
    text = sys.modules[METHODS[name].__module__].__doc__ or ""
    block = re.search(r"^Terms\n((?:[ \t]+.*\n|\n(?=[ \t]))+)", text, re.MULTILINE)
    assert block, "a method's docstring lists its terms"
    told = set(re.findall(r"^    ``(\w+)``", block.group(1), re.MULTILINE))
    yielded = set()
    for options in [{}, *VARIANTS.get(name, [])]:
        method = make(name, options)
        for update in updates(method):
            yielded |= set(update.terms)
            take(method, update)
    assert told == yielded
    assert re.search(r"Deviations from the paper: ", text)
    assert re.search(r"Deviations from the authors' code: ", text)


@every_method
def test_configurations_are_strict_and_frozen(name: str) -> None:
    config = METHODS[name].Config()
    assert config.name == name
    with pytest.raises(ValidationError, match="no_such_key"):
        METHODS[name].Config(no_such_key=1)
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "other"
    with pytest.raises(ValidationError):
        METHODS[name].Config(name="other")
    assert METHODS[name].Config.model_validate(config.model_dump(mode="json")) == config
    assert config.needs <= {"source", "target"}
    assert config.needs
    assert config.needs_init == ("source" not in config.needs)
    assert type(config.without_weights()) is type(config)


@every_case
def test_parts_optimisers_and_predictor(name: str, options: dict[str, Any]) -> None:
    method = make(name, options)
    default = OptimiserConfig(rate=0.123)
    assert method.optimisers(default).keys() == method.parts().keys()
    for part in method.parts():
        assert parameters_of(method, (part,)), f"{part} has nothing to train"
    own = {id(parameter) for parameter in method.parameters()}
    assert {id(p) for part in method.parts().values() for p in part.parameters()} <= own
    made = {"pose net": method.predictor, "style net": method.style_net, "pose prior": method.pose_prior}
    assert [kind for kind, net in made.items() if net is not None] == [method.makes]
    if method.predictor is not None:
        assert method.student is not None
        method.eval()
        with torch.no_grad():
            shape = method.predictor(torch.randn(2, 3, 64, 96)).heatmaps.shape
        assert shape == (2, KEYPOINTS, 16, 24)


@every_case
def test_a_comparison_can_tell_what_it_needs_and_makes(name: str, options: dict[str, Any]) -> None:
    """``needs_style``, ``needs_prior`` where it cannot be built without; ``makes`` a pose net where it predicts."""
    config = METHODS[name].Config(**options)
    about = {"heatmap": HeatmapConfig(), "targets": TARGETS, "pairs": ((0, 2),), "keypoints": KEYPOINTS}
    context = Context(net=pose_net, style=None, **about)  # type: ignore[arg-type]
    if config.needs_style or config.needs_prior:
        with pytest.raises(UsageError, match="style" if config.needs_style else "prior"):
            METHODS[name](config, context)
    else:
        assert (METHODS[name](config, context).predictor is not None) == (METHODS[name].makes == "pose net")


@every_method
def test_teachers_know_which_keypoints_are_left_and_right(name: str) -> None:
    """Else the pseudo-labels of a mirrored view would have their sides exchanged."""
    teachers = [module for module in make(name, {}).modules() if isinstance(module, MeanTeacher)]
    assert teachers or name not in {"maps", "multilevel", "multilevel_plus", "post", "uda_animal", "uniframe"}
    for teacher in teachers:
        assert teacher.other_side.tolist()[:3] == [2, 1, 0]
