"""A pose net over crops: batched, with an optional mirrored second look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poseshift.data import augment
from poseshift.data.crops import Crops
from poseshift.data.loaders import collate
from poseshift.models.pose_net import PoseNet
from poseshift.ops import heatmaps
from poseshift.types import FloatArray, Predictions


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """What a net says about crops.

    Attributes:
        predictions: In image pixels.
        cells: ``N×K×2`` integer positions of the heatmaps' maxima, for the ``reference`` protocol.
        map_size: ``(h, w)`` of the heatmaps.
        failed: Rows whose image did not decode; their predictions are NaN and their scores 0.
    """

    predictions: Predictions
    cells: FloatArray
    map_size: tuple[int, int]
    failed: tuple[int, ...]


def heatmaps_of(net: PoseNet, images: Tensor, flip_index: tuple[int, ...] | None) -> Tensor:
    """Heatmaps ``B×K×h×w`` of images ``B×3×H×W``, averaged with those of the mirrored images given an index.

    Logits come out on the scale of drawn heatmaps (:func:`poseshift.ops.heatmaps.from_logits`).
    """
    maps = _as_drawn(net, net(images).heatmaps)
    if flip_index is None:
        return maps
    mirrored = _as_drawn(net, net(images.flip(-1)).heatmaps)
    return (maps + mirrored.flip(-1)[:, list(flip_index)]) / 2


def _as_drawn(net: PoseNet, maps: Tensor) -> Tensor:
    return maps.float() if net.logit_sigma is None else heatmaps.from_logits(maps, net.logit_sigma)


@torch.no_grad()
def infer(
    net: PoseNet,
    crops: Crops,
    *,
    device: torch.device,
    batch_size: int = 64,
    flip_index: tuple[int, ...] | None = None,
    see: Callable[[Tensor], None] = lambda crops: None,
    advance: Callable[[int], None] = lambda count: None,
) -> Inferred:
    """Keypoints of every crop.

    Args:
        net: In evaluation mode.
        crops: At the net's input size; of a margin it is shown nothing.
        device: Where to compute.
        batch_size: Crops a pass.
        flip_index: Mirrored keypoint of each keypoint, for a flip test.
        see: Called with each batch just before it is predicted: its crops that decoded, uint8 ``B×3×S×S`` with their
            margin, on the device; at least one.
        advance: Called with the number of crops done, for a progress bar.
    """
    net = net.to(device).eval()
    keypoints, scores, cells, failed = [], [], [], []
    size = (0, 0)
    for first in range(0, len(crops), batch_size):
        rows = range(first, min(first + batch_size, len(crops)))
        pictures, shown, _ = collate([crops[row] for row in rows])
        pictures, wrong = pictures.to(device), shown != torch.tensor(list(rows))
        if not wrong.all():
            see(pictures[~wrong.to(device)])
        maps = heatmaps_of(net, augment.plain(pictures, size=crops.size).images, flip_index)
        size = (maps.shape[-2], maps.shape[-1])
        points, values = heatmaps.decode(maps, stride=net.stride)
        points[wrong.to(device)], values[wrong.to(device)] = torch.nan, 0.0
        failed += [row for row, bad in zip(rows, wrong.tolist(), strict=True) if bad]
        keypoints.append(points.cpu().numpy())
        scores.append(values.cpu().numpy())
        cells.append(heatmaps.peaks(maps)[0].cpu().numpy())
        advance(len(rows))
    side = (crops.regions[:, 2] - crops.regions[:, 0]).astype(np.float32)
    found = Predictions(
        keypoints=crops.to_image(np.concatenate(keypoints)), scores=np.concatenate(scores), crop_side=side
    )
    return Inferred(predictions=found, cells=np.concatenate(cells), map_size=size, failed=tuple(failed))
