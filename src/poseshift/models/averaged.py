"""A net and, where it is asked for, the moving average of its weights that is evaluated in its place."""

from __future__ import annotations

import copy

from torch import nn

from poseshift.models.pose_net import PoseNet
from poseshift.ops import ema


class Averaged(nn.Module):
    """A pose net whose average teaches nothing: it is what a method without a teacher predicts with.

    Args:
        net: What gradients move.
        decay: Of the average, in [0, 1); 0 keeps none, and the net itself predicts.
    """

    def __init__(self, net: PoseNet, *, decay: float) -> None:
        super().__init__()
        self.net, self.decay = net, decay
        self.average = copy.deepcopy(net).requires_grad_(False) if decay else None

    @property
    def predictor(self) -> PoseNet:
        """The average, or the net where there is none."""
        return self.net if self.average is None else self.average

    def update(self) -> None:
        """After the optimiser's step; BatchNorm's statistics are averaged like weights."""
        if self.average is not None:
            ema.update(self.average, self.net, self.decay, buffers=True)
