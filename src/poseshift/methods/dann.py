"""DANN: Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, on the features of a heatmap net.

One net, no teacher: supervised on the source, while a discriminator behind a gradient reversal layer makes the features
that the last 1×1 convolution reads alike in both domains. The introduction of
RegDA's paper (Jiang et al., CVPR 2021) names DANN among the methods for classes of which few work on keypoints.

Terms
    ``supervised``  mean squared error of the source heatmaps, as every method here has it (Eq. 3 of docs/method.md):
                    the label predictor's loss of the paper.
    ``domain``      cross-entropy of the discriminator over every cell (Eq. 6 of docs/method.md): the paper's domain
                    loss. The discriminator descends it; the net ascends it, times the ramp λ = 2/(1 + e^(-10p)) - 1 of
                    the fraction p of the run.

``domain_weight`` is no published number: the paper's is 1 beside a classifier's cross-entropy, which here would
outweigh a mean over heatmap cells; 0.1 is what multi-level alignment has for the same term. ``ema_decay`` evaluates a
moving average of the net, which every mean-teacher method has anyway.

Deviations from the paper: heatmaps in place of classes; the discriminator is fully convolutional, one decision a cell
in place of one an image; the two domains pass the net one after the other, each with its own BatchNorm statistics; the
optimiser is the run's.

Deviations from the authors' code: it was not read. No target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch
from poseshift.methods.base import Context, Method, MethodConfig, OptimiserConfig, Term, Update, supervised
from poseshift.models.averaged import Averaged
from poseshift.models.discriminator import Discriminator
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import adversarial


class DannConfig(MethodConfig):
    """Options of domain-adversarial training."""

    name: Literal["dann"] = "dann"
    domain_weight: float = Field(0.1, ge=0, description="Of the domain term; the reversal multiplies it by the ramp.")
    reversal: Literal["ramp", "constant"] = Field(
        "ramp", description="Coefficient λ of the reversal: the paper's ramp, or 1."
    )
    steepness: float = Field(10.0, gt=0, description="γ of the paper's ramp.")
    discriminator_rate: float = Field(1e-4, gt=0)
    ema_decay: float = Field(0.0, ge=0, lt=1, description="Evaluate a moving average of the net; 0 evaluates the net.")


class Dann(Method):
    """A pose net and the discriminator of its features."""

    Config = DannConfig
    moving_buffers = frozenset({"average"})

    def __init__(self, config: DannConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        self.nets = Averaged(context.net(), decay=config.ema_decay)
        self.discriminator = Discriminator(self.nets.net.width)

    def parts(self) -> dict[str, nn.Module]:
        return {"net": self.nets.net, "discriminator": self.discriminator}

    def optimisers(self, default: OptimiserConfig) -> dict[str, OptimiserConfig]:
        own = default.model_copy(update={"rate": self.config.discriminator_rate})
        return {"net": default, "discriminator": own}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        source = self.nets.net(batch.source.view.images)
        target = self.nets.net(batch.target.student.images)
        terms = {
            "supervised": Term(supervised(source, batch.source, self.nets.net.stride, self.heatmap)),
            "domain": Term(self._domain(source, target, progress), self.config.domain_weight),
        }
        yield Update(terms=terms, on=("net", "discriminator"), probe=(source.features, target.features))

    def _domain(self, source: PoseOutput, target: PoseOutput, progress: float) -> Tensor:
        ramp = adversarial.dann_ramp(progress, steepness=self.config.steepness)
        coefficient = ramp if self.config.reversal == "ramp" else 1.0
        return self.discriminator.confusion(source.features, target.features, coefficient)

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> PoseNet:
        return self.nets.predictor

    @property
    def student(self) -> PoseNet:
        return self.nets.net
