"""CC-SSL: Mu et al., "Learning from synthetic animals", CVPR 2020, arXiv 1912.08265.

One net learns from the labelled source and from pseudo-labels of the target, which it makes anew from time to time by a
pass over all target images (:mod:`poseshift.models.label_bank`), beginning with what the ``init`` run knows. Three
consistencies make them better than what it says of one image: a label is the average over scaled and turned views moved
back (equivariance); in a video, a label is carried on from the frame before where it was more certain there (temporal);
and the net is trained to say the same of a strongly augmented view (invariance). First few labels are accepted, the
most confident ones, then more (curriculum).

Terms
    ``supervised``    mean squared error on the source (Eq. 3 of docs/method.md).
    ``pseudo_label``  the same on the target, to the accepted labels; weight γ = 10.
A label is accepted if it is more confident than the p-quantile of all, over images and keypoints;
p = max(1 - 0.02·(epoch + 10), 0.2), where epoch is that of the last pass, one in ten of 60 epochs: with f the fraction
of the run, epoch = 10·⌊6·f⌋, so p is 0.8, 0.6, 0.4 and, from the middle on, 0.2. ``refresh_every`` is in steps: with a
sixth of the run's (2,500 of the default 15,000) the passes fall where p does.

γ means what it means in the authors' code: there, too, both losses are means over images, keypoints and cells of half
the squared error, with what is not accepted counted as zeros. The strong augmentation of target images is the run's
(``augment.student``: noise, blur, rotation, scale, colour).

Temporal consistency needs ``video:`` targets, and frames near enough in time that points move by less than a window
(``@every=0.04`` or ``@all``). Images that are no frames have none. The authors' 15 pixels of 256, within which a point
may move, and their window of 15 are fractions of our input's width.

Source of the facts: the authors' code (JitengMu/Learning-from-Synthetic-Animals), which was read, for every number. The
paper's text was not at hand, so its equations are named, not numbered.

Deviations from the paper: one pose net that gives one map a keypoint, where the paper has a stacked hourglass with a
loss on each stack; optimiser and schedule are the run's (RMSprop, 2.5e-4).

Deviations from the authors' code: the four views beside the plain one are the corners of their range (scale 1 ± 0.25,
±30°), where theirs are drawn from normal distributions about it, for each image; heatmaps are moved back by one exact
resampling, labels are sub-pixel. A label goes on to the next frame of the same video only, and only from where there is
texture to follow; theirs may go on into the next video, and one that moves too far loses the label that it came from.
No target labels select the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from torch import nn

from poseshift.batches import Batch, TargetBatch
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update, supervised
from poseshift.models.averaged import Averaged
from poseshift.models.label_bank import LabelBank
from poseshift.models.pose_net import PoseNet
from poseshift.ops import heatmaps, losses


class CcsslConfig(MethodConfig):
    """Options of consistency-constrained semi-supervised learning."""

    name: Literal["ccssl"] = "ccssl"
    pseudo_label_weight: float = Field(10.0, ge=0, description="γ: of the target against the source.")
    refresh_every: int = Field(2500, ge=0, description="Steps between passes that renew the labels; 0 for one pass.")
    temporal: bool = Field(True, description="Carry labels on from frame to frame, where the target is a video.")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="Evaluate a moving average of the net; 0 evaluates the net.")


def percentile(progress: float) -> float:
    """p: the share of all labels that are not accepted at a fraction of the run."""
    epoch = 10 * math.floor(6 * progress + 1e-9)
    return max(1 - 0.02 * (epoch + 10), 0.2)


class Ccssl(Method):
    """A pose net and its own pseudo-labels."""

    Config = CcsslConfig
    moving_buffers = frozenset({"average"})

    def __init__(self, config: CcsslConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        self.refresh_every = config.refresh_every
        self.nets = Averaged(context.net(), decay=config.ema_decay)
        self.labels = LabelBank(
            context.targets,
            self.nets.net.final.out_channels,
            pairs=context.pairs,
            previous=context.previous if config.temporal else None,
        )

    def parts(self) -> dict[str, nn.Module]:
        return {"net": self.nets.net}

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        self.labels.fill_from(self.nets.net, targets)

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        target, stride = batch.target, self.nets.net.stride
        source, student = self.nets.net(batch.source.view.images), self.nets.net(target.student.images)
        size = (student.heatmaps.shape[-2], student.heatmaps.shape[-1])
        points, accepted = self.labels.in_view(target.student, target.ids, percentile(progress))
        maps, weight = heatmaps.encode(points, accepted, size, stride=stride, **self.heatmap.model_dump())
        terms = {
            "supervised": Term(supervised(source, batch.source, stride, self.heatmap)),
            "pseudo_label": Term(
                losses.supervised(student.heatmaps.float(), maps, weight), self.config.pseudo_label_weight
            ),
        }
        yield Update(
            terms=terms,
            on=("net",),
            probe=(source.features, student.features),
            monitors={"accepted": accepted.float().mean()},
        )

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> PoseNet:
        return self.nets.predictor

    @property
    def student(self) -> PoseNet:
        return self.nets.net
