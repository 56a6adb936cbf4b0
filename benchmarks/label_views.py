"""How good pseudo-labels of plain target images are, by one view and by CC-SSL's five, on procedural targets.

    python benchmarks/label_views.py FIGURES_RUN QUADRUPEDS_RUN [--images 96] [--share 0.75] [--table FILE]

Finished ``source_only`` runs label images of each of four targets of their kind, with a share of the target's BatchNorm
statistics (``norm_share.py``). PCK@0.05 of all visible keypoints, and of the half of each keypoint's labels with the
highest peaks. No real label is looked at: ``MultilevelPlusConfig.wide`` was tried for what these rows say.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from norm_share import TARGETS, between, crops, of_target
from torch import Tensor

from poseshift.data import augment
from poseshift.data.crops import Crops
from poseshift.data.loaders import collate
from poseshift.engine.run import open_run
from poseshift.metrics import exact_hits
from poseshift.models.ensemble import WIDE, ensemble
from poseshift.models.pose_net import PoseNet
from poseshift.ops import heatmaps

VIEWS = {"one view": (), "five views": WIDE}


def labels(net: PoseNet, shown: Crops, wide: tuple[tuple[float, float], ...]) -> tuple[Tensor, Tensor]:
    """Points ``N×K×2`` and peaks ``N×K`` of plain images."""
    points, peaks = [], []
    for first in range(0, len(shown), 32):
        pictures, _, _ = collate([shown[row] for row in range(first, min(first + 32, len(shown)))])
        images = augment.plain(pictures, size=shown.size).images
        maps = ensemble(lambda seen: net(seen).heatmaps, images, stride=net.stride, wide=wide)
        points.append(heatmaps.decode(maps, stride=net.stride)[0])
        peaks.append(heatmaps.peaks(maps)[1])
    return torch.cat(points), torch.cat(peaks)


def right(net: PoseNet, shown: Crops, wide: tuple[tuple[float, float], ...]) -> list[float]:
    """Percent of labels that are right: of all, and of the half of each keypoint's that are most certain."""
    points, peaks = labels(net, shown, wide)
    visible = shown.annotations.visible == 2
    side = np.full(len(shown), float(shown.size))
    hit = exact_hits(points.numpy(), shown.keypoints, visible, side).right
    certain = (peaks >= peaks.quantile(0.5, dim=0, keepdim=True)).numpy()
    return [100 * float(hit[kept].mean()) for kept in (visible, visible & certain)]


def rows(path: str, kind: str, images: int, share: float) -> Iterator[tuple[str, list[float]]]:
    """For each target: all and half by one view, all and half by five."""
    run = open_run(path)
    net = run.predictor("last")
    for domain in TARGETS[kind]:
        shown = crops(run, f"{kind}:{domain},side=120,count={images}", "train")
        mixed = between(net, of_target(net, shown), share).eval()
        yield f"{kind} {domain}", [value for wide in VIEWS.values() for value in right(mixed, shown, wide)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("quadrupeds")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--share", type=float, default=0.75)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    heads = [f"{name}, {part}" for name in VIEWS for part in ("all", "half")]
    lines = ["| target | " + " | ".join(heads) + " |", "| --- " * (1 + len(heads)) + "|"]
    everything = []
    for kind in TARGETS:
        for name, found in rows(getattr(given, kind), kind, given.images, given.share):
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
