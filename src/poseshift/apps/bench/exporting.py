"""Exported nets against eager torch."""

from __future__ import annotations

import torch

from poseshift.apps.bench.predicting import DEEP, LIGHT, SMALL
from poseshift.apps.bench.timing import Measured
from poseshift.apps.export import onnx_graph
from poseshift.apps.export.speed import ONNX, TORCH, Contest
from poseshift.models.pose_net import PoseNet, PoseNetConfig

KEYPOINTS = 14
NETS: dict[str, tuple[PoseNetConfig, int]] = {"light_128": (LIGHT, 128), "resnet50_256": (DEEP, 256)}
QUICK: dict[str, tuple[PoseNetConfig, int]] = {"small_64": (SMALL, 64)}
REPEATS = {1: 9, 16: 2}
"""Batch to calls of each model."""


def measure(quick: bool) -> dict[str, Measured]:
    """The row ``export``: how many times as fast ONNX is with one image, of the net that gains least.

    Pre- and post-processing are in both. ``detail`` has batches of 16 too.
    """
    onnx_graph.refuse_missing()
    threads, found = torch.get_num_threads(), {}
    for name, (config, size) in (QUICK if quick else NETS).items():
        contest = Contest(PoseNet(config, KEYPOINTS).eval(), size=size, int8=False)
        for batch, repeats in REPEATS.items():
            speed = contest.time(batch=batch, threads=threads, repeats=2 if quick else repeats)
            found[f"{name}_batch_{batch}"] = speed.ratio(ONNX, TORCH)
    alone = min(ratio for name, ratio in found.items() if name.endswith("_batch_1"))
    return {"export": Measured(value=alone, detail=found)}
