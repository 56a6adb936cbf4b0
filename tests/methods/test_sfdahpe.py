from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from poseshift.batches import Batch, TargetBatch, View
from poseshift.methods.base import Context, OptimiserConfig, Update
from poseshift.methods.sfdahpe import Sfdahpe, SfdahpeConfig, contrastive, residual
from poseshift.ops import affine, information

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
BETA, STRIDE = 10.0, 4


def made(context: Contexts, **options: object) -> Sfdahpe:
    return Sfdahpe(SfdahpeConfig(**options), context(style=False)).train()


def take(method: Sfdahpe, update: Update, rate: float = 0.1) -> None:
    moving = [p for name in update.on for p in method.parts()[name].parameters()]
    gradients = torch.autograd.grad(update.total, moving)
    with torch.no_grad():
        for parameter, gradient in zip(moving, gradients, strict=True):
            parameter.sub_(rate * gradient)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def entropy(shares: list[float]) -> float:
    return -sum(share * math.log(share) for share in shares)


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def slow_marginals(rows: list[list[float]]) -> tuple[list[float], list[float]]:
    columns = zip(*rows, strict=True)
    return softmax([BETA * max(row) for row in rows]), softmax([BETA * max(column) for column in columns])


def slow_residual(prediction: Tensor, reference: Tensor) -> float:
    """Σ q·ln(q/p) over the cells of each map, both maxima set to 0 in both maps."""
    total, count = 0.0, 0
    for one, other in zip(prediction.flatten(0, 1).tolist(), reference.flatten(0, 1).tolist(), strict=True):
        cells = [[value for row in rows for value in row] for rows in (one, other)]
        out = {values.index(max(values)) for values in cells}
        p, q = (softmax([0.0 if i in out else value for i, value in enumerate(values)]) for values in cells)
        total += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        count += 1
    return total / count


def slow_contrast(target: Tensor, intermediate: Tensor) -> float:
    """-ln(s_kk / Σ_j s_kj), averaged over images and keypoints."""
    total, count = 0.0, 0
    for one, other in zip(target.tolist(), intermediate.tolist(), strict=True):
        here, there = [slow_marginals(rows) for rows in one], [slow_marginals(rows) for rows in other]
        for k, (rows, columns) in enumerate(here):
            likeness = [(cosine(rows, r) + cosine(columns, c)) / 2 for r, c in there]
            total -= math.log(likeness[k] / sum(likeness))
            count += 1
    return total / count


def slow_half_square(one: Tensor, other: Tensor) -> float:
    return float(np.mean((one.numpy() - other.numpy()) ** 2) / 2)


def random_maps(seed: int, scale: float = 0.4) -> Tensor:
    return scale * torch.randn(2, 3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_residual_against_a_loop() -> None:
    one, other = random_maps(0), random_maps(1)
    other[0, 1] = one[0, 1] + 0.1 * other[0, 1]
    other[0, 1].view(-1)[one[0, 1].argmax()] = 9.0  # one maximum in both
    assert residual(one, other).item() == pytest.approx(slow_residual(one, other), rel=1e-9)
    assert residual(one, one).item() == pytest.approx(0, abs=1e-12)


def test_the_maxima_play_no_part_in_the_residual() -> None:
    one, other = random_maps(0).requires_grad_(), random_maps(1)
    (gradient,) = torch.autograd.grad(residual(one, other), one)
    flat = gradient.flatten(-2)
    for maps in (one, other):
        assert not flat.gather(-1, maps.flatten(-2).argmax(-1, keepdim=True)).any()
    assert (flat != 0).sum(-1).min() >= 6 * 9 - 2


def test_contrast_against_a_loop() -> None:
    one, other = random_maps(0), random_maps(1)
    found = contrastive(*(information.marginals(maps, inverse_temperature=BETA) for maps in (one, other)))
    assert found.item() == pytest.approx(slow_contrast(one, other), rel=1e-9)


def test_contrast_is_low_where_each_keypoint_is_like_its_own_and_no_other() -> None:
    apart = torch.zeros(1, 2, 6, 9)
    apart[0, 0, 1, 1] = apart[0, 1, 4, 7] = 5.0

    def contrast(one: Tensor, other: Tensor) -> float:
        found = contrastive(*(information.marginals(maps, inverse_temperature=BETA) for maps in (one, other)))
        assert found.isfinite()
        return found.item()

    assert contrast(apart, apart) == pytest.approx(0, abs=1e-3)
    assert contrast(apart[:, [0, 0]], apart[:, [0, 0]]) == pytest.approx(math.log(2), abs=1e-3)
    assert contrast(apart, apart.flip(1)) > 5


@pytest.mark.parametrize("flip", [False, True])
def test_terms_of_both_updates_are_those_of_the_formula(context: Contexts, batch: Batches, flip: bool) -> None:
    """In loops; the second update compares with the intermediate model as the first one left it."""
    method, given = made(context), batch(source=False)
    method.other_side = torch.tensor([2, 1, 0])
    if flip:
        matrix = affine.mirror(96, like=given.target.student.matrix) @ given.target.student.matrix
        view = View(images=given.target.student.images, matrix=matrix)
        target = TargetBatch(student=view, teacher=given.target.teacher, ids=given.target.ids)
        given = Batch(draws=given.draws, target=target)
    strong, weak = given.target.student, given.target.teacher[0]
    fresh = made(context)
    seen = affine.seen_cells(torch.zeros(4, 1, 16, 24), strong.matrix, stride=STRIDE)

    def canonical(net: torch.nn.Module, view: View) -> Tensor:
        with torch.no_grad():
            maps = net(view.images).heatmaps
        back = affine.unwarp_heatmaps(maps, view.matrix, stride=STRIDE)
        return ((back.flip(1) if flip and view is strong else back) * seen).double()

    updates = method.updates(given, 0.0)
    update = next(updates)
    source, maps = canonical(fresh.source, weak), canonical(fresh.intermediate, strong)
    assert {name: term.value.item() for name, term in update.terms.items()} == {
        "finetune": pytest.approx(slow_half_square(maps, source), rel=1e-4),
        "residual": pytest.approx(slow_residual(maps, source), rel=1e-3),
    }
    take(method, update)
    fresh.intermediate.load_state_dict(method.intermediate.state_dict())
    update = next(updates)
    pseudo, maps = canonical(fresh.intermediate, weak), canonical(fresh.target, strong)
    assert not torch.equal(pseudo, source)
    rows, columns = zip(*(slow_marginals(m) for m in maps.flatten(0, 1).tolist()), strict=True)
    certainty = np.mean(
        [entropy(r) / math.log(16) + entropy(c) / math.log(24) for r, c in zip(rows, columns, strict=True)]
    )
    shares = [[softmax([BETA * v for v in maps[b, k].flatten().tolist()]) for b in range(4)] for k in range(3)]
    diversity = np.mean([entropy(np.mean(of, axis=0).tolist()) for of in shares]) / math.log(16 * 24)
    cells = 16 * 24
    assert {name: term.value.item() for name, term in update.terms.items()} == {
        "consistency": pytest.approx(slow_half_square(maps, pseudo), rel=1e-4),
        "contrastive": pytest.approx(slow_contrast(maps, pseudo) / cells, rel=1e-4),
        "certainty": pytest.approx(certainty / cells, rel=1e-4),
        "diversity": pytest.approx(diversity / cells, rel=1e-4),
    }
    assert next(updates, None) is None


def test_the_source_model_never_moves(context: Contexts, batch: Batches) -> None:
    method = made(context, ema_decay=0.5)
    before = [p.clone() for p in method.source.parameters()]
    for step in range(2):
        for update in method.updates(batch(source=False, step=step), 0.0):
            take(method, update)
        method.after_step(0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, method.source.parameters(), strict=True))
    assert not any(p.requires_grad for p in method.source.parameters())
    for net in (method.intermediate, method.target):
        assert any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_each_step_opens_with_the_moving_average(context: Contexts, batch: Batches) -> None:
    method = made(context, ema_decay=0.75)
    with torch.no_grad():
        method.target.final.bias.add_(1.0)
    before = method.intermediate.final.bias.clone()
    next(method.updates(batch(source=False), 0.0))
    torch.testing.assert_close(method.intermediate.final.bias - before, torch.full((3,), 0.25))


def test_the_intermediate_model_is_slow_and_is_what_predicts(context: Contexts) -> None:
    method = made(context)
    rates = {name: config.rate for name, config in method.optimisers(OptimiserConfig(rate=0.5)).items()}
    assert rates == {"intermediate": pytest.approx(0.05), "target": 0.5}
    assert method.predictor is method.intermediate
    assert method.student is method.target


def test_it_needs_target_images_alone_and_a_trained_net() -> None:
    assert SfdahpeConfig().needs == {"target"}
    assert SfdahpeConfig().needs_init


@pytest.mark.parametrize("wrong", [{"residual_weight": -0.1}, {"inverse_temperature": 0}, {"ema_decay": 1}])
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SfdahpeConfig(**wrong)
