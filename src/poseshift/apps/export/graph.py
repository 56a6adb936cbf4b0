"""The graph that is deployed: a pose net with all that stands before and after it in :func:`poseshift.predict`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poseshift.engine.calibration import EDGE, Calibration
from poseshift.engine.inference import heatmaps_of
from poseshift.models.pose_net import PoseNet
from poseshift.ops import color, heatmaps


class Deployed(nn.Module):
    """Crops as they are cut from images to keypoints in image pixels, and their scores.

    Args:
        net: In evaluation mode.
        size: Side of the crops, pixels.
        flip_index: Mirrored keypoint of each keypoint, for a flip test inside; None without one.
        calibration: Turns heights of peaks into probabilities; None leaves the heights.
    """

    def __init__(
        self, net: PoseNet, *, size: int, flip_index: tuple[int, ...] | None, calibration: Calibration | None
    ) -> None:
        super().__init__()
        self.net, self.size, self.flip_index, self.calibration = net, size, flip_index, calibration

    def forward(self, image: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and scores.

        Args:
            image: ``B×S×S×3`` RGB, uint8: square crops at the input size.
            regions: ``B×4`` float32 corners ``(x0, y0, x1, y1)`` of the squares that the crops show, in image pixels.

        Returns:
            ``B×K×2`` in image pixels, and ``B×K`` in [0, 1].
        """
        pictures = color.normalise(image.permute(0, 3, 1, 2).float() / 255)
        maps = heatmaps_of(self.net, pictures, self.flip_index)
        points, values = heatmaps.decode(maps, stride=self.net.stride)
        side = (regions[:, 2] - regions[:, 0])[:, None, None]
        points = (points + 0.5) * (side / self.size) + regions[:, None, :2]
        return points, values if self.calibration is None else _calibrated(values, self.calibration)


def _calibrated(values: Tensor, known: Calibration) -> Tensor:
    """Probabilities of raw scores, in double precision: near 1 the logit magnifies what rounding leaves."""
    kept = values.double().clamp(EDGE, 1 - EDGE)
    return torch.sigmoid(known.slope * torch.log(kept / (1 - kept)) + known.intercept + known.shift).float()


def whole(size: int, count: int = 1) -> Tensor:
    """Regions ``count×4`` of crops that are images themselves: keypoints come out in pixels of the crop."""
    return torch.tensor([[-0.5, -0.5, size - 0.5, size - 0.5]]).repeat(count, 1)
