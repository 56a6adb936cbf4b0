"""Adaptation while predicting: a method that can do with target images alone sees each batch before it is predicted."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from poseshift.batches import Batch, TargetBatch
from poseshift.data import augment
from poseshift.draws import Draws
from poseshift.engine.optimise import Optimisers
from poseshift.engine.run import Run
from poseshift.errors import TrainingError, UsageError
from poseshift.methods import METHODS, TEST_TIME
from poseshift.methods.base import Context, Method, OptimiserConfig, Update
from poseshift.models.pose_net import PoseNet

log = logging.getLogger(__name__)

BATCH = 16
"""Images an update. Of smaller batches there are more, and each says less of what is common to the images."""

FEW = 16
"""Images below which a warning is given. Of procedural images, one set of 8 in eight was predicted worse than without
adapting and one set of 2 in six, of 32 none (``docs/method.md``)."""

OPTIMISER = OptimiserConfig(rate=1e-3)
"""Adam, as published for streams; a run's own rate belongs to training from the start."""


class Stream:
    """A copy of a run's pose net that adapts to images in the order in which they come.

    Randomness (the augmented views) is a function of the run's seed and the number of the batch, so the same inputs
    give the same predictions. The run folder is not written to.

    Attributes:
        margin: That crops should have, pixels, so that augmented views show no corners.

    Args:
        net: A pose net of ``run`` that nobody else uses; it is changed in place.
        how: A key of ``TEST_TIME``.
        run: Whose augmentation, heatmaps, seed and keypoints are used.
        device: Where to compute.

    Raises:
        UsageError: An unknown key, or a net that has nothing to adapt.
    """

    def __init__(self, net: PoseNet, how: str, run: Run, *, device: torch.device) -> None:
        if how not in TEST_TIME:
            raise UsageError(f"adapt: {how!r} is unknown; expected one of {', '.join(TEST_TIME)}")
        self.how, self.settings = TEST_TIME[how], run.config
        context = Context(
            net=lambda: net, style=None, heatmap=run.config.heatmap, targets=0, pairs=run.skeleton.flip_pairs
        )
        self.method: Method = METHODS[self.how.config.name](self.how.config, context).to(device).train()
        self.optimisers = Optimisers(self.method, OPTIMISER, clip=0.0)
        self.margin = round(run.config.margin * run.config.input_size)
        self.images = self.batches = 0

    @torch.enable_grad()
    def see(self, crops: Tensor) -> None:
        """Adapts to the next images: uint8 crops ``B×3×S×S`` with or without a margin, on the device."""
        size, count = self.settings.input_size, len(crops)
        draws = Draws(
            seed=self.settings.seed, step=self.batches, start=0, count=count, total=count, device=crops.device
        )
        ids = torch.arange(self.images, self.images + count, device=crops.device)
        plain = augment.plain(crops, size=size)
        strong = augment.draw(crops, self.settings.augment.student, draws, size=size, stream="adapt")
        self.method.refresh(iter((TargetBatch(student=plain, teacher=(plain,), ids=ids),)))
        target = TargetBatch(student=strong, teacher=(plain,), ids=ids)
        for update in self.method.updates(Batch(draws=draws, target=target), 0.0):
            self._take(update)
        self.method.after_step(0.0)
        self.method.eval()
        self.images, self.batches = self.images + count, self.batches + 1

    def _take(self, update: Update) -> None:
        moving = [p for name in update.on for p in self.method.parts()[name].parameters() if p.requires_grad]
        self.method.zero_grad(set_to_none=True)
        torch.autograd.backward(update.total, inputs=moving)
        norm = torch.nn.utils.get_total_norm([p.grad for p in moving if p.grad is not None])
        if not bool(torch.isfinite(norm + update.total.detach())):
            raise TrainingError(
                f"adapt: {', '.join(update.terms)} not finite in batch {self.batches + 1}; predict without --adapt"
            )
        self.optimisers.step(update.on)

    def say(self) -> None:
        """Logs in one line what was adapted, and warns where there were too few images for it."""
        log.info("adapted %s to %d images in %d batches", self.how.moves, self.images, self.batches)
        if self.images < FEW:
            log.warning(
                "%d images are few to adapt to: with fewer than %d each weighs much, and predictions may become worse; "
                "compare with those without --adapt",
                *(self.images, FEW),
            )
