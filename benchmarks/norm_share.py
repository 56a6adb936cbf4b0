"""How much of the target's BatchNorm statistics a source-only net wants, on procedural targets.

    python benchmarks/norm_share.py FIGURES_RUN QUADRUPEDS_RUN [--images 256] [--table FILE]

PCK@0.05 of finished ``source_only`` runs on each of four targets of their kind, where every BatchNorm layer normalises
by ``(1 - α)`` of the source's statistics and ``α`` of the target's (plain images of its train split; scored is its test
split). No real label is looked at: ``MultilevelPlusConfig.teacher_bn_share`` was chosen by the mean of the eight rows.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import torch

from poseshift.data import augment
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.loaders import collate
from poseshift.engine import evaluate, inference
from poseshift.engine.run import Run, open_run
from poseshift.models.batch_norms import layers_of
from poseshift.models.pose_net import PoseNet

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
TARGETS = {"figures": ("plain", "easy", "middle", "random"), "quadrupeds": ("easy", "middle", "hard", "random")}


def crops(run: Run, data: str, split: str) -> Crops:
    """Whole images of a procedural data set at the run's input size."""
    labelled = evaluate.labelled(run, data, split)
    return Crops(labelled, CropConfig(boxes="whole"), size=run.config.input_size, cache_bytes=2**28)


@torch.no_grad()
def of_target(net: PoseNet, shown: Crops, batch_size: int = 32) -> PoseNet:
    """The net with the statistics of plain target images."""
    other = copy.deepcopy(net).train()
    for layer in layers_of(other):
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
    for first in range(0, len(shown), batch_size):
        pictures, _, _ = collate([shown[row] for row in range(first, min(first + batch_size, len(shown)))])
        other(augment.plain(pictures, size=shown.size).images)
    return other.eval()


def between(net: PoseNet, other: PoseNet, share: float) -> PoseNet:
    """``net`` with ``share`` of the statistics of ``other``."""
    mixed = copy.deepcopy(net)
    for layer, target in zip(layers_of(mixed), layers_of(other), strict=True):
        for name in ("running_mean", "running_var"):
            getattr(layer, name).lerp_(getattr(target, name), share)
    return mixed


def rows(path: str, kind: str, images: int) -> Iterator[tuple[str, list[float]]]:
    """PCK@0.05 at every share, for each target."""
    run = open_run(path)
    net = run.predictor("last")
    for domain in TARGETS[kind]:
        data = f"{kind}:{domain},side=120,count={images}"
        scored = crops(run, data, "test")
        other, found = of_target(net, crops(run, data, "train")), []
        for share in SHARES:
            said = inference.infer(between(net, other, share), scored, device=torch.device("cpu"))
            table = evaluate.score(scored, said, stride=net.stride, protocol="exact")
            found.append(float(table["visible"]["pck@0.05"]))
        yield f"{kind} {domain}", found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("quadrupeds")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    lines = ["| target | " + " | ".join(f"{share:g}" for share in SHARES) + " |", "| --- " * (1 + len(SHARES)) + "|"]
    everything = []
    for kind in TARGETS:
        for name, found in rows(getattr(given, kind), kind, given.images):
            everything.append(found)
            lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in found) + " |")
            print(lines[-1], flush=True)
    means = [sum(column) / len(everything) for column in zip(*everything, strict=True)]
    lines.append("| mean | " + " | ".join(f"{value:.1f}" for value in means) + " |")
    print(lines[-1])
    if given.table:
        given.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
