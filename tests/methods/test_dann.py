from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from poseshift.batches import Batch
from poseshift.methods.base import Context, HeatmapConfig, OptimiserConfig, Update, supervised
from poseshift.methods.dann import Dann, DannConfig

Contexts, Batches = Callable[..., Context], Callable[..., Batch]


def made(context: Contexts, **options: object) -> Dann:
    torch.manual_seed(0)
    return Dann(DannConfig(**options), context(style=False)).train()


def only(method: Dann, given: Batch, progress: float = 0.5) -> Update:
    (update,) = method.updates(given, progress)
    return update


def test_one_update_of_net_and_discriminator_without_a_style_net(context: Contexts, batch: Batches) -> None:
    method, given = made(context, domain_weight=0.3), batch()
    update = only(method, given)
    assert [(name, term.weight) for name, term in update.terms.items()] == [("supervised", 1.0), ("domain", 0.3)]
    assert update.on == tuple(method.parts()) == ("net", "discriminator")
    expected = supervised(made(context).nets.net(given.source.view.images), given.source, 4, HeatmapConfig())
    torch.testing.assert_close(update.terms["supervised"].value, expected, rtol=1e-4, atol=1e-6)


def test_the_domain_term_is_the_cross_entropy_of_every_cell_source_0_target_1(
    context: Contexts, batch: Batches
) -> None:
    method, given = made(context), batch()
    with torch.no_grad():
        method.discriminator.layers[-1].weight.mul_(30)  # else every decision is about one half
    update = only(method, given)
    features = [features.detach() for features in update.probe]
    total = 0.0
    for domain, maps in enumerate(features):
        decisions = [1 / (1 + math.exp(-z)) for z in method.discriminator(maps).double().flatten().tolist()]
        right = [p if domain == 1 else 1 - p for p in decisions]
        total -= sum(math.log(p) for p in right) / len(right)
    assert update.terms["domain"].value.item() == pytest.approx(total, rel=1e-5)
    assert abs(total - 2 * math.log(2)) > 0.01, "a discriminator that decides something"


@pytest.mark.parametrize(
    ("options", "progress", "expected"),
    [
        ({}, 0.0, 0.0),
        ({}, 0.1, (1 - math.exp(-1)) / (1 + math.exp(-1))),
        ({}, 0.5, (1 - math.exp(-5)) / (1 + math.exp(-5))),
        ({"steepness": 2.0}, 0.5, (1 - math.exp(-1)) / (1 + math.exp(-1))),
        ({"reversal": "constant"}, 0.0, 1.0),
    ],
)
def test_the_net_climbs_by_the_ramp_what_the_discriminator_descends(
    context: Contexts, batch: Batches, options: dict, progress: float, expected: float
) -> None:
    """Slow version: both gradients by central differences of the term itself, which knows no reversal."""
    method, given = made(context, **options), batch()
    update = only(method, given, progress)
    weight = method.discriminator.layers[0].weight
    found = torch.autograd.grad(update.terms["domain"].value, (*update.probe, weight))
    judge, step = copy.deepcopy(method.discriminator).double(), 1e-7  # small: the leaky ReLU has kinks
    generator = torch.Generator().manual_seed(3)
    ways = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (*update.probe, weight)]

    def domain(*, changed: int, by: float) -> float:
        at = [
            x.detach().double() + by * way * (i == changed) for i, (x, way) in enumerate(zip(start, ways, strict=True))
        ]
        judge.layers[0].weight.data = at[2]
        with torch.no_grad():
            source, target = (torch.sigmoid(judge(maps)) for maps in at[:2])
        return -((1 - source).log().mean() + target.log().mean()).item()

    start = (*update.probe, weight)
    for index, factor in enumerate((-expected, -expected, 1.0)):
        slope = (domain(changed=index, by=step) - domain(changed=index, by=-step)) / (2 * step)
        assert abs(slope) > 1e-5
        assert (found[index] * ways[index]).sum().item() == pytest.approx(factor * slope, rel=1e-3, abs=1e-8)


def test_the_discriminator_has_its_own_rate(context: Contexts) -> None:
    default = OptimiserConfig(rate=1e-3, schedule="cosine")
    found = made(context, discriminator_rate=3e-5).optimisers(default)
    assert found == {"net": default, "discriminator": default.model_copy(update={"rate": 3e-5})}


def test_a_moving_average_can_be_evaluated(context: Contexts) -> None:
    plain = made(context)
    assert plain.predictor is plain.student is plain.nets.net
    method = made(context, ema_decay=0.75)
    assert method.predictor is method.nets.average
    assert method.student is method.nets.net
    before = method.nets.average.final.bias.clone()
    with torch.no_grad():
        method.nets.net.final.bias.add_(1.0)
    method.after_step(0.0)
    torch.testing.assert_close(method.nets.average.final.bias, before + 0.25)
    assert not any(p.requires_grad for p in method.nets.average.parameters())


@pytest.mark.parametrize("change", [{"domain_weight": -1.0}, {"reversal": "linear"}, {"steepness": 0.0}])
def test_configuration_is_strict(change: dict) -> None:
    with pytest.raises(ValidationError):
        DannConfig(**change)
