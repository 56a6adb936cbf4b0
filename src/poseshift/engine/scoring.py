"""What a checkpoint is scored by: label-free scores, labelled source images held out, monitoring."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from poseshift import metrics
from poseshift.batches import TargetBatch
from poseshift.config import RunConfig
from poseshift.data import augment
from poseshift.data.crops import Crops
from poseshift.data.loaders import collate
from poseshift.draws import Draws
from poseshift.engine import inference, label_free
from poseshift.engine.data import Data
from poseshift.methods.base import Method
from poseshift.models.pose_net import PoseNet

log = logging.getLogger(__name__)

CONFUSED = 25.0
"""Points of coincidence above the source's labels at which a run is told that its net may not know sides."""


def scores(
    method: Method, data: Data, config: RunConfig, *, step: int, device: torch.device, known: Tensor | None = None
) -> dict[str, float]:
    """Scores of the method as it is, in percent; the method must be in evaluation mode.

    What has nothing to count gives no score: labelled data without a visible keypoint, the coincidence of a skeleton
    without sides, plausibility without ``known`` poses.

    Args:
        method: Of the run.
        data: Of the run; without a target the label-free scores are absent.
        config: Of the run.
        step: For the log.
        device: Where the method is.
        known: Normalised poses ``M×K×2`` of the source.
    """
    found: dict[str, float] = {}
    predictor, student = method.predictor, method.student
    if not isinstance(predictor, PoseNet) or not isinstance(student, PoseNet):
        return found
    if data.target is not None:
        views, sides = _pairs(data.target, config, device), data.skeleton.flip_pairs
        found |= asdict(label_free.label_free(predictor, student, views, sides, known))
        _warn_of_confusion(found["coincidence"], data, step=step)
    for name, crops in (("validation", data.validation), ("monitor", data.monitor)):
        if crops is not None:
            found[name] = _mean_pck(predictor, crops, device)
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _mean_pck(net: PoseNet, crops: Crops, device: torch.device) -> float:
    said = inference.infer(net, crops, device=device).predictions
    annotations = crops.annotations
    hits = metrics.exact_hits(said.keypoints, annotations.keypoints, annotations.visible == 2, said.crop_side)
    return 100 * metrics.group_means(metrics.pck(hits), annotations.skeleton)["mean"]


def _warn_of_confusion(coincidence: float, data: Data, *, step: int) -> None:
    """Warns where the predictor's coincidence is far above that of the source's labels."""
    sides = data.skeleton.flip_pairs
    if data.source is None or not sides:
        return
    shown = data.source.keypoints, data.source.annotations.visible
    usual = label_free.labelled_coincidence(*shown, sides, size=data.source.size)
    if coincidence > usual + CONFUSED:
        log.warning(
            "step %d: left and right fall on one spot in %.0f %% of the pairs (source labels: %.0f %%): the model "
            "may not tell sides; more source steps, restyled source images or method.exclusive_pairs may help",
            *(step, coincidence, usual),
        )


def _pairs(target: Crops, config: RunConfig, device: torch.device) -> Iterator[tuple[TargetBatch, TargetBatch]]:
    """Plain and augmented views of the same target images, equal at every checkpoint."""
    rows = rows_for_scoring(target, config.agreement_images, config.seed)
    upright = config.augment.student.model_copy(update={"flip": 0.0})  # points, not maps, are compared: sides stay
    for first in range(0, len(rows), config.batch_size):
        crops, ids, _ = collate([target[row] for row in rows[first : first + config.batch_size]])
        crops, ids = crops.to(device), ids.to(device)
        draws = Draws(seed=config.seed, step=first, start=0, count=len(ids), total=len(ids), device=device)
        plain = augment.plain(crops, size=target.size)
        strong = augment.draw(crops, upright, draws, size=target.size, stream="select")
        yield (
            TargetBatch(student=plain, teacher=(plain,), ids=ids),
            TargetBatch(student=strong, teacher=(plain,), ids=ids),
        )


def rows_for_scoring(crops: Crops, count: int, seed: int) -> list[int]:
    """``count`` rows (all where there are fewer), the same for every checkpoint of a run."""
    chosen = np.random.default_rng(seed).permutation(len(crops))[:count]
    return [int(row) for row in np.sort(chosen)]
