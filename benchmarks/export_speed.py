"""How fast exported models are beside eager torch, and what eight-bit integers cost.

    python benchmarks/export_speed.py --runs demo=runs/demo/adapt --data figures:middle,side=80,count=1000

Speed: ``mobilenetv2_100`` with the light head at 128 and 256 px and ``resnet50`` with the published one at 256 px, in
eager torch, as ONNX by onnxruntime and quantised to int8, with pre- and post-processing in all of them. The models
take turns in one process, every other time in the opposite order; a ratio is the median over neighbours. With one
thread the clock is that thread's processor time, which other processes of a busy machine do not count into; with more
it is the wall. Weights are random, images noise: neither changes the time.

Loss: PCK@0.05 of visible keypoints (mean of the skeleton's groups, in percent) of each run on labelled data, by torch,
ONNX and int8, whose ranges come from the run's own unlabelled images. Without ``--runs`` a small net is trained for
``--steps`` first. Writes ``benchmarks/results/export-speed.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from poseshift import config, metrics
from poseshift.apps.export import RANGES, onnx_graph, parity, pictures, provenance
from poseshift.apps.export.graph import Deployed
from poseshift.apps.export.quantise import to_int8
from poseshift.apps.export.speed import INT8, ONNX, TORCH, Contest, Speed
from poseshift.apps.exported import Exported
from poseshift.data.crops import Crops
from poseshift.engine import evaluate, inference
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.models.pose_net import PoseNet, PoseNetConfig
from poseshift.types import VISIBLE, FloatArray

RESULTS = Path(__file__).parent / "results"
NETS = {
    "mobilenetv2_100 128": (PoseNetConfig(backbone="mobilenetv2_100", head="pyramid", width=64), 128),
    "mobilenetv2_100 256": (PoseNetConfig(backbone="mobilenetv2_100", head="pyramid", width=64), 256),
    "resnet50 256": (PoseNetConfig(backbone="resnet50", head="deconv", width=256), 256),
}
KEYPOINTS = 14
REPEATS = {"mobilenetv2_100 128": {1: 20, 16: 4}, "mobilenetv2_100 256": {1: 12, 16: 3}, "resnet50 256": {1: 6, 16: 2}}
"""Batch to counted calls of each model."""
BRIEF = {
    "method": {"name": "source_only"},
    "source": {"data": "figures:plain,side=80,count=4000", "boxes": "whole"},
    "target": {"data": "figures:middle,side=80,count=2000", "boxes": "whole"},
    "model": {"backbone": "small", "head": "pyramid", "width": 32},
    "heatmap": {"sigma": 1.5},
    "input_size": 64,
    "optimiser": {"rate": 0.003, "schedule": "cosine"},
}


@dataclass(frozen=True)
class Accuracy:
    """PCK@0.05 of one run in percent, by each model; ``within``: keypoints that int8 leaves near where they were."""

    name: str
    images: int
    pck: dict[str, float]
    within: float


def speeds(name: str, *, threads: tuple[int, ...], repeats: dict[int, int]) -> list[Speed]:
    """Times one net, batch by batch."""
    model, size = NETS[name]
    torch.manual_seed(0)
    contest = Contest(PoseNet(model, KEYPOINTS).eval(), size=size)
    return [contest.time(batch=batch, threads=count, repeats=repeats[batch]) for count in threads for batch in repeats]


def brief(folder: Path, steps: int) -> Run:
    """A run of some minutes."""
    settings = config.parse(config.merge(BRIEF, {"steps": steps, "save_every": steps, "device": "cpu"}))
    return train(settings, folder, command="benchmarks/export_speed.py", quiet=True)


def accuracy(name: str, run: Run, data: str, split: str | None, *, ranges: int = RANGES) -> Accuracy:
    """Scores one run by torch, ONNX and int8."""
    annotations = evaluate.labelled(run, data, split)
    crops = Crops(annotations, evaluate.default_crop(run, annotations), size=run.config.input_size)
    net = run.predictor("best")
    deployed = Deployed(net, size=run.config.input_size, flip_index=None, calibration=None).eval()
    said = provenance.metadata(run, run.checkpoint("best"), flip_test=False, calibration=None, quantised=None)
    graph = onnx_graph.to_onnx(deployed)
    shown, _ = pictures.crops_of(run, ranges)
    known = parity.truth(net, shown, flip_index=None, calibration=None)
    models = {ONNX: graph, INT8: to_int8(graph, known.images)}
    found = {TORCH: inference.infer(net, crops, device=torch.device("cpu")).predictions.keypoints}
    for kind, model in models.items():
        found[kind] = keypoints_of(Exported(onnx_graph.completed(model, said, size=crops.size)), crops)
    moved = np.linalg.norm(found[INT8] - found[TORCH], axis=-1) / _sides(crops)[:, None]
    pck = {kind: mean_pck(points, crops) for kind, points in found.items()}
    return Accuracy(name, len(crops), pck, 100 * float((moved <= 0.05).mean()))


def _sides(crops: Crops) -> FloatArray:
    return crops.regions[:, 2] - crops.regions[:, 0]


def keypoints_of(model: Exported, crops: Crops, *, batch: int = 16) -> FloatArray:
    """``N×K×2`` in image pixels."""
    starts = range(0, len(crops), batch)
    rows = [list(range(first, min(first + batch, len(crops)))) for first in starts]
    return np.concatenate([model(pictures.pixels(crops, some), crops.regions[some])[0] for some in rows])


def mean_pck(keypoints: FloatArray, crops: Crops) -> float:
    """Percent of the visible keypoints, by the mean of the skeleton's groups."""
    truth = crops.annotations
    hits = metrics.exact_hits(keypoints, truth.keypoints, truth.visible == VISIBLE, _sides(crops))
    return 100 * metrics.group_means(metrics.pck(hits), truth.skeleton)["mean"]


def text(timed: dict[str, list[Speed]], scored: list[Accuracy], head: str) -> str:
    """The result as Markdown."""
    lines = ["# Exported models: speed, and what int8 costs", "", head, ""]
    lines += ["| net, px | threads | batch | calls | torch ms | ONNX ms | int8 ms | ONNX ÷ torch | int8 ÷ torch |"]
    lines[-1] += " int8 ÷ ONNX |"
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for name, rows in timed.items():
        for one in rows:
            times = " | ".join(f"{1000 * one.median(kind):.1f}" for kind in (TORCH, ONNX, INT8))
            pairs = ((ONNX, TORCH), (INT8, TORCH), (INT8, ONNX))
            ratios = " | ".join(f"{one.ratio(*pair):.2f}" for pair in pairs)
            count = len(one.seconds[TORCH])
            lines.append(f"| {name} | {one.threads} | {one.batch} | {count} | {times} | {ratios} |")
    lines += ["", "| run | images | torch | ONNX | int8 | loss of int8 | keypoints that int8 moves less than 0.05 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in scored:
        values = " | ".join(f"{row.pck[kind]:.2f}" for kind in (TORCH, ONNX, INT8))
        lines.append(
            f"| {row.name} | {row.images} | {values} | {row.pck[ONNX] - row.pck[INT8]:.2f} | {row.within:.1f} % |"
        )
    return "\n".join(lines).replace("| -", "| −") + "\n"


def machine() -> str:
    """What was measured on."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    vnni = "with" if "vnni" in flags else "without"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    return f"{os.cpu_count()} cores {vnni} VNNI, Python {platform.python_version()}, {versions}, load averages {load}"


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--data", nargs="+", default=["figures:middle,side=80,count=1000"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=RESULTS / "export-speed.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        named = dict(word.split("=", 1) for word in options.runs)
        runs = {name: open_run(path) for name, path in named.items()} or {"brief": brief(Path(folder), options.steps)}
        scored = [
            accuracy(f"{name}, {data}", run, data, options.split) for name, run in runs.items() for data in options.data
        ]
    threads = tuple(options.threads)
    timed = {name: speeds(name, threads=threads, repeats=REPEATS[name]) for name in options.nets}
    head = f"`benchmarks/export_speed.py`, {machine()} at the end. PCK@0.05 in percent, split {options.split}."
    options.out.write_text(text(timed, scored, head), encoding="utf-8")
    print(text(timed, scored, head))


if __name__ == "__main__":
    main()
