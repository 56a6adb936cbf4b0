"""POST: Raychaudhuri et al., "Prior-guided source-free domain adaptation for human pose estimation", ICCV 2023.

arXiv 2308.13954. Source-free: a mean teacher of a trained net (``init``) on target images alone. The layers that turn
features into heatmaps, upsampling and last convolution, stand still; the backbone moves. A pose prior (``prior``, a run
of the method ``pose_prior``) says how far the student's poses are from plausible ones.

Terms
    ``consistency``  mean squared error of the student's heatmaps to the rectified teacher's, masked to the upper half
                     of its peaks, in the canonical frame; a patch hides a confident keypoint from the student.
    ``feature``      Barlow Twins between student and teacher: the correlations C, over the batch, of the channels of
                     their mean backbone features are drawn to the identity: Σ_i (1 - C_ii)² + 0.005 Σ_i≠j C_ij².
    ``prior``        mean of the prior's distance of the student's poses, from ``prior_from`` of the run on.
The moving average follows each step. Until ``prior_from`` the weight of ``feature`` is halved.

Source of the facts: the authors' code (driptaRC/POST) and the paper's abstract; the text of its method was not at
hand, so terms have no numbers. ``prior_from`` 7/30: the prior joins after 7 of 30 epochs of adaptation, which is epoch
47 of 70 where 40 of training on the source are counted.

Weights: published are 1e-6 for ``feature`` (1e-3 · 1e-3, of 2048 channels) and 1e-6 for ``prior``. On a small net of
96 channels (procedural figures, 64 px) the gradient at the backbone was 1e4 times that of ``consistency`` for the one,
200 to 650 times for the other, so they would be 1 % and 0.04 % of it. The defaults make them about a tenth each.

Deviations from the paper: the prior is learned from the poses of the source, on keypoints in place of directions of
bones, so that any skeleton will do. It judges poses in the canonical frame, of the keypoints whose pseudo-label the
student's view shows; the rest is masked.

Deviations from the authors' code: the inverse of an augmentation is one exact resampling; the patch lands on the
keypoint; standard deviations of features are those of the global batch, with N in place of N - 1 and a floor; the
inverse temperature of the soft-argmax is 100 (theirs: 500), since a sharper one has next to no gradient; a schedule of
the rate is the run's. No target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch, View
from poseshift.errors import UsageError
from poseshift.methods.base import Context, Method, Occluding, Term, Update, occluded
from poseshift.models.mean_teacher import MeanTeacher, TeacherNorm
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, collective, heatmaps, losses, pseudo_labels
from poseshift.ops.constants import constants

FLOOR = 1e-8


class PostConfig(Occluding):
    """Options of POST."""

    name: Literal["post"] = "post"
    consistency_weight: float = Field(1.0, ge=0, description="λ_c of the authors' code.")
    feature_weight: float = Field(1e-5, ge=0, description="Of the features' correlations; published 1e-6.")
    redundancy: float = Field(5e-3, ge=0, description="Of correlations off the diagonal against those on it.")
    prior_weight: float = Field(3e-4, ge=0, description="λ_p of the authors' code, there 1e-6; 0 needs no prior.")
    prior_from: float = Field(7 / 30, ge=0, le=1, description="Fraction of the run at which the prior joins.")
    inverse_temperature: float = Field(100.0, gt=0, description="Of the soft-argmax that reads poses off heatmaps.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the teacher.")
    teacher_bn: TeacherNorm = Field("batch", description="What the teacher's BatchNorm does, see MeanTeacher.")
    mask_fraction: float = Field(0.5, gt=0, le=1, description="Part of the teacher's peaks that is trusted.")

    @property
    def needs(self) -> frozenset[str]:
        """Target images alone."""
        return frozenset({"target"})

    @property
    def needs_prior(self) -> bool:
        """Unless the prior counts for nothing."""
        return self.prior_weight > 0


class Post(Method):
    """A mean teacher that adapts its backbone under a pose prior."""

    Config = PostConfig
    moving_buffers = frozenset({"student", "teacher"})  # the frozen layers see images too

    def __init__(self, config: PostConfig, context: Context) -> None:
        super().__init__(config, context)
        if config.prior_weight and context.prior is None:
            raise UsageError(
                "method 'post' needs a pose prior; give `prior: RUN`, a finished run of the method 'pose_prior', or "
                "leave it out with method.prior_weight=0"
            )
        self.config, self.heatmap = config, context.heatmap
        self.nets = MeanTeacher(context.net(), decay=config.ema_decay, norm=config.teacher_bn, pairs=context.pairs)
        self.nets.student.head.requires_grad_(False)
        self.nets.student.final.requires_grad_(False)
        self.prior = context.prior.requires_grad_(False) if config.prior_weight and context.prior else None

    def parts(self) -> dict[str, nn.Module]:
        return {"backbone": self.nets.student.backbone}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        target, late = batch.target, progress >= self.config.prior_from
        pseudo, wanted = self._teach(target)
        coarse, maps = look(self.nets.student, occluded(self.config, batch, pseudo, self.nets.student.stride))
        peaks = heatmaps.peaks(pseudo)[1]
        mask = pseudo_labels.top_fraction(peaks, self.config.mask_fraction)
        canonical = self.nets.to_canonical(maps, target.student)
        consistency = losses.consistency(canonical, heatmaps.rectify(pseudo, self.heatmap.sigma), mask)
        feature = decorrelation(self._mean_features(coarse, target.student), wanted, self.config.redundancy)
        terms = {
            "consistency": Term(consistency, self.config.consistency_weight),
            "feature": Term(feature, self.config.feature_weight * (1.0 if late else 0.5)),
        }
        if self.prior is not None:
            poses, known = self._poses(maps, pseudo, target.student)
            terms["prior"] = Term(self.prior(poses, known).mean(), self.config.prior_weight if late else 0.0)
        yield Update(terms=terms, on=("backbone",), probe=(coarse,), monitors={"peak": peaks.mean()})

    @torch.no_grad()
    def _teach(self, target: TargetBatch) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B C"]]:
        """Of the teacher: canonical heatmaps and mean features, averaged over its views."""
        seen = [(look(self.nets.teacher, view.images), view) for view in target.teacher]
        maps = torch.stack([self.nets.to_canonical(maps, view) for (_, maps), view in seen])
        return maps.mean(0), torch.stack([self._mean_features(coarse, view) for (coarse, _), view in seen]).mean(0)

    def _mean_features(self, coarse: Float[Tensor, "B C _ _"], view: View) -> Float[Tensor, "B C"]:
        """Backbone features moved back to the canonical frame, where what a view does not show is 0; their means."""
        stride = self.nets.student.backbone.strides[-1]
        return affine.unwarp_heatmaps(coarse.float(), view.matrix, stride=stride).mean((-2, -1))

    def _poses(
        self, maps: Float[Tensor, "B K h w"], pseudo: Float[Tensor, "B K h w"], view: View
    ) -> tuple[Float[Tensor, "B K 2"], Bool[Tensor, "B K"]]:
        """The student's poses in the canonical frame, and whose pseudo-label its view shows."""
        stride, size = self.nets.student.stride, view.images.shape[-2:]
        points = soft_argmax(maps, stride=stride, inverse_temperature=self.config.inverse_temperature)
        points = affine.apply(affine.invert(view.matrix), points)
        flipped = affine.mirrored(view.matrix)[:, None, None]
        points = torch.where(flipped, points[:, self.nets.other_side], points)
        labels, _ = heatmaps.decode(pseudo, stride=stride, subpixel=False)
        labels = affine.apply(view.matrix, labels)
        limit = constants((size[1], size[0]), like=labels)
        return points, ((labels >= -0.5) & (labels < limit - 0.5)).all(-1)

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> PoseNet:
        return self.nets.teacher

    @property
    def student(self) -> PoseNet:
        return self.nets.student


def look(net: PoseNet, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B C _ _"], Float[Tensor, "B K h w"]]:
    """The backbone's coarsest features and the heatmaps."""
    maps = net.backbone(images)
    return maps[-1], net.final(net.head(maps))


def soft_argmax(maps: Float[Tensor, "B K h w"], *, stride: float, inverse_temperature: float) -> Float[Tensor, "B K 2"]:
    """Mean position, in pixels, of each map's softmax over its cells; differentiable."""
    shares = (inverse_temperature * maps.float()).flatten(-2).softmax(-1).view(maps.shape)
    columns, rows = (torch.arange(n, dtype=shares.dtype, device=maps.device) for n in (maps.shape[-1], maps.shape[-2]))
    cells = torch.stack(((shares.sum(-2) * columns).sum(-1), (shares.sum(-1) * rows).sum(-1)), -1)
    return (cells + 0.5) * stride - 0.5


def decorrelation(one: Float[Tensor, "B C"], other: Float[Tensor, "B C"], redundancy: float) -> Float[Tensor, ""]:
    """``Σ_i (1 - C_ii)² + redundancy·Σ_i≠j C_ij²`` of the correlations over the global batch, in full precision."""
    with torch.autocast(one.device.type, enabled=False):
        correlations = collective.mean(_standard(one).T @ _standard(other) / len(one))
        diagonal = correlations.diagonal()
        off = correlations.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + redundancy * off


def _standard(features: Tensor) -> Tensor:
    """Each channel with mean 0 and variance 1 over the global batch; one that is the same everywhere is 0."""
    centred = features.float() - collective.mean(features.float().mean(0))
    return centred / (collective.mean(centred.square().mean(0)) + FLOOR).sqrt()
