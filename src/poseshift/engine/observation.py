"""What two nets say of the same images: one sees them plain, the other strongly augmented. No label is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from poseshift.data import augment
from poseshift.data.augment_config import AugmentConfig
from poseshift.data.crops import Crops
from poseshift.data.loaders import collate
from poseshift.draws import Draws
from poseshift.engine.inference import heatmaps_of
from poseshift.engine.label_free import TOLERANCE
from poseshift.metrics import BoolArray, distances
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, heatmaps
from poseshift.types import FloatArray, IntArray

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Predictions of ``N`` crops of side ``size``, in pixels of the canonical frame.

    Attributes:
        rows: ``N``, which crop each is; a crop that does not decode, or of which a net says what is not finite, is left
            out.
        keypoints: ``N×K×2`` of the predictor, on plain views.
        scores: ``N×K``, heights of its peaks, raw.
        again: ``N×K×2`` of the student, on augmented views, moved back.
        size: Side of the input.
    """

    rows: IntArray
    keypoints: FloatArray
    scores: FloatArray
    again: FloatArray
    size: int

    @property
    def agreed(self) -> BoolArray:
        """``N×K``: both lie within 5 % of the side of each other."""
        return distances(self.keypoints, self.again) <= TOLERANCE * self.size


@torch.no_grad()
def look(
    predictor: PoseNet,
    student: PoseNet,
    crops: Crops,
    rows: Sequence[int],
    views: AugmentConfig,
    *,
    seed: int,
    device: torch.device,
) -> Seen:
    """Shows crops to both nets; the same arguments give the same views.

    Args:
        predictor: In evaluation mode, on ``device``.
        student: Likewise; the predictor itself where a method has no teacher.
        crops: Of source or target, with the margin of training.
        rows: Which of them.
        views: Of the student; not mirrored here, since points are compared and sides stay.
        seed: Of the views.
        device: Where to compute.
    """
    upright = views.model_copy(update={"flip": 0.0})
    found: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    seen: list[int] = []
    for first in range(0, len(rows), BATCH):
        wanted = list(rows[first : first + BATCH])
        pictures, shown, _ = collate([crops[row] for row in wanted])
        pictures, count = pictures.to(device), len(wanted)
        draws = Draws(seed=seed, step=first, start=0, count=count, total=count, device=device)
        strong = augment.draw(pictures, upright, draws, size=crops.size, stream="trust")
        plain = heatmaps_of(predictor, augment.plain(pictures, size=crops.size).images, None)
        points, scores = heatmaps.decode(plain, stride=predictor.stride)
        again, _ = heatmaps.decode(heatmaps_of(student, strong.images, None), stride=student.stride)
        again = affine.apply(affine.invert(strong.matrix), again)
        finite = (points + again).flatten(1).isfinite().all(1) & scores.isfinite().all(1)
        whole = (shown == torch.tensor(wanted)) & finite.cpu()
        found.append((points[whole].cpu().numpy(), scores[whole].cpu().numpy(), again[whole].cpu().numpy()))
        seen += shown[whole].tolist()
    keypoints, scores_, again_ = (np.concatenate(part).astype(np.float32) for part in zip(*found, strict=True))
    return Seen(rows=np.array(seen, np.int64), keypoints=keypoints, scores=scores_, again=again_, size=crops.size)
