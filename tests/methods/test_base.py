from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from poseshift.batches import Batch
from poseshift.methods.base import (
    Context,
    HeatmapConfig,
    Method,
    MethodConfig,
    OptimiserConfig,
    Term,
    Update,
    supervised,
)
from poseshift.models.pose_net import PoseOutput


class Least(Method):
    """The least that a method must say."""

    Config = MethodConfig

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self.net = nn.Linear(2, 1)

    def parts(self) -> dict[str, nn.Module]:
        return {"net": self.net, "other": nn.Linear(1, 1)}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        yield from ()

    @property
    def predictor(self) -> nn.Module:
        return self.net


def test_what_a_method_gets_for_nothing(context: Callable[..., Context]) -> None:
    method = Least(MethodConfig(), context())
    rates = OptimiserConfig(rate=0.5)
    assert method.optimisers(rates) == {"net": rates, "other": rates}
    assert method.student is method.predictor
    assert method.style_net is None
    assert method.refresh_every == 0
    assert method.moving_buffers == frozenset()
    method.refresh(iter(()))
    method.after_step(0.1)


def test_a_method_that_lacks_its_paper_cannot_be_made(context: Callable[..., Context]) -> None:
    class Nothing(Method):
        Config = MethodConfig

    with pytest.raises(TypeError, match="abstract"):
        Nothing(MethodConfig(), context())


def test_the_total_is_the_weighted_sum() -> None:
    terms = {"a": Term(torch.tensor(2.0)), "b": Term(torch.tensor(3.0), 0.5), "c": Term(torch.tensor(5.0), -0.1)}
    assert Update(terms=terms, on=("net",)).total.item() == pytest.approx(2 + 1.5 - 0.5)
    assert Update(terms={"a": terms["a"]}, on=("net",)).total is terms["a"].value


def test_supervised_draws_its_targets_from_the_labels(batch: Callable[..., Batch]) -> None:
    labels = batch().source
    prediction = torch.rand(4, 3, 16, 24)
    found = supervised(PoseOutput(prediction, prediction), labels, 4, HeatmapConfig(sigma=1.5))
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    total = 0.0
    for b in range(4):
        for k in range(2):  # the third is not labelled
            cx, cy = ((labels.keypoints[b, k] + 0.5) / 4 - 0.5).tolist()
            target = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.5**2))
            total += 0.5 * float((prediction[b, k] - target).square().sum())
    assert found.item() == pytest.approx(total / prediction.numel(), rel=1e-5)


def test_narrow_heatmaps_are_compared_in_full_precision(batch: Callable[..., Batch]) -> None:
    prediction = torch.rand(4, 3, 16, 24, dtype=torch.bfloat16)
    found = supervised(PoseOutput(prediction, prediction), batch().source, 4, HeatmapConfig())
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (HeatmapConfig, {"sigma": 0}),
        (HeatmapConfig, {"convention": "nearest"}),
        (OptimiserConfig, {"rate": 0}),
        (OptimiserConfig, {"name": "lion"}),
        (OptimiserConfig, {"learning_rate": 1}),
        (MethodConfig, {"unknown": 1}),
    ],
)
def test_configurations_are_strict(config: type, change: dict) -> None:
    with pytest.raises(ValidationError):
        config(**change)
