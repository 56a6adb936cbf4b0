"""Li and Lee, "From synthetic to real: unsupervised domain adaptation for animal pose estimation", CVPR 2021.

UDA-Animal: a pose net, a block that refines its heatmaps from all levels of the head
(:mod:`poseshift.models.refinement`), and a classifier of domains behind a gradient reversal layer. Noisy pseudo-labels
of the target, made once before the first step as CC-SSL makes them (:mod:`poseshift.models.label_bank`; the 40 % of
highest confidence), give way to labels that the net makes as it learns: the refined map teaches the coarse one (inner
loop); a mean teacher's refined map, moved to the student's view, teaches the student's other refined map (outer loop).

Terms
    ``supervised``    squared error of the coarse and of the refined map on the source: their sum.
    ``pseudo_label``  the same on the target, to the pseudo-labels, over each image's keypoints of smallest loss; weight
                      15·(1 + cos(π·epoch/15))/2, at least 8.
    ``domain``        cross-entropy of the classifier of domains, over the levels as the block has refined them, mean of
                      both domains; weight 5e-4. The nets ascend it, times the ramp 2/(1 + e^(-10p)) - 1 of the run p.
    ``distillation``  inner loop: the coarse map to the refined one, which stands still, over each image's keypoints of
                      smallest loss; weight 90·exp(-5·(1 - epoch/10)²), 90 from epoch 10 on.
    ``branches``      the two refined maps of one image agree; weight 0.01.
    ``consistency``   outer loop: the other refined map to the teacher's; weight as of ``distillation``.
An epoch is the eightieth part of the run, counted down to whole ones. From epoch 2 on one keypoint in 18 is left out
each epoch, until half are. Each loss is the mean over images, (kept) keypoints and cells of half the squared error, as
it is there, so that their weights hold.

**What is evaluated and exported is the teacher's coarse net**: a run's predictor is the pose net of its configuration,
which has no refinement block. The authors evaluate the teacher's refined map.

Source of the facts: the authors' code (chaneyddtt/UDA-Animal-Pose), which was read, for every number and the order of
the terms. The paper's text was not at hand: terms are named, not numbered.

Deviations from the paper: levels are those of the run's head, four of a ``pyramid`` on a ResNet and three of
``deconv`` (there four); the refinement block begins untrained, since ``init`` has none (there it is trained on the
source first); no mixup of images; occluders and other strong augmentation are the run's (``augment.student``);
optimiser and schedule are the run's (Adam, 2.5e-4, polynomial decay).

Deviations from the authors' code: one student view of a target image serves all its terms (there labels have a view of
their own, scaled too); the classifier's kernels are 3×3 (4×4), its initial weights PyTorch's (theirs, 0.001 wide, let
hardly any gradient through six layers); the teacher's statistics are those of its target views, its decay is 0.999 from
the first step on; keypoints are left out in the ratio of 9 to their 18; no target labels select the checkpoint.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update, supervised
from poseshift.models.label_bank import LabelBank
from poseshift.models.mean_teacher import MeanTeacher
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.models.refinement import DomainClassifier, Refined, Refinement
from poseshift.ops import adversarial, affine, ema, heatmaps

EPOCHS = 80


class UdaAnimalConfig(MethodConfig):
    """Options of UDA-Animal."""

    name: Literal["uda_animal"] = "uda_animal"
    pseudo_label_weight: float = Field(15.0, ge=0, description="Of the pseudo-labels at the start.")
    least_pseudo_label_weight: float = Field(8.0, ge=0, description="What it falls to, if that is less.")
    pseudo_label_share: float = Field(0.4, gt=0, le=1, description="Of all pseudo-labels, the most certain ones.")
    domain_weight: float = Field(5e-4, ge=0, description="Of the classifier of domains.")
    distillation_weight: float = Field(90.0, ge=0, description="Of the inner loop, after its ramp.")
    branches_weight: float = Field(0.01, ge=0, description="Of the agreement of the two refined maps.")
    consistency_weight: float = Field(90.0, ge=0, description="Of the outer loop, after its ramp.")
    kept_keypoints: float = Field(0.5, gt=0, le=1, description="Share of the keypoints that is left in the end.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the teacher.")


class Schedule(NamedTuple):
    """What changes over the run, at an epoch."""

    label: float
    """Factor in [0, 1] of the pseudo-labels' weight, before its least."""
    loops: float
    """Factor in [0, 1] of the weights of both loops."""
    dropped: float
    """Share of the keypoints that is left out, before its most."""

    @staticmethod
    def at(progress: float) -> Schedule:
        """At a fraction of the run."""
        epoch = math.floor(EPOCHS * progress + 1e-9)
        label = (1 + math.cos(math.pi * min(epoch, 15) / 15)) / 2
        return Schedule(label, math.exp(-5 * (1 - min(epoch, 10) / 10) ** 2), max(epoch - 2, 0) / 18)


def squared_error(prediction: Float[Tensor, "B K h w"], target: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K"]:
    """Half the mean squared error of each map, ``B×K``."""
    return 0.5 * (prediction.float() - target.float()).square().mean((-2, -1))


def smallest(each: Float[Tensor, "B K"], kept: int, weight: Float[Tensor, "B K"] | None = None) -> Float[Tensor, ""]:
    """Mean over images and their ``kept`` keypoints of smallest loss ``each``; those of weight 0 come last, as 0."""
    if weight is None:
        weight = torch.ones_like(each)
    order = each.detach().masked_fill(weight == 0, torch.inf)
    return (each * weight).gather(1, order.topk(kept, largest=False).indices).mean()


class UdaAnimal(Method):
    """A mean teacher of a pose net with a refinement block, and a classifier of domains."""

    Config = UdaAnimalConfig
    moving_buffers = frozenset({"teacher", "teacher_refinement"})

    def __init__(self, config: UdaAnimalConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        net, pairs = context.net(), context.pairs
        self.keypoints, levels = net.final.out_channels, net.head.depth
        self.nets = MeanTeacher(net, decay=config.ema_decay, norm="batch", pairs=pairs)
        self.refinement = Refinement(levels, net.width, self.keypoints)
        self.teacher_refinement = copy.deepcopy(self.refinement).requires_grad_(False)
        self.classifier = DomainClassifier(levels * net.width, net.width)
        self.labels = LabelBank(context.targets, self.keypoints, pairs=pairs, previous=context.previous)

    def parts(self) -> dict[str, nn.Module]:
        return {"student": self.nets.student, "refinement": self.refinement, "classifier": self.classifier}

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        self.labels.fill_from(self.nets.student, targets)

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        config, schedule = self.config, Schedule.at(progress)
        taught = self._taught(batch.target)
        source, source_refined = self._student(batch.source.view.images)
        target, refined = self._student(batch.target.student.images)

        kept = self.keypoints - math.floor(min(schedule.dropped, 1 - config.kept_keypoints) * self.keypoints + 1e-9)
        most, least = config.pseudo_label_weight, config.least_pseudo_label_weight
        label_weight = min(most, max(most * schedule.label, least))
        on_source = [
            supervised(PoseOutput(maps, source.features), batch.source, self.nets.student.stride, self.heatmap)
            for maps in (source.heatmaps, source_refined.heatmaps)
        ]
        inner = smallest(squared_error(target.heatmaps, refined.heatmaps.detach()), kept)
        terms = {
            "supervised": Term(on_source[0] + on_source[1]),
            "pseudo_label": Term(self._pseudo_label(batch.target, target, refined, kept), label_weight),
            "domain": Term(self._domain(source_refined, refined, progress), config.domain_weight),
            "distillation": Term(inner, config.distillation_weight * schedule.loops),
            "branches": Term(squared_error(refined.heatmaps, refined.other).mean(), config.branches_weight),
            "consistency": Term(
                squared_error(refined.other, taught).mean(), config.consistency_weight * schedule.loops
            ),
        }
        yield Update(terms=terms, on=tuple(self.parts()), probe=(source.features, target.features))

    def _student(self, images: Tensor) -> tuple[PoseOutput, Refined]:
        levels = self.nets.student.levels(images)
        return PoseOutput(self.nets.student.final(levels[-1]), levels[-1]), self.refinement(levels)

    @torch.no_grad()
    def _taught(self, target: TargetBatch) -> Tensor:
        """The teacher's refined heatmaps in the student's view, ``B×K×h×w``, averaged over its views."""
        back, maps = affine.invert(target.student.matrix), []
        for view in target.teacher:
            refined = self.teacher_refinement(self.nets.teacher.levels(view.images)).heatmaps
            with torch.autocast(refined.device.type, enabled=False):
                matrix = view.matrix @ back
            maps.append(
                affine.unwarp_heatmaps(
                    refined.float(), matrix, stride=self.nets.student.stride, other_side=self.nets.other_side
                )
            )
        return torch.stack(maps).mean(0)

    def _pseudo_label(self, batch: TargetBatch, coarse: PoseOutput, refined: Refined, kept: int) -> Tensor:
        points, trusted = self.labels.in_view(batch.student, batch.ids, 1 - self.config.pseudo_label_share)
        size = (coarse.heatmaps.shape[-2], coarse.heatmaps.shape[-1])
        stride = self.nets.student.stride
        maps, weight = heatmaps.encode(points, trusted, size, stride=stride, **self.heatmap.model_dump())
        one, other = (squared_error(found, maps) for found in (coarse.heatmaps, refined.heatmaps))
        return smallest(one, kept, weight) + smallest(other, kept, weight)

    def _domain(self, source: Refined, target: Refined, progress: float) -> Tensor:
        ramp = adversarial.dann_ramp(progress)
        logits = [self.classifier(adversarial.reverse_gradient(o.features, ramp)) for o in (source, target)]
        return adversarial.domain_cross_entropy(logits[0].float(), logits[1].float()) / 2

    def after_step(self, progress: float) -> None:
        self.nets.update()
        ema.update(self.teacher_refinement, self.refinement, self.config.ema_decay, buffers=False)

    @property
    def predictor(self) -> PoseNet:
        return self.nets.teacher

    @property
    def student(self) -> PoseNet:
        return self.nets.student
