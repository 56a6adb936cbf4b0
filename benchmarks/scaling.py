"""How the cost of training grows with processes, records and resolution: measured for 1 and 2, modelled beyond.

Writes ``benchmarks/results/scaling.md``.

    python benchmarks/scaling.py [--without-steps]

Measured: seconds a step of ``multilevel`` (without levels) at the same global batch in one process and in two of
``torchrun``, each with one thread, in turns and in both orders; a step of one process with twice the side, with
twice the batch, and with twice the keypoints; what the order of training costs from 10³ to 10⁶ records. Modelled: a
step is compute, then one all-reduce of all gradients, as ``engine/optimise.py`` does it (nothing overlaps), then those
of BatchNorm's statistics. Operations are counted by torch's FLOP counter; rates of machines are assumptions that stand
above the table.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from poseshift.apps.convert import convert
from poseshift.data.loaders import Order, Share
from poseshift.engine.run import open_run
from poseshift.models.pose_net import PoseNet, PoseNetConfig

HERE = Path(__file__).parent
STEPS = 30
BATCH, SIDE = 32, 256
"""Of each stream on each GPU, in the model."""
PASSES = 3 + 3 + 1
"""Of a step, in forward passes: student on source and target with their backwards (twice a forward each), teacher."""
RATE = 0.35 * 989e12
"""Operations a second: 35 % of an H100's dense bf16 rate."""
INSIDE, BETWEEN = 450e9, 50e9
"""Bytes a second: NVLink of one GPU; one 400 Gbit/s device for each GPU to other machines."""
LATENCY = {"inside": 3e-6, "between": 10e-6}
"""Seconds of one message."""


def config(folder: Path, **change: object) -> Path:
    """A run of the method on generated figures."""
    base = {
        "method": {"name": "multilevel", "levels": []},
        "model": {"backbone": "small", "head": "pyramid", "width": 64},
        "source": {"data": "figures:plain,side=80,count=256", "boxes": "whole"},
        "target": {"data": "figures:middle,side=80,count=256", "boxes": "whole"},
        "input_size": 64, "batch_size": 32, "steps": STEPS, "save_every": STEPS, "log_every": 5, "device": "cpu",
    }  # fmt: skip
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**base, **change}))
    return file


def doubled(folder: Path, spec: str) -> str:
    """The data of ``spec`` as COCO files, in which every keypoint stands twice."""
    converted = folder / spec.partition(":")[2].partition(",")[0]
    convert(spec, f"coco:{converted}")
    file = converted / "labels.json"
    labels = json.loads(file.read_text())
    for category in labels["categories"]:
        category["keypoints"] += [f"again_{name}" for name in category["keypoints"]]
    for one in labels["annotations"]:
        one["keypoints"] *= 2
        one["num_keypoints"] *= 2
    file.write_text(json.dumps(labels))
    return f"coco:{file}"


def seconds(processes: int, **change: object) -> float:
    """Of a step: the median over what the log says, without the first steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launch if processes > 1 else []), "-m", "poseshift", "train"]
        done = subprocess.run(
            [*command, str(config(folder, **change)), "--out", str(folder / "run"), "--quiet"],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        lines = [line["seconds_per_step"] for line in open_run(folder / "run").metrics() if "seconds_per_step" in line]
    return median(lines[1:])


def measured(folder: Path) -> list[str]:
    """Rows of the table of measurements; files that they need go to ``folder``."""
    data = {
        role: {"data": doubled(folder, f"figures:{domain},side=80,count=256"), "boxes": "whole"}
        for role, domain in (("source", "plain"), ("target", "middle"))
    }
    cases: dict[str, tuple[int, dict[str, object]]] = {
        "one process": (1, {}),
        "two processes, the same global batch": (2, {}),
        "twice the side": (1, {"input_size": 128}),
        "twice the batch": (1, {"batch_size": 64}),
        "twice the keypoints": (1, dict(data)),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(2):
        for name in list(cases)[:: -1 if turn else 1]:
            count, change = cases[name]
            times[name].append(seconds(count, **change))
    one = median(times["one process"])
    rows = ["| case | s a step ÷ one process |", "|---|---:|"]
    return rows + [f"| {name} | {median(found) / one:.2f} |" for name, found in times.items()]


def records() -> list[str]:
    """Rows of what the order of training costs, from a thousand records to a million."""
    rows = ["| records | ms to begin an epoch | µs a step of 32 |", "|---:|---:|---:|"]
    for count in (10**3, 10**4, 10**5, 10**6):
        began = time.perf_counter()
        order = Order(count, Share.of(32), seed=0, stream="source")
        order.at(0)
        first = time.perf_counter() - began
        began = time.perf_counter()
        for step in range(1, 1 + count // 32):
            order.at(step % (count // 32))
        each = (time.perf_counter() - began) / (count // 32)
        rows.append(f"| {count:,} | {first * 1e3:.1f} | {each * 1e6:.0f} |")
    return rows


def operations(net: nn.Module, side: int) -> int:
    """Of one forward pass of one image."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net(torch.empty(1, 3, side, side))
    return int(counter.get_total_flops())


def reduced(nbytes: float, gpus: int) -> float:
    """Seconds of an all-reduce over the 8 GPUs of a machine, then over machines: bytes of a ring, waits of a tree."""
    local, machines = min(gpus, 8), max(1, gpus // 8)
    inside = 2 * (local - 1) / local * nbytes / INSIDE + 2 * math.log2(local) * LATENCY["inside"]
    between = 2 * (machines - 1) / machines * nbytes / local / BETWEEN + 2 * math.log2(machines) * LATENCY["between"]
    return inside + between


def modelled(backbone: str) -> list[str]:
    """Rows of one net for 1 to 512 GPUs."""
    with torch.device("meta"):
        net = PoseNet(PoseNetConfig(backbone=backbone), 16)
    weights = 4 * sum(p.numel() for p in net.parameters())
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    compute = PASSES * BATCH * operations(net.eval(), SIDE) / RATE
    rows = []
    for gpus in (1, 8, 64, 512):
        # Three passes synchronise their statistics, two of them also going back, one small message for each layer.
        small = 5 * sum(reduced(8 * m.num_features, gpus) for m in norms) if gpus > 1 else 0.0
        reduce = reduced(weights, gpus)
        rows.append(
            f"| {backbone} | {gpus} | {compute * 1e3:.1f} | {weights / 2**20:.0f} | {reduce * 1e3:.2f} | "
            f"{small * 1e3:.2f} | {compute / (compute + reduce + small):.2f} |"
        )
    return rows


def main() -> None:
    head = (
        "| net | GPUs | compute, ms | gradients, MiB | their all-reduce, ms | BatchNorm's, ms | efficiency |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    assumed = (
        f"Assumed: {BATCH} images of each stream on each GPU at {SIDE} px, {RATE / 1e12:.0f} Tflop/s, "
        f"{INSIDE / 1e9:.0f} GB/s to the GPUs of a machine (8), {BETWEEN / 1e9:.0f} GB/s from each GPU to other "
        f"machines, {LATENCY['inside'] * 1e6:.0f} and {LATENCY['between'] * 1e6:.0f} µs a message; nothing "
        "overlaps. No such machine was at hand: this is a model."
    )
    steps = ["Steps were not measured in this run."]
    if "--without-steps" not in sys.argv:
        with tempfile.TemporaryDirectory() as name:
            steps = measured(Path(name))
    load = json.dumps([round(x, 1) for x in os.getloadavg()])
    text = [
        "# Cost of a step", "", f"`python {' '.join(sys.argv)}`; torch {torch.__version__}, {os.cpu_count()} cores, "
        f"load {load}.", "", "## Measured", "", *steps, "", *records(), "", "## Modelled", "", assumed, "", head,
        *modelled("resnet101"), *modelled("mobilenetv2_100"), "",
    ]  # fmt: skip
    (HERE / "results" / "scaling.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
