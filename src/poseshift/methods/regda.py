"""RegDA: Jiang et al., "Regressive domain adaptation for unsupervised keypoint detection", CVPR 2021.

Two heads read the same features: the main regressor f, which is the pose net's own last layer, and an adversarial one,
f'. On the target f' is drawn to where f does not say the keypoint is but other keypoints are, and then the features are
drawn to where the two agree. What was a minimax game is so the minimisation of two opposite goals.

Terms
    ``supervised``        step A, all parts: f to the labels.
    ``source_disparity``  step A: f' to a Gaussian at the maximum of f, on the source; weight γ·η.
    ``false_disparity``   step B, the adversarial head alone: f' to the ground-false maps of f, on the target; weight η.
    ``target_disparity``  step C, the features alone: f' to a Gaussian at the maximum of f, on the target; weight η.
Each is the Kullback-Leibler divergence of the softmax of a heatmap from a normalised target map, averaged over images
and keypoints. The ground-false map of a keypoint is the sum of the Gaussians of all *others*, at most 1. Between
features and f' stands a layer that multiplies the gradient by λ, which rises from 0 to 0.1.

Source of the facts: the terms, their order and every default are those of the authors' code (thuml's
Transfer-Learning-Library). The paper's text was not at hand: A, B and C, the steps' names there, stand in place of the
numbers of its equations. λ = 0.1·(2/(1 + e^(-i/1000)) - 1) of the step i there; here of 15 times the fraction of the
run, which is the same in a run of the published 15,000 steps.

Heatmaps of the divergence are logits: the places of their maxima mean something, their values only after the softmax,
whose peak relative to that of a drawn Gaussian is the score of a prediction. ``supervised_loss: mse`` keeps the
squared error with which other runs, this one's parent too, are trained. It needs ``trade_off: 0.005`` or so: at the
features of a small net its gradient was 1/200 of the divergence's (procedural figures, 64 px), so that the
disparities outweighed the labels by 10 to 40.

Deviations from the paper: the run that it starts from was trained with squared errors, not with the divergence; f is
one 1×1 convolution, the pose net's own.

Deviations from the authors' code: they weight steps B and C by the *true* visibility of the target's keypoints, which
no adaptation has; here every target keypoint has weight 1. f is there as deep as f'. The rate's decay is the run's
schedule. No target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch
from poseshift.methods.base import Context, Method, MethodConfig, OptimiserConfig, Term, Update, supervised
from poseshift.models.averaged import Averaged
from poseshift.models.pose_net import PoseNet
from poseshift.ops import adversarial, heatmaps

FLOOR = 1e-7


class RegdaConfig(MethodConfig):
    """Options of regressive domain adaptation; Greek letters are those of the authors' code."""

    name: Literal["regda"] = "regda"
    margin: float = Field(4.0, ge=0, description="γ: of the source's disparity against the target's.")
    trade_off: float = Field(1.0, ge=0, description="η: of every disparity against supervision.")
    gradient_scale: float = Field(0.1, ge=0, description="λ at the end: gradient that the features get from f'.")
    steepness: float = Field(15.0, gt=0, description="How fast λ rises with the fraction of the run.")
    supervised_loss: Literal["kl", "mse"] = Field("kl", description="Of the main head; mse needs trade_off 0.005.")
    head_rate_scale: float = Field(10.0, gt=0, description="Rate of both heads, in rates of the features (the run's).")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="Evaluate a moving average of the net; 0 evaluates the net.")

    @property
    def makes_logits(self) -> bool:
        return self.supervised_loss == "kl"


class AdversarialHead(nn.Sequential):
    """f': a 3×3 convolution with BatchNorm and ReLU, then a 1×1 one; ``B×C×h×w`` features to ``B×K×h×w`` heatmaps."""

    def __init__(self, channels: int, keypoints: int) -> None:
        inner, last = nn.Conv2d(channels, channels, 3, 1, 1), nn.Conv2d(channels, keypoints, 1)
        for layer in (inner, last):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
        super().__init__(inner, nn.BatchNorm2d(channels), nn.ReLU(inplace=True), last)


def divergence(
    prediction: Float[Tensor, "B K h w"], target: Float[Tensor, "B K h w"], weight: Float[Tensor, "B K"] | None = None
) -> Float[Tensor, ""]:
    """Mean over ``B, K``, zeros counted, of ``w_bk·KL(target / Σ target ‖ softmax(prediction))``, over all cells.

    A floor of 1e-7 in each cell of the target makes an empty map a uniform one.
    """
    floored = target.flatten(-2).float() + FLOOR
    wanted = floored / floored.sum(-1, keepdim=True)
    each = F.kl_div(prediction.flatten(-2).float().log_softmax(-1), wanted, reduction="none").sum(-1)
    return each.mean() if weight is None else (each * weight).mean()


def ground_truth(predicted: Float[Tensor, "B K h w"], sigma: float) -> Float[Tensor, "B K h w"]:
    """A Gaussian of peak 1 at the maximum of each map, positive or not, without a gradient."""
    maps = predicted.detach().float()
    return heatmaps.rectify(maps - maps.amin((-2, -1), keepdim=True), sigma)


def ground_false(truth: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K h w"]:
    """For each keypoint the sum of the maps of all others, at most 1."""
    return (truth.sum(1, keepdim=True) - truth).clamp(0, 1)


class Regda(Method):
    """A pose net with a second, adversarial head."""

    Config = RegdaConfig
    moving_buffers = frozenset({"net", "adversary", "average"})  # in B and C all see images, as published

    def __init__(self, config: RegdaConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        self.nets = Averaged(context.net(), decay=config.ema_decay)
        self.adversary = AdversarialHead(self.nets.net.width, self.nets.net.final.out_channels)

    def parts(self) -> dict[str, nn.Module]:
        features = nn.ModuleDict({"backbone": self.nets.net.backbone, "head": self.nets.net.head})
        return {"features": features, "main": self.nets.net.final, "adversary": self.adversary}

    def optimisers(self, default: OptimiserConfig) -> dict[str, OptimiserConfig]:
        heads = default.model_copy(update={"rate": default.rate * self.config.head_rate_scale})
        return {"features": default, "main": heads, "adversary": heads}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        eta, sigma = self.config.trade_off, self.heatmap.sigma
        yield self._on_source(batch, progress)  # A

        with torch.no_grad():
            target = self.nets.net(batch.target.student.images)
        false = ground_false(ground_truth(target.heatmaps, sigma))
        term = Term(divergence(self.adversary(target.features), false), eta)
        yield Update(terms={"false_disparity": term}, on=("adversary",))  # B

        target = self.nets.net(batch.target.student.images)
        truth = ground_truth(target.heatmaps, sigma)
        term = Term(divergence(self._adversarial(target.features, progress), truth), eta)
        yield Update(terms={"target_disparity": term}, on=("features",), probe=(target.features,))  # C

    def _on_source(self, batch: Batch, progress: float) -> Update:
        output, labels = self.nets.net(batch.source.view.images), batch.source
        size = (output.heatmaps.shape[-2], output.heatmaps.shape[-1])
        drawn, weight = heatmaps.encode(
            labels.keypoints, labels.visible, size, stride=self.nets.net.stride, **self.heatmap.model_dump()
        )
        if self.config.supervised_loss == "kl":
            main = divergence(output.heatmaps, drawn, weight)
        else:
            main = supervised(output, labels, self.nets.net.stride, self.heatmap)
        truth = ground_truth(output.heatmaps, self.heatmap.sigma)
        disparity = divergence(self._adversarial(output.features, progress), truth, weight)
        terms = {
            "supervised": Term(main),
            "source_disparity": Term(disparity, self.config.margin * self.config.trade_off),
        }
        return Update(terms=terms, on=("features", "main", "adversary"), probe=(output.features,))

    def _adversarial(self, features: Tensor, progress: float) -> Tensor:
        scale = self.config.gradient_scale * adversarial.dann_ramp(progress, steepness=self.config.steepness)
        maps: Tensor = self.adversary(adversarial.reverse_gradient(features, -scale))  # twice reversed: λ itself
        return maps

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> PoseNet:
        return self.nets.predictor

    @property
    def student(self) -> PoseNet:
        return self.nets.net
