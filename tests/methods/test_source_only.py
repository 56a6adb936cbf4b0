from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, HeatmapConfig, supervised
from poseshift.methods.source_only import SourceOnly, SourceOnlyConfig

Contexts, Batches = Callable[..., Context], Callable[..., Batch]


def seen_by(net: nn.Module) -> list[torch.Tensor]:
    """Inputs of every later forward pass."""
    inputs: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].detach().clone()))
    return inputs


def test_one_update_with_the_supervised_loss_of_plain_images(context: Contexts, batch: Batches) -> None:
    method, given = SourceOnly(SourceOnlyConfig(), context()), batch(target=False)
    (update,) = method.updates(given, 0.0)
    output = method.nets.net(given.source.view.images)
    assert list(update.terms) == ["supervised"]
    assert update.on == ("net",)
    expected = supervised(output, given.source, 4, HeatmapConfig())
    torch.testing.assert_close(update.total, expected, rtol=1e-4, atol=1e-6)


def test_it_needs_target_images_only_for_their_styles(context: Contexts) -> None:
    assert SourceOnlyConfig().needs == {"source"}
    assert SourceOnlyConfig(stylise=True).needs == {"source", "target"}
    SourceOnly(SourceOnlyConfig(), context(style=False))
    with pytest.raises(UsageError, match=r"no style net; give `style: RUN`"):
        SourceOnly(SourceOnlyConfig(stylise=True), context(style=False))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_stylise(context: Contexts, batch: Batches, targets: TargetBatch, probability: float) -> None:
    method = SourceOnly(SourceOnlyConfig(stylise=True, style_probability=probability), context())
    method.refresh(iter([targets]))
    given, inputs = batch(), seen_by(method.nets.net)
    next(method.updates(given, 0.0))
    plain = given.source.view.images
    assert torch.equal(inputs[0], plain) == (probability == 0)
    if probability:
        assert method.styles is not None
        strength = given.draws.shared("style/strength").view(1, 1, 1, 1)
        assert torch.equal(inputs[0], method.styles.restyle(plain, given.target.ids, strength))


def test_the_coin_falls_for_whole_batches(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = SourceOnly(SourceOnlyConfig(stylise=True, style_probability=0.5), context())
    method.refresh(iter([targets]))
    inputs, given = seen_by(method.nets.net), [batch(step=step) for step in range(14)]
    for one in given:
        next(method.updates(one, 0.0))
    restyled = [not torch.equal(x, one.source.view.images) for x, one in zip(inputs, given, strict=True)]
    assert 2 < sum(restyled) < 12


def test_the_average_is_what_is_evaluated(context: Contexts, batch: Batches) -> None:
    plain = SourceOnly(SourceOnlyConfig(), context())
    assert plain.predictor is plain.nets.net
    method = SourceOnly(SourceOnlyConfig(ema_decay=0.75), context())
    assert method.predictor is method.nets.average
    assert method.student is method.nets.net
    before = method.nets.average.final.bias.clone()
    with torch.no_grad():
        method.nets.net.final.bias.add_(1.0)
    method.after_step(0.0)
    torch.testing.assert_close(method.nets.average.final.bias, before + 0.25)
    assert "average" not in method.parts()
    assert not any(p.requires_grad for p in method.nets.average.parameters())
