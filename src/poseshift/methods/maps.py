"""MAPS: Ding et al., "A noise-robust progressive learning approach for source-free domain adaptive keypoint detection".

IEEE Transactions on Circuits and Systems for Video Technology 34(3), 2024; arXiv 2302.04589.

Source-free: a mean teacher that starts from a trained net (``init``) and sees target images alone. What keeps the noise
of its own labels out is that target images are mixed with each other, and that labels are taken up from easy to hard.

Terms
    ``consistency``   the baseline of the paper: student against the rectified teacher, the upper half of its peaks, in
                      the canonical frame.
    ``mixup``         half the squared error of the student on λ·x + (1 - λ)·x' to λ·ŷ + (1 - λ)·ŷ', where x' is another
                      target image of the batch, ŷ and ŷ' what the student says of each alone, and λ ~ Beta(α, α).
    ``pseudo_label``  half the squared error on the easy images to Gaussians at the points that the teacher found.
An image is easy where the teacher's heatmaps are near to the Gaussians drawn at their own maxima: the mean squared
error of the two, over keypoints and cells, is among the lowest of all target images. The share of them grows in rounds
of equal length. A pass over all target images finds points and errors: before the first step, then every
``refresh_every`` steps. The moving average follows each step.

Source of the facts: the paper's abstract, and the authors' code for all formulas and defaults, as it adapts to LSP. The
paper's text was not at hand, so no equation has its number here, and the order of the terms is that of the abstract.

Deviations from the paper: for the same reason, none that we know of beside those from the code.

Deviations from the authors' code: they draw a whole batch of easy images beside the batch of target images; here the
easy images of the one batch count, by their mean, so that the published weight of 1 holds (where a batch has none, its
easiest is taken). Their error is that of a randomly augmented view, here that of the plain image. Their first pass
normalises by the source's statistics; here the teacher labels as it teaches (by the batch: ``shot.py`` says what that
is worth). They pass over all images once a round of 2,500 steps. Their labels of LSP leave two joints out, whose places
its skeleton lacks. The inverse of the augmentation is one exact resampling. Rate and schedule are the run's (theirs:
Adam, 2e-4). No target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from poseshift.batches import Batch, TargetBatch
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update
from poseshift.models.mean_teacher import MeanTeacher, TeacherNorm
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import collective, heatmaps, losses, pseudo_labels


class MapsConfig(MethodConfig):
    """Options of mixup augmentation and progressive selection."""

    name: Literal["maps"] = "maps"
    consistency_weight: float = Field(1.0, ge=0, description="Of the baseline's term.")
    mixup_weight: float = Field(1.0, ge=0, description="Of the mixed images; 0 mixes none.")
    pseudo_label_weight: float = Field(1.0, ge=0, description="Of the easy images; 0 makes no labels.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the teacher.")
    teacher_bn: TeacherNorm = Field("batch", description="What the teacher's BatchNorm does, see MeanTeacher.")
    mask_fraction: float = Field(0.5, gt=0, le=1, description="Part of the teacher's peaks that is trusted.")
    mixup_alpha: float = Field(0.75, gt=0, description="α of the Beta distribution of λ.")
    easy_first: float = Field(0.1, gt=0, le=1, description="Share of the target images that is easy at first.")
    easy_last: float = Field(0.3, gt=0, le=1, description="Share that is easy in the end.")
    rounds: int = Field(2, ge=1, description="How often the share grows over the run.")
    refresh_every: int = Field(500, ge=0, description="Steps between passes that renew the labels; 0 for one pass.")

    @model_validator(mode="after")
    def _from_easy_to_hard(self) -> Self:
        if self.easy_last < self.easy_first:
            raise ValueError(f"easy_last {self.easy_last} is below easy_first {self.easy_first}; the share must grow")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """Target images alone."""
        return frozenset({"target"})


class Maps(Method):
    """Mean teacher, mixed target images, and labels from easy to hard."""

    points: Tensor
    rank: Tensor
    Config = MapsConfig
    moving_buffers = frozenset({"teacher"})

    def __init__(self, config: MapsConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        self.nets = MeanTeacher(context.net(), decay=config.ema_decay, norm=config.teacher_bn, pairs=context.pairs)
        self.refresh_every = config.refresh_every if config.pseudo_label_weight else 0
        keypoints = self.nets.student.final.out_channels
        self.register_buffer("points", torch.zeros(context.targets, keypoints, 2))
        self.register_buffer("rank", torch.zeros(context.targets, dtype=torch.long))

    def parts(self) -> dict[str, torch.nn.Module]:
        return {"student": self.nets.student}

    @torch.no_grad()
    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        if not self.config.pseudo_label_weight:
            return
        teacher = self.nets.teacher
        errors = self.points.new_full((len(self.points),), torch.inf)  # what cannot be read is hardest
        for batch in targets:
            maps = teacher(batch.student.images).heatmaps.float()
            self.points[batch.ids], _ = heatmaps.decode(maps, stride=teacher.stride)
            errors[batch.ids] = self._error(maps, self.points[batch.ids])
        self.rank.copy_(errors.argsort(stable=True).argsort())

    def _error(self, maps: Float[Tensor, "B K h w"], points: Float[Tensor, "B K 2"]) -> Float[Tensor, " B"]:
        """Mean squared error of each image's maps to Gaussians at ``points``, over keypoints and cells."""
        size = (maps.shape[-2], maps.shape[-1])
        everywhere = torch.ones_like(points[..., 0])
        drawn, _ = heatmaps.encode(
            points, everywhere, size, stride=self.nets.teacher.stride, **self.heatmap.model_dump()
        )
        return (maps - drawn).square().mean((1, 2, 3))

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        target = batch.target
        pseudo = self.nets.pseudo_heatmaps([view.images for view in target.teacher], target.teacher)
        student = self.nets.student(target.student.images)
        canonical = self.nets.to_canonical(student.heatmaps, target.student)

        peaks = pseudo.amax((-2, -1))
        mask = pseudo_labels.top_fraction(peaks, self.config.mask_fraction)
        rectified = heatmaps.rectify(pseudo, self.heatmap.sigma)
        terms = {"consistency": Term(losses.consistency(canonical, rectified, mask), self.config.consistency_weight)}
        probe, monitors = [student.features], {"peak": peaks.mean()}
        if self.config.mixup_weight:
            mixed, value = self._mixup(batch, student)
            terms["mixup"] = Term(value, self.config.mixup_weight)
            probe.append(mixed.features)
        if self.config.pseudo_label_weight:
            easy = self._easy(target, progress)
            terms["pseudo_label"] = Term(self._supervised(target, student, easy), self.config.pseudo_label_weight)
            monitors["easy"] = easy.mean()
        yield Update(terms=terms, on=("student",), probe=tuple(probe), monitors=monitors)

    def _mixup(self, batch: Batch, student: PoseOutput) -> tuple[PoseOutput, Tensor]:
        """The student's output on mixed images, and its error to what it says of each alone."""
        images, alone, draws = batch.target.student.images, student.heatmaps.detach().float(), batch.draws
        strength = draws.beta("mixup", self.config.mixup_alpha)
        order = draws.shared("mixup/order", draws.total).argsort()[draws.start : draws.start + draws.count]
        others, said = collective.gather(images)[order], collective.gather(alone)[order]
        mixed: PoseOutput = self.nets.student(strength * images + (1 - strength) * others)
        wanted = strength * alone + (1 - strength) * said
        return mixed, losses.supervised(mixed.heatmaps.float(), wanted, torch.ones_like(wanted[..., 0, 0]))

    def _easy(self, target: TargetBatch, progress: float) -> Float[Tensor, " B"]:
        """Which images of the batch are easy, 0 or 1; in the global batch the easiest is."""
        share = easy_share(self.config.easy_first, self.config.easy_last, self.config.rounds, progress)
        count = max(1, round(share * len(self.rank)))
        rank = self.rank[target.ids]
        return (rank <= collective.gather(rank).amin().clamp(min=count - 1)).float()

    def _supervised(self, target: TargetBatch, student: PoseOutput, easy: Tensor) -> Tensor:
        """Half the squared error to the labels, in the student's view, averaged over the easy images."""
        maps, labels = student.heatmaps.float(), self.points[target.ids]
        drawn, inside = pseudo_labels.drawn_in_view(
            labels, target.student.matrix, self.nets.other_side, (maps.shape[-2], maps.shape[-1]),
            stride=self.nets.student.stride, **self.heatmap.model_dump(),
        )  # fmt: skip
        return losses.supervised(maps, drawn, inside * easy[:, None]) / collective.mean(easy.mean())

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> PoseNet:
        return self.nets.teacher

    @property
    def student(self) -> PoseNet:
        return self.nets.student


def easy_share(first: float, last: float, rounds: int, progress: float) -> float:
    """From ``first`` to ``last`` in ``rounds`` equal steps, at equal fractions of the run."""
    return first + (last - first) * min(int(progress * (rounds + 1)), rounds) / rounds
