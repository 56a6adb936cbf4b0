"""SFDAHPE: Peng et al., "Source-free domain adaptive human pose estimation", ICCV 2023, arXiv 2308.03202.

Three nets, all begun from a trained one (``init``), see target images alone. The source model is frozen. The target
model learns. Between them stands the intermediate model: the moving average of the target model, drawn back to the
source model, so that what the source knew is kept and the noise of a step is not.

Terms
    ``finetune``     source-protect, the intermediate model alone: half the squared error to the source model.
    ``residual``     source-protect: Kullback-Leibler divergence of its softmaxed heatmaps from the source model's, with
                     the two maxima taken out: what is left says where else the source saw likeness.
    ``consistency``  target-relevant, the target model alone: half the squared error to the intermediate model.
    ``contrastive``  pose-specific: -ln(s_kk / Σ_j s_kj) of keypoint k, s_kj the mean cosine of the row and column
                     probabilities of k in the target model with those of j in the intermediate one.
    ``certainty``    information maximisation (SimCC-IM): entropies of the row and column probabilities.
    ``diversity``    its other half, with a negative weight: the entropy of the mean of a batch is maximised.
The frozen net and the teacher of each term see the weak views, the net that learns sees the strong one; all are
compared in the canonical frame, on the cells that the strong view shows. Two updates a step: source-protect, then
target-relevant. The moving average opens the step that follows.

Source of the facts: the paper's abstract; formulas, order and weights as ``loss.py`` and ``train_sfda.py`` of the
authors' code mean them. That code does not run as it stands, and the paper's text was not at hand: no equation has its
number here. *Inferred*: that the intermediate model is average and gradient at once, that it is the one to evaluate,
and which view each net sees.

Weights: those of the code, on means over cells beside sums over bins. Measured at the features of a small net
(procedural figures, 64 px, first 40 steps): the residual at 0.7 has 0.8 of the gradient of ``finetune``. The contrast,
divided by the number of cells, at 0.5 has 0.65 of that of ``consistency``; undivided it would have 170 times it. The
certainty, divided too, at 0.85 has 1.3 times it. With 0.15 in place of 0.85 (a fifth of that) the intermediate model
was no better after 300 steps of batch 16: 30.1 against 30.6 PCK@0.05 on 400 test images.

Deviations from the paper: what its space of probabilities is made of is *inferred* too: here a softmax of the maxima
of rows and of columns, with an inverse temperature. The diversity is that of mean probabilities; contrast and
information terms are divided by the number of cells, as in multi-level alignment.

Deviations from the authors' code: it hands intermediate and target model over in exchanged order, so that the optimiser
of each holds the other; its losses raise errors (tuples taken of means, a wrong ``super``). It trains the upsampling
and head of the source model, and of the intermediate one the backbone alone. All nets there see one view. Its marginals
are means, whose softmax is flat: see ``released_certainty`` of ``ops/information.py``. Its patch that hides a keypoint
is left out. Rate and schedule are the run's. No target labels select the checkpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch, View
from poseshift.methods.base import Context, Method, MethodConfig, OptimiserConfig, Term, Update
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import affine, ema, information, losses

FLOOR = 1e-7


class SfdahpeConfig(MethodConfig):
    """Options of source-free domain adaptive human pose estimation."""

    name: Literal["sfdahpe"] = "sfdahpe"
    finetune_weight: float = Field(1.0, ge=0, description="Of the intermediate model's error to the source model.")
    residual_weight: float = Field(0.7, ge=0, description="Of the divergence without the maxima.")
    consistency_weight: float = Field(1.0, ge=0, description="Of the target model's error to the intermediate model.")
    contrastive_weight: float = Field(0.5, ge=0, description="Of the contrast between keypoints.")
    certainty_weight: float = Field(0.85, ge=0, description="Of the entropies of rows and columns.")
    diversity_weight: float = Field(0.85, ge=0, description="Of the entropy of the batch's mean.")
    inverse_temperature: float = Field(10.0, gt=0, description="Of the softmax over rows and over columns.")
    intermediate_rate_scale: float = Field(0.1, gt=0, description="Rate of the intermediate model, in the run's.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the moving average of the target model.")

    @property
    def needs(self) -> frozenset[str]:
        """Target images alone."""
        return frozenset({"target"})


class Sfdahpe(Method):
    """A frozen source model, a target model, and an intermediate model between them."""

    other_side: Tensor
    Config = SfdahpeConfig
    moving_buffers = frozenset({"source", "intermediate"})  # they normalise by their batch, as published

    def __init__(self, config: SfdahpeConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config = config
        self.target = context.net()
        self.intermediate = copy.deepcopy(self.target)
        self.source = copy.deepcopy(self.target).requires_grad_(False)
        keypoints = self.target.final.out_channels
        self.register_buffer("other_side", affine.other_side(keypoints, context.pairs), persistent=False)

    def parts(self) -> dict[str, nn.Module]:
        return {"intermediate": self.intermediate, "target": self.target}

    def optimisers(self, default: OptimiserConfig) -> dict[str, OptimiserConfig]:
        slow = default.model_copy(update={"rate": default.rate * self.config.intermediate_rate_scale})
        return {"intermediate": slow, "target": default}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        target, config = batch.target, self.config
        ema.update(self.intermediate, self.target, config.ema_decay, buffers=False)
        kept = self._weak(self.source, target)
        output, maps, seen = self._strong(self.intermediate, target)
        everywhere, kept = torch.ones_like(maps[..., 0, 0]), kept * seen
        yield Update(
            terms={
                "finetune": Term(losses.supervised(maps, kept, everywhere), config.finetune_weight),
                "residual": Term(residual(maps, kept), config.residual_weight),
            },
            on=("intermediate",),
            probe=(output.features,),
        )

        pseudo = self._weak(self.intermediate, target)
        output, maps, seen = self._strong(self.target, target)
        terms = {"consistency": Term(losses.supervised(maps, pseudo * seen, everywhere), config.consistency_weight)}
        terms |= self._on_rows_and_columns(maps, pseudo * seen)
        monitors = {"peak": pseudo.amax((-2, -1)).mean()}
        yield Update(terms=terms, on=("target",), probe=(output.features,), monitors=monitors)

    def _on_rows_and_columns(self, maps: Tensor, pseudo: Tensor) -> dict[str, Term]:
        beta, cells = self.config.inverse_temperature, maps[0, 0].numel()
        contrast = contrastive(
            information.marginals(maps, inverse_temperature=beta),
            information.marginals(pseudo, inverse_temperature=beta),
        )
        certainty = information.certainty(maps, inverse_temperature=beta)
        diversity = information.diversity(maps, inverse_temperature=beta)
        return {
            "contrastive": Term(contrast / cells, self.config.contrastive_weight),
            "certainty": Term(certainty / cells, self.config.certainty_weight),
            "diversity": Term(diversity / cells, -self.config.diversity_weight),
        }

    @torch.no_grad()
    def _weak(self, net: PoseNet, target: TargetBatch) -> Float[Tensor, "B K h w"]:
        """Canonical heatmaps of the weak views, averaged."""
        return torch.stack([self._canonical(net(view.images), view) for view in target.teacher]).mean(0)

    def _strong(self, net: PoseNet, target: TargetBatch) -> tuple[PoseOutput, Tensor, Tensor]:
        """Output on the strong view, its canonical heatmaps, and how much of each cell the view shows."""
        output: PoseOutput = net(target.student.images)
        maps = self._canonical(output, target.student)
        seen = affine.seen_cells(maps, target.student.matrix, stride=self.target.stride)
        return output, maps * seen, seen

    def _canonical(self, output: PoseOutput, view: View) -> Float[Tensor, "B K h w"]:
        stride = self.target.stride
        return affine.unwarp_heatmaps(output.heatmaps.float(), view.matrix, stride=stride, other_side=self.other_side)

    @property
    def predictor(self) -> PoseNet:
        return self.intermediate

    @property
    def student(self) -> PoseNet:
        return self.target


def residual(prediction: Float[Tensor, "B K h w"], reference: Float[Tensor, "B K h w"]) -> Float[Tensor, ""]:
    """Mean over ``B, K`` of ``KL(softmax(reference) ‖ softmax(prediction))``, the cells of both maxima set to 0."""
    one, other = prediction.flatten(-2), reference.flatten(-2)
    keep = torch.ones_like(one)
    for maps in (one, other):
        keep = keep.scatter(-1, maps.argmax(-1, keepdim=True), 0.0)
    divergence = F.kl_div(
        (one * keep).log_softmax(-1), (other * keep).log_softmax(-1), reduction="none", log_target=True
    )
    return divergence.sum(-1).mean()


def contrastive(
    target: tuple[Float[Tensor, "B K h"], Float[Tensor, "B K w"]],
    intermediate: tuple[Float[Tensor, "B K h"], Float[Tensor, "B K w"]],
) -> Float[Tensor, ""]:
    """Mean over ``B, K`` of ``-ln(s_kk / Σ_j s_kj)``, ``s`` the cosine of probabilities, mean of rows and columns."""
    pairs = zip(target, intermediate, strict=True)
    cosines = [F.normalize(one, dim=-1) @ F.normalize(other, dim=-1).mT for one, other in pairs]
    likeness = ((cosines[0] + cosines[1]) / 2).clamp(min=FLOOR)
    return (likeness.sum(-1).log() - likeness.diagonal(dim1=-2, dim2=-1).log()).mean()
