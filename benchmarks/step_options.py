"""What is off by default in a step, and what it would cost or save here, side by side.

For each net: source and target through the student in two passes and in one; the step of Adam over lists of tensors and
fused; bf16 instead of 32 bits; and, with ``--compile``, a compiled pass beside the plain one. ::

    python benchmarks/step_options.py --compile --table benchmarks/results/step-options.md
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from poseshift.apps.bench.timing import Job, medians
from poseshift.models import one_pass
from poseshift.models.pose_net import PoseNet, PoseNetConfig

KEYPOINTS = 14


@dataclass(frozen=True)
class Case:
    """A net with the size and number of images of each domain."""

    model: PoseNetConfig
    size: int
    batch: int
    repeats: int

    @property
    def name(self) -> str:
        return f"{self.model.backbone}, {self.size} px, {self.batch} + {self.batch} images"


CASES = {
    "light": Case(PoseNetConfig(backbone="mobilenetv2_100", head="pyramid", width=64), 128, 16, 6),
    "deep": Case(PoseNetConfig(backbone="resnet50", head="deconv", width=256), 256, 8, 2),
    "tiny": Case(PoseNetConfig(backbone="small", head="pyramid", width=16), 32, 4, 1),
}
Row = tuple[str, str, str, float, float]


def step(net: PoseNet, images: tuple[Tensor, Tensor], *, together: bool = False, bf16: bool = False) -> None:
    """Forward and backward of source and target."""
    net.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs = one_pass.outputs(net, images) if together else [net(one) for one in images]
    torch.stack([one.heatmaps.float().square().mean() for one in outputs]).sum().backward()


def rows(case: Case, *, compiled: bool) -> list[Row]:
    """Name of the net, what is compared, with what, and the median seconds of both."""
    torch.manual_seed(0)
    net = PoseNet(case.model, keypoints=KEYPOINTS).to(memory_format=torch.channels_last).train()
    pair = [torch.randn(case.batch, 3, case.size, case.size) for _ in range(2)]
    images = (
        pair[0].contiguous(memory_format=torch.channels_last),
        pair[1].contiguous(memory_format=torch.channels_last),
    )
    plain = "two passes, 32 bits"
    jobs: dict[str, Job] = {
        plain: lambda: step(net, images),
        "one pass": lambda: step(net, images, together=True),
        "bf16": lambda: step(net, images, bf16=True),
    }
    found = [(case.name, name, plain, *taken) for name, taken in against(jobs, plain, case.repeats)]
    found += [(case.name, name, "Adam over lists", *taken) for name, taken in optimisers(net, images)]
    return found + (compilation(net, images, case) if compiled else [])


def against(jobs: dict[str, Job], base: str, repeats: int) -> list[tuple[str, tuple[float, float]]]:
    taken = medians(jobs, repeats=repeats)
    return [(name, (taken[name], taken[base])) for name in jobs if name != base]


def optimisers(net: PoseNet, images: tuple[Tensor, Tensor]) -> list[tuple[str, tuple[float, float]]]:
    """Adam's step alone, on equal weights and gradients."""
    jobs: dict[str, Job] = {}
    for name, options in {"Adam over lists": {"foreach": True}, "Adam fused": {"fused": True}}.items():
        own = copy.deepcopy(net)
        step(own, images)
        jobs[name] = torch.optim.Adam(own.parameters(), lr=1e-6, **options).step  # type: ignore[arg-type]
    return against(jobs, "Adam over lists", 10)


def compilation(net: PoseNet, images: tuple[Tensor, Tensor], case: Case) -> list[Row]:
    """As ``compile: true`` does it: backbone and head, each when first called."""
    own = copy.deepcopy(net)
    for part in (own.backbone, own.head):
        part.compile()
    began = time.perf_counter()
    step(own, images)
    first = time.perf_counter() - began
    plain = "two passes, 32 bits"
    taken = against({plain: lambda: step(net, images), "compiled": lambda: step(own, images)}, plain, case.repeats)
    return [(case.name, f"{name} (the first took {first:.0f} s)", plain, *pair) for name, pair in taken]


def table(found: list[Row], load: float) -> str:
    lines = [
        "Forward and backward of the student on source and target, and the optimiser's step alone; medians of "
        f"alternating calls, {torch.get_num_threads()} thread(s), torch {torch.__version__}, load {load:.1f} before.",
        "",
        "| net | what | ms | instead of | ms | ratio |",
        "|---|---|---:|---|---:|---:|",
    ]
    lines += [
        f"| {net} | {what} | {1e3 * one:.0f} | {base} | {1e3 * other:.0f} | {one / other:.2f} |"
        for net, what, base, one, other in found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--nets", nargs="+", choices=list(CASES), default=["light", "deep"])
    parser.add_argument("--compile", action="store_true", help="too; takes a minute or two a net, and a C++ compiler")
    parser.add_argument("--table", type=Path, help="where the table is written; else it is printed")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    found = [row for name in given.nets for row in rows(CASES[name], compiled=given.compile)]
    if given.table:
        given.table.write_text(table(found, load), encoding="utf-8")
    else:
        print(table(found, load), end="")


if __name__ == "__main__":
    main()
