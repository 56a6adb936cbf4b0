"""Multi-level alignment: Chen et al., "Domain adaptive pose estimation via multi-level alignment", ICME 2024.

A mean teacher with alignment of images, features and poses. ``levels: []`` is the mean teacher alone.

Terms
    ``supervised``   Eq. 3, on source images restyled by AdaIN (image level, Eq. 1–2).
    ``consistency``  Eq. 5, student against the rectified and masked teacher, in the canonical frame.
    ``domain``       Eq. 6 (feature level), discriminator behind a gradient reversal layer.
    ``certainty``    Eq. 7 (pose level).
    ``diversity``    Eq. 8 (pose level), with a negative weight: it is maximised.
Eq. 4 (the moving average) follows each step; Eq. 9 is the weighted sum.

Deviations from the paper: ``pose: calibrated`` (default) normalises entropies by ln of their bins, takes marginals by
maximum and the diversity on mean probabilities, because the released form moves nothing (``pose: released`` keeps it);
β and the weights are fixed by ``benchmarks/calibrate_pose.py``. ``valid_only`` counts only cells of the canonical
frame that the student's view shows. ``exclusive_pairs`` (off by default) drops labels that confuse sides. Views of the
target may be mirrored (``augment``, off by default): their maps exchange left and right.

Deviations from the authors' code: the inverse of the augmentation is one exact resampling; the occlusion patch lands on
the joint; the teacher's BatchNorm is explicit (``teacher_bn``); styles come from a bank of un-augmented target images;
the discriminator's rate follows the run's schedule; no target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, Method, Occluding, OptimiserConfig, Term, Update, occluded, supervised
from poseshift.models.discriminator import Discriminator
from poseshift.models.mean_teacher import MeanTeacher, TeacherNorm
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.models.style_bank import StyleBank
from poseshift.ops import adversarial, affine, heatmaps, information, losses, pseudo_labels

Level = Literal["image", "feature", "pose"]


class MultilevelConfig(Occluding):
    """Options of multi-level alignment; Greek letters are the paper's."""

    name: Literal["multilevel"] = "multilevel"
    levels: tuple[Level, ...] = Field(("image", "feature", "pose"), description="Alignments that are on.")
    consistency: bool = Field(True, description="The teacher's pseudo-labels (Eq. 5).")
    consistency_weight: float = Field(1.0, ge=0, description="λ_a of Eq. 9.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="α of Eq. 4.")
    teacher_bn: TeacherNorm = Field("batch", description="What the teacher's BatchNorm does, see MeanTeacher.")
    one_pass: bool = Field(False, description="Source and target through the student as one batch; see one_pass.py.")
    mask_fraction: float = Field(0.5, gt=0, le=1, description="Part of the teacher's peaks that is trusted.")
    exclusive_pairs: float = Field(
        0.0, ge=0, lt=1, description="Left and right peaks nearer than this (of the side): the weaker is no label."
    )
    valid_only: bool = Field(True, description="Compare only cells that the student's view shows.")
    style_probability: float = Field(0.5, ge=0, le=1, description="Of a source batch to be restyled.")
    domain_weight: float = Field(0.1, ge=0, description="λ_b of Eq. 9.")
    reversal: Literal["constant", "ramp"] = Field(
        "constant", description="Coefficient of the reversal: 1, or DANN's ramp."
    )
    discriminator_rate: float = Field(1e-4, gt=0)
    pose: Literal["calibrated", "released"] = Field("calibrated", description="Form of Eq. 7 and 8.")
    certainty_weight: float = Field(0.15, ge=0, description="λ_c of Eq. 9, for Eq. 7; published 0.3.")
    diversity_weight: float = Field(0.15, ge=0, description="λ_c of Eq. 9, for Eq. 8; published 0.3.")
    inverse_temperature: float = Field(10.0, gt=0, description="β of the calibrated softmax.")

    @property
    def needs_style(self) -> bool:
        return "image" in self.levels

    @field_validator("levels")
    @classmethod
    def _unique(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if len(set(levels)) != len(levels):
            raise ValueError(f"levels repeat: {list(levels)}")
        return levels


class Multilevel(Method):
    """Mean teacher with alignment of images, features and poses."""

    pairs: Tensor
    Config = MultilevelConfig
    moving_buffers = frozenset({"teacher"})

    def __init__(self, config: MultilevelConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        net = context.net()
        self.nets = MeanTeacher(net, decay=config.ema_decay, norm=config.teacher_bn, pairs=context.pairs)
        self.discriminator = Discriminator(net.width) if "feature" in config.levels else None
        self.register_buffer("pairs", torch.tensor(context.pairs, dtype=torch.long).view(-1, 2), persistent=False)
        self.styles: StyleBank | None = None
        if "image" in config.levels:
            if context.style is None:
                raise UsageError("method.levels: 'image' needs a style net; give `style: RUN`, a finished 'style' run")
            self.styles = StyleBank(context.style, context.targets)

    def parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"student": self.nets.student}
        return parts if self.discriminator is None else {**parts, "discriminator": self.discriminator}

    def optimisers(self, default: OptimiserConfig) -> dict[str, OptimiserConfig]:
        own = default.model_copy(update={"rate": self.config.discriminator_rate})
        return {name: own if name == "discriminator" else default for name in self.parts()}

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        if self.styles is not None:
            self.styles.fill_from(targets)

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        target, matrix = batch.target, batch.target.student.matrix
        pseudo = self.nets.pseudo_heatmaps([view.images for view in target.teacher], target.teacher)
        images = self._restyled(batch), occluded(self.config, batch, pseudo, self.nets.student.stride)
        source, student = self.nets.learnt_from(*images, one_pass=self.config.one_pass)
        canonical = self.nets.to_canonical(student.heatmaps, target.student)

        terms = {"supervised": Term(supervised(source, batch.source, self.nets.student.stride, self.heatmap))}  # Eq. 3
        mask, peaks = pseudo_labels.trusted(
            pseudo, fraction=self.config.mask_fraction, pairs=self.pairs, exclusive=self.config.exclusive_pairs
        )
        if self.config.consistency:
            terms["consistency"] = Term(
                self._consistency(canonical, pseudo, mask, matrix), self.config.consistency_weight
            )
        if self.discriminator is not None:
            terms["domain"] = Term(self._domain(source, student, progress), self.config.domain_weight)  # Eq. 6
        if "pose" in self.config.levels:
            terms |= self._pose(canonical)  # Eq. 7, 8
        yield Update(
            terms=terms,
            on=tuple(self.parts()),
            probe=(source.features, student.features),
            monitors={"peak": peaks.mean()},
        )

    def _restyled(self, batch: Batch) -> Tensor:
        images = batch.source.view.images
        if self.styles is None:
            return images
        probability = self.config.style_probability
        return self.styles.restyled(images, batch.target.ids, batch.draws, probability=probability)  # Eq. 1, 2

    def _consistency(self, canonical: Tensor, pseudo: Tensor, mask: Tensor, matrix: Tensor) -> Tensor:
        rectified = heatmaps.rectify(pseudo, self.heatmap.sigma)
        if self.config.valid_only:
            seen = affine.seen_cells(canonical, matrix, stride=self.nets.student.stride)
            canonical, rectified = canonical * seen, rectified * seen
        return losses.consistency(canonical, rectified, mask)  # Eq. 5

    def _domain(self, source: PoseOutput, student: PoseOutput, progress: float) -> Tensor:
        if self.discriminator is None:
            raise UsageError("the feature level is off")
        coefficient = 1.0 if self.config.reversal == "constant" else adversarial.dann_ramp(progress)
        return self.discriminator.confusion(source.features, student.features, coefficient)

    def _pose(self, canonical: Tensor) -> dict[str, Term]:
        if self.config.pose == "released":
            certainty, diversity = information.released_certainty(canonical), information.released_diversity(canonical)
        else:
            beta = self.config.inverse_temperature
            cells = canonical[0, 0].numel()  # as released: so that one weight holds at any resolution, as Eq. 5's does
            certainty = information.certainty(canonical, inverse_temperature=beta) / cells
            diversity = information.diversity(canonical, inverse_temperature=beta) / cells
        return {
            "certainty": Term(certainty, self.config.certainty_weight),
            "diversity": Term(diversity, -self.config.diversity_weight),
        }

    def after_step(self, progress: float) -> None:
        self.nets.update()  # Eq. 4

    @property
    def predictor(self) -> PoseNet:
        return self.nets.teacher

    @property
    def student(self) -> PoseNet:
        return self.nets.student
