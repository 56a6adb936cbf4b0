"""Multi-level alignment with better pseudo-labels: a variant of this project's own, of no paper.

What `multilevel` has and what helped there stays: a mean teacher, restyled source images (image level), a discriminator
behind a gradient reversal layer (feature level). The pose level is left out, since in no study here did it move the
result. What is new are the pseudo-labels, which carry most of an adaptation; each change can be switched off.

Terms
    ``supervised``   Eq. 3, on source images restyled by AdaIN (Eq. 1, 2).
    ``consistency``  Eq. 5, student against the teacher's pseudo-labels, in the canonical frame.
    ``domain``       Eq. 6, discriminator behind a gradient reversal layer.
Equation numbers are those of Chen et al., ICME 2024 (docs/method.md); Eq. 4 (the moving average) follows each step.

The pseudo-labels
    ``subpixel``  A pseudo-label is drawn where a parabola through the teacher's peak has its maximum, not in the middle
                  of a cell. A cell of stride 4 at 128 px is as wide as two thirds of what PCK@0.05 forgives.
    ``balanced``  Which peaks are trusted is decided keypoint by keypoint. One threshold over all gives heads and
                  shoulders labels and leaves wrists and ankles, whose peaks are lower, without (class-balanced
                  self-training: Zou et al., ECCV 2018, for classes).
    ``mask_start`` to ``mask_end``  The trusted part grows with the run, as the teacher gets better (the curriculum of
                  CC-SSL, Mu et al., CVPR 2020, and of MAPS, Ding et al., 2023).
    ``mirrored``  The teacher looks at each view in a mirror too; the mean of both maps is less noisy than one of them.
                  Off by default: it costs a pass.
    ``exclusive_pairs``  Of a left and a right keypoint on one spot, the weaker is no label.
    ``teacher_bn: mixed``  The teacher normalises between the source's statistics and its batch's. Which of the two make
                  the better pseudo-labels differs from target to target, and no score without labels here could tell.

Deviations from the paper: there is none; see `multilevel` for those from Chen et al.

Deviations from the authors' code: there is none; no target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, Method, Occluding, OptimiserConfig, Term, Update, occluded, supervised
from poseshift.models.discriminator import Discriminator
from poseshift.models.mean_teacher import MeanTeacher, MixedTeacherNorm
from poseshift.models.pose_net import PoseNet
from poseshift.models.style_bank import StyleBank
from poseshift.ops import affine, heatmaps, losses, pseudo_labels


class MultilevelPlusConfig(Occluding):
    """Options of the variant; those of `multilevel` mean the same here."""

    name: Literal["multilevel_plus"] = "multilevel_plus"
    consistency_weight: float = Field(1.0, ge=0, description="λ_a of Eq. 9.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="α of Eq. 4.")
    teacher_bn: MixedTeacherNorm = Field("batch", description="What the teacher's BatchNorm does, see MeanTeacher.")
    teacher_bn_share: float = Field(0.75, ge=0, le=1, description="α of teacher_bn: mixed, see MixedNorms.")
    one_pass: bool = Field(False, description="Source and target through the student as one batch; see one_pass.py.")
    subpixel: bool = Field(True, description="Draw pseudo-labels at a fraction of a cell.")
    balanced: bool = Field(True, description="Trust a part of each keypoint's peaks, not of all peaks together.")
    mirrored: bool = Field(False, description="The teacher looks at each view in a mirror too; one more pass.")
    mask_start: float = Field(0.4, gt=0, le=1, description="Part of the peaks that is trusted at the first step.")
    mask_end: float = Field(0.8, gt=0, le=1, description="The same at the end; linear between.")
    exclusive_pairs: float = Field(0.05, ge=0, lt=1, description="See `multilevel`; 0 for none.")
    style_probability: float = Field(
        0.25, ge=0, le=1, description="Of a source batch to be restyled; 0 needs no style net."
    )
    domain_weight: float = Field(0.01, ge=0, description="λ_b of Eq. 9; 0 for no discriminator.")
    discriminator_rate: float = Field(1e-3, gt=0)

    @model_validator(mode="after")
    def _passes(self) -> Self:
        if self.one_pass and self.teacher_bn == "mixed":
            raise ValueError("teacher_bn: mixed needs source and target in passes of their own; leave one_pass out")
        return self

    @property
    def needs_style(self) -> bool:
        """Unless no source batch is restyled."""
        return self.style_probability > 0


class MultilevelPlus(Method):
    """Mean teacher with alignment of images and features, on better pseudo-labels."""

    pairs: Tensor
    Config = MultilevelPlusConfig
    moving_buffers = frozenset({"teacher", "mixed"})

    def __init__(self, config: MultilevelPlusConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        net = context.net()
        self.nets = MeanTeacher(
            net,
            decay=config.ema_decay,
            norm=config.teacher_bn,
            pairs=context.pairs,
            share=config.teacher_bn_share,
        )
        self.discriminator = Discriminator(net.width) if config.domain_weight else None
        self.register_buffer("pairs", torch.tensor(context.pairs, dtype=torch.long).view(-1, 2), persistent=False)
        self.styles = _style_bank(context) if config.style_probability else None

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
        target, stride = batch.target, self.nets.student.stride
        pseudo = self.nets.pseudo_heatmaps(
            [view.images for view in target.teacher], target.teacher, mirrored=self.config.mirrored
        )
        images = self._restyled(batch), occluded(self.config, batch, pseudo, stride)
        source, student = self.nets.learnt_from(*images, one_pass=self.config.one_pass)
        canonical = self.nets.to_canonical(student.heatmaps, target.student)

        labels, mask, peaks = self.pseudo_labels(pseudo, progress)
        seen = affine.seen_cells(canonical, target.student.matrix, stride=stride)
        consistency = losses.consistency(canonical * seen, labels * seen, mask)
        terms = {
            "supervised": Term(supervised(source, batch.source, stride, self.heatmap)),  # Eq. 3
            "consistency": Term(consistency, self.config.consistency_weight),  # Eq. 5
        }
        if self.discriminator is not None:
            domain = self.discriminator.confusion(source.features, student.features, 1.0)
            terms["domain"] = Term(domain, self.config.domain_weight)  # Eq. 6
        yield Update(
            terms=terms,
            on=tuple(self.parts()),
            probe=(source.features, student.features),
            monitors={"peak": peaks.mean(), "trusted": mask.mean()},
        )

    def pseudo_labels(
        self, pseudo: Float[Tensor, "B K h w"], progress: float
    ) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K"], Float[Tensor, "B K"]]:
        """What the student learns from teacher maps ``B×K×h×w``.

        Returns:
            Gaussians ``B×K×h×w`` at the peaks, the mask ``B×K`` of those that are trusted, the peaks' values ``B×K``.
        """
        start, end = self.config.mask_start, self.config.mask_end
        mask, peaks = pseudo_labels.trusted(
            pseudo,
            fraction=start + (end - start) * progress,
            pairs=self.pairs,
            exclusive=self.config.exclusive_pairs,
            balanced=self.config.balanced,
        )
        return heatmaps.rectify(pseudo, self.heatmap.sigma, subpixel=self.config.subpixel), mask, peaks

    def _restyled(self, batch: Batch) -> Tensor:
        images, probability = batch.source.view.images, self.config.style_probability
        if self.styles is None:
            return images
        return self.styles.restyled(images, batch.target.ids, batch.draws, probability=probability)  # Eq. 1, 2

    def after_step(self, progress: float) -> None:
        self.nets.update()  # Eq. 4

    @property
    def predictor(self) -> PoseNet:
        return self.nets.teacher

    @property
    def student(self) -> PoseNet:
        return self.nets.student


def _style_bank(context: Context) -> StyleBank:
    if context.style is None:
        raise UsageError(
            "method.style_probability: no style net; give `style: RUN`, a finished 'style' run, or set it to 0"
        )
    return StyleBank(context.style, context.targets)
