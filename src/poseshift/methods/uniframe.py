"""Kim et al., "A unified framework for domain adaptive pose estimation", ECCV 2022: the paper's parent.

A mean teacher whose source and target images are restyled towards each other.

Terms
    ``supervised``   mean squared error on source images, restyled to target styles with probability ½.
    ``consistency``  mean squared error of the student's target heatmaps to the rectified teacher's, masked to the
                     upper half of its peaks, in the canonical frame. The teacher's images are restyled to source
                     styles with probability ½; a patch hides a confident keypoint from the student.
The moving average follows each step.

Deviations from the paper: none in the terms; ``valid_only`` and ``exclusive_pairs`` are off by default, as published.

Deviations from the authors' code: the inverse of the augmentation is one exact resampling; the occlusion patch lands on
the joint; the teacher's BatchNorm is explicit; target styles come from a bank of un-augmented images; no target labels
select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, Method, Occluding, Term, Update, occluded, supervised
from poseshift.models.adain import statistics
from poseshift.models.mean_teacher import MeanTeacher, TeacherNorm
from poseshift.models.pose_net import PoseNet
from poseshift.models.style_bank import StyleBank
from poseshift.ops import affine, heatmaps, losses, pseudo_labels


class UniframeConfig(Occluding):
    """Options of the unified framework."""

    name: Literal["uniframe"] = "uniframe"
    consistency_weight: float = Field(1.0, ge=0, description="λ_c of the paper.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="α of the paper.")
    teacher_bn: TeacherNorm = Field("batch", description="What the teacher's BatchNorm does, see MeanTeacher.")
    mask_fraction: float = Field(0.5, gt=0, le=1, description="Part of the teacher's peaks that is trusted.")
    exclusive_pairs: float = Field(
        0.0, ge=0, lt=1, description="Left and right peaks nearer than this (of the side): the weaker is no label."
    )
    valid_only: bool = Field(False, description="Compare only cells that the student's view shows.")
    source_style_probability: float = Field(0.5, ge=0, le=1, description="Of a source batch to get target styles.")
    target_style_probability: float = Field(0.5, ge=0, le=1, description="Of a teacher batch to get source styles.")

    @property
    def needs_style(self) -> bool:
        return True


class Uniframe(Method):
    """Mean teacher with stylisation both ways."""

    pairs: Tensor
    Config = UniframeConfig
    moving_buffers = frozenset({"teacher"})

    def __init__(self, config: UniframeConfig, context: Context) -> None:
        super().__init__(config, context)
        if context.style is None:
            raise UsageError(
                "method 'uniframe' needs a style net; give `style: RUN`, a finished run of the method 'style'"
            )
        self.config, self.heatmap = config, context.heatmap
        self.nets = MeanTeacher(context.net(), decay=config.ema_decay, norm=config.teacher_bn, pairs=context.pairs)
        self.register_buffer("pairs", torch.tensor(context.pairs, dtype=torch.long).view(-1, 2), persistent=False)
        self.styles = StyleBank(context.style, context.targets)

    def parts(self) -> dict[str, nn.Module]:
        return {"student": self.nets.student}

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        self.styles.fill_from(targets)

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        target, stride = batch.target, self.nets.student.stride
        pseudo = self.nets.pseudo_heatmaps(self._teacher_images(batch), target.teacher)
        source = self.nets.student(self._source_images(batch))
        student = self.nets.student(occluded(self.config, batch, pseudo, stride))
        canonical = self.nets.to_canonical(student.heatmaps, target.student)

        mask, peaks = pseudo_labels.trusted(
            pseudo, fraction=self.config.mask_fraction, pairs=self.pairs, exclusive=self.config.exclusive_pairs
        )
        rectified = heatmaps.rectify(pseudo, self.heatmap.sigma)
        if self.config.valid_only:
            seen = affine.seen_cells(canonical, target.student.matrix, stride=stride)
            canonical, rectified = canonical * seen, rectified * seen
        terms = {
            "supervised": Term(supervised(source, batch.source, stride, self.heatmap)),
            "consistency": Term(losses.consistency(canonical, rectified, mask), self.config.consistency_weight),
        }
        yield Update(
            terms=terms, on=("student",), probe=(source.features, student.features), monitors={"peak": peaks.mean()}
        )

    def _source_images(self, batch: Batch) -> Tensor:
        images, probability = batch.source.view.images, self.config.source_style_probability
        return self.styles.restyled(images, batch.target.ids, batch.draws, probability=probability)

    @torch.no_grad()
    def _teacher_images(self, batch: Batch) -> list[Tensor]:
        views = [view.images for view in batch.target.teacher]
        if not batch.draws.coin("style/teacher", self.config.target_style_probability):
            return views
        style = statistics(self.styles.net.encode(batch.source.view.images))
        strength = batch.draws.shared("style/teacher/strength").view(1, 1, 1, 1)
        return [self.styles.net.stylise(images, style, strength) for images in views]

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> PoseNet:
        return self.nets.teacher

    @property
    def student(self) -> PoseNet:
        return self.nets.student
