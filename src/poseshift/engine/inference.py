"""A pose net over crops: batched, shared out over processes, with an optional mirrored second look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from poseshift.data import augment
from poseshift.data.crops import Crops
from poseshift.data.loaders import collate
from poseshift.engine import processes
from poseshift.models.pose_net import PoseNet
from poseshift.ops import collective, heatmaps
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


class _Batch(NamedTuple):
    """What a net says of the crops from row ``first`` on; see :class:`Inferred`."""

    first: int
    keypoints: FloatArray
    scores: FloatArray
    cells: FloatArray
    failed: list[int]
    map_size: tuple[int, int]


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
    see: Callable[[Tensor], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Inferred:
    """Keypoints of every crop.

    Several processes that call this together take a batch each in turn, and all get the whole: the batches, and so the
    bits, are those of one process. With ``see``, where one batch changes what the next one gets, each does all of them.

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
    starts = range(0, len(crops), batch_size)
    own: list[_Batch] = []
    for first in starts if see else starts[collective.rank() :: collective.processes()]:
        rows = range(first, min(first + batch_size, len(crops)))
        pictures, shown, _ = collate([crops[row] for row in rows])
        pictures, wrong = pictures.to(device), shown != torch.tensor(list(rows))
        if see and not wrong.all():
            see(pictures[~wrong.to(device)])
        maps = heatmaps_of(net, augment.plain(pictures, size=crops.size).images, flip_index)
        own.append(_read(maps, wrong, first, stride=net.stride))
        advance(len(rows))
    return _joined(own if see else [one for theirs in processes.gathered(own) for one in theirs], crops)


def _read(maps: Tensor, wrong: Tensor, first: int, *, stride: float) -> _Batch:
    """Keypoints of maps; those of crops that are ``wrong`` (``B``, bool) are NaN."""
    points, values = heatmaps.decode(maps, stride=stride)
    points[wrong.to(maps.device)], values[wrong.to(maps.device)] = torch.nan, 0.0
    return _Batch(
        first=first,
        keypoints=points.cpu().numpy(),
        scores=values.cpu().numpy(),
        cells=heatmaps.peaks(maps)[0].cpu().numpy(),
        failed=[first + row for row in wrong.nonzero().flatten().tolist()],
        map_size=(maps.shape[-2], maps.shape[-1]),
    )


def _joined(batches: list[_Batch], crops: Crops) -> Inferred:
    batches = sorted(batches, key=lambda one: one.first)
    side = (crops.regions[:, 2] - crops.regions[:, 0]).astype(np.float32)
    found = Predictions(
        keypoints=crops.to_image(np.concatenate([one.keypoints for one in batches])),
        scores=np.concatenate([one.scores for one in batches]),
        crop_side=side,
    )
    return Inferred(
        predictions=found,
        cells=np.concatenate([one.cells for one in batches]),
        map_size=batches[0].map_size,
        failed=tuple(row for one in batches for row in one.failed),
    )
