"""Adaptation at test time: BatchNorm statistics of the target, then entropy or consistency by its affine parameters.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020, arXiv
2006.16971: the statistics, re-estimated on the target with a prior of ``N`` images from the source (``prior``). Wang
et al., "Tent: fully test-time adaptation by entropy minimization", ICLR 2021, arXiv 2006.10726: ``objective: entropy``.
Of a trained net (``init``) nothing moves but statistics, scales and shifts of its BatchNorm layers.

Terms
    ``entropy``      of each prediction, with ``objective: entropy``: a keypoint's map as a distribution over its cells.
    ``consistency``  with ``objective: consistency``: mean squared error of the maps of an augmented view, moved back,
                     to Gaussians at the maxima of the plainer view's, for the upper part of its peaks.
Statistics come from a pass over the images: over all of them before the first step of a run, over each batch just
before it is predicted in a stream (``poseshift predict --adapt``). ``objective: none`` yields no update beside it.

Inferred: both papers are about classes. A cell is a class here and a keypoint's map one prediction, a softmax over the
cells with an inverse temperature. The consistency of two views stands in neither paper.

Deviations from the paper: entropy is divided by ln of the number of cells. Target statistics accumulate over the
stream (Schneider et al.: of one batch, or of all the target; Wang et al.: of each batch alone, which is ``N`` = 0), and
carry no gradient. The plainer view is the image itself in a stream and a weakly augmented one in a run.

Deviations from the authors' code: neither was read, but for Tent's README (one update a batch, rate 0.001), which is
what a stream does, with Adam; a run has its own optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update
from poseshift.models.batch_norms import TargetNorms
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, heatmaps, information, losses, pseudo_labels


class BnAdaptConfig(MethodConfig):
    """Options of adaptation at test time."""

    name: Literal["bn_adapt"] = "bn_adapt"
    objective: Literal["none", "entropy", "consistency"] = Field(
        "entropy", description="What moves scales and shifts; none adapts the statistics alone."
    )
    prior: float = Field(4.0, ge=0, description="N: images that the source's statistics count for.")
    inverse_temperature: float = Field(10.0, gt=0, description="Of the softmax over the cells of a map, for entropy.")
    mask_fraction: float = Field(
        0.5, gt=0, le=1, description="Part of the plain peaks that is trusted, for consistency."
    )

    @property
    def needs(self) -> frozenset[str]:
        """Target images alone."""
        return frozenset({"target"})


class BnAdapt(Method):
    """BatchNorm of the target's images; the net is in evaluation mode throughout."""

    other_side: Tensor
    Config = BnAdaptConfig

    def __init__(self, config: BnAdaptConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        self.net = context.net().requires_grad_(False)
        self.norms = TargetNorms(self.net, prior=config.prior)
        for layer in self.norms.layers:
            layer.requires_grad_(config.objective != "none")
        index = affine.other_side(self.net.final.out_channels, context.pairs)
        self.register_buffer("other_side", index, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Sets modes; the net normalises by the mixed statistics, so it stays in evaluation mode."""
        super().train(mode)
        self.net.eval()
        return self

    def parts(self) -> dict[str, nn.Module]:
        return {} if self.config.objective == "none" else {"norms": nn.ModuleList(self.norms.layers)}

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        for batch in targets:
            self.norms.observe(self.net, batch.student.images)

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        if self.config.objective == "none":
            return
        term = self._entropy if self.config.objective == "entropy" else self._consistency
        value, features = term(batch.target)
        yield Update(terms={self.config.objective: Term(value)}, on=("norms",), probe=(features,))

    def _entropy(self, target: TargetBatch) -> tuple[Float[Tensor, ""], Tensor]:
        output = self.net(target.teacher[0].images)
        maps = output.heatmaps.float().flatten(-2)
        each = information.entropy((self.config.inverse_temperature * maps).softmax(-1))
        return each.mean() / math.log(maps.shape[-1]), output.features

    def _consistency(self, target: TargetBatch) -> tuple[Float[Tensor, ""], Tensor]:
        plain, view, stride = target.teacher[0], target.student, self.net.stride
        with torch.no_grad():
            pseudo = self._canonical(self.net(plain.images).heatmaps, plain.matrix)
        output = self.net(view.images)
        found = self._canonical(output.heatmaps, view.matrix)
        seen = affine.seen_cells(found, view.matrix, stride=stride)
        mask = pseudo_labels.top_fraction(heatmaps.peaks(pseudo)[1], self.config.mask_fraction)
        wanted = heatmaps.rectify(pseudo, self.heatmap.sigma)
        return losses.consistency(found * seen, wanted * seen, mask), output.features

    def _canonical(self, maps: Tensor, matrix: Tensor) -> Tensor:
        return affine.unwarp_heatmaps(maps.float(), matrix, stride=self.net.stride, other_side=self.other_side)

    @property
    def predictor(self) -> PoseNet:
        return self.net
