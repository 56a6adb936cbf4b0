"""What a checkpoint is scored by: agreement without target labels, the source's validation split, monitoring."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from poseshift import metrics
from poseshift.batches import TargetBatch
from poseshift.config import RunConfig
from poseshift.data import augment
from poseshift.data.crops import Crops
from poseshift.data.loaders import Batches, collate
from poseshift.draws import Draws
from poseshift.engine import inference, select
from poseshift.engine.checkpoint import Checkpoint
from poseshift.engine.run import Run
from poseshift.engine.setup import Data, rows_for_scoring
from poseshift.methods.base import Method
from poseshift.models.pose_net import PoseNet


def scores(method: Method, data: Data, batches: Batches, config: RunConfig, *, step: int) -> dict[str, float]:
    """Scores of the method as it is, in percent; the method must be in evaluation mode.

    Labelled data without a visible keypoint gives no score.
    """
    found: dict[str, float] = {}
    predictor, student = method.predictor, method.student
    if not isinstance(predictor, PoseNet) or not isinstance(student, PoseNet):
        return found
    if data.target is not None:
        found["agreement"] = select.agreement(predictor, student, _pairs(data.target, batches, config))
    for name, crops in (("validation", data.validation), ("monitor", data.monitor)):
        if crops is not None:
            found[name] = _mean_pck(predictor, crops, batches.device)
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _mean_pck(net: PoseNet, crops: Crops, device: torch.device) -> float:
    said = inference.infer(net, crops, device=device).predictions
    annotations = crops.annotations
    hits = metrics.exact_hits(said.keypoints, annotations.keypoints, annotations.visible == 2, said.crop_side)
    return 100 * metrics.group_means(metrics.pck(hits), annotations.skeleton)["mean"]


def _pairs(target: Crops, batches: Batches, config: RunConfig) -> Iterator[tuple[TargetBatch, TargetBatch]]:
    """Plain and augmented views of the same target images, equal at every checkpoint."""
    rows = rows_for_scoring(target, config.agreement_images, config.seed)
    for first in range(0, len(rows), config.batch_size):
        crops, ids, _ = collate([target[row] for row in rows[first : first + config.batch_size]])
        crops, ids = crops.to(batches.device), ids.to(batches.device)
        draws = Draws(seed=config.seed, step=first, start=0, count=len(ids), total=len(ids), device=batches.device)
        plain = augment.plain(crops, size=target.size)
        strong = augment.draw(crops, config.augment.student, draws, size=target.size, stream="select")
        yield (
            TargetBatch(student=plain, teacher=(plain,), ids=ids),
            TargetBatch(student=strong, teacher=(plain,), ids=ids),
        )


def best(run: Run, config: RunConfig) -> Checkpoint:
    """The checkpoint of highest agreement; the last one where none was scored or ``selection`` says so."""
    candidates = run.checkpoints()
    if config.selection == "last":
        return candidates[-1]
    return max(candidates, key=lambda one: (one.info["scores"].get("agreement", 0.0), one.step))
