"""Tiny runs that many tests share: 32 px, a small net, procedural figures, a step in some ten milliseconds."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from poseshift import cli, config
from poseshift.config import RunConfig
from poseshift.data.images import ImageFiles
from poseshift.engine.label_free import LabelFree
from poseshift.engine.run import Run
from poseshift.engine.train import train
from poseshift.models.pose_net import PoseOutput
from poseshift.ops import heatmaps
from poseshift.types import Annotations, Skeleton

# 32 px give two threads nothing to do but wait for each other, and the bits of one are those of ``environment()``.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
SOURCE = "figures:source,side=48,count=16"
TARGET = "figures:middle,side=48,count=12"

COMMON: dict[str, Any] = {
    "source": {"data": SOURCE, "boxes": "whole"},
    "target": {"data": TARGET, "boxes": "whole"},
    "model": {"backbone": "small", "head": "pyramid", "width": 16, "stride": 4},
    "heatmap": {"sigma": 1.0},
    "input_size": 32,
    "batch_size": 4,
    "steps": 6,
    "save_every": 2,
    "log_every": 2,
    "norms_every": 3,
    "agreement_images": 4,
    "optimiser": {"rate": 0.002},
    "device": "cpu",
}
"""Settings of a tiny run; what a test changes is laid over them."""

METHODS: dict[str, dict[str, Any]] = {
    "style": {},
    "source_only": {"ema_decay": 0.5},
    "uniframe": {"ema_decay": 0.5, "occlusion_threshold": 0.0},
    "multilevel": {"ema_decay": 0.5, "occlusion_threshold": 0.0},
    "multilevel_plus": {"ema_decay": 0.5, "occlusion_threshold": 0.0},
    "ccssl": {"ema_decay": 0.5, "refresh_every": 4},
    "dann": {"ema_decay": 0.5},
    "uda_animal": {"ema_decay": 0.5},
    "regda": {"ema_decay": 0.5},
    "shot": {"refresh_every": 4, "encoder_rate_scale": 1.0},
    "maps": {"refresh_every": 4, "ema_decay": 0.5},
    "sfdahpe": {"ema_decay": 0.5},
    "bn_adapt": {},
    "post": {"ema_decay": 0.5, "occlusion_threshold": 0.0},
    "pose_prior": {"net": {"width": 32, "layers": 2}},
}
"""Options that make every part of a method work within a few steps."""


def settings(method: str = "source_only", change: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of a tiny run with ``change`` laid over it."""
    raw = config.merge(COMMON, {"method": {"name": method, **METHODS[method]}})
    parsed: RunConfig = config.parse(config.merge(raw, change or {}))
    return parsed


def run(folder: Path, method: str = "source_only", change: Mapping[str, Any] | None = None) -> Run:
    """A tiny run, trained in this process."""
    return train(settings(method, change), folder, command="test", quiet=True)


def write_config(file: Path, method: str = "source_only", change: Mapping[str, Any] | None = None) -> Path:
    """The configuration as a file for the command line."""
    file.write_text(config.dump(settings(method, change)), encoding="utf-8")
    return file


def environment() -> dict[str, str]:
    """Of a process that computes on one core, in plain text, as this checkout is."""
    plain = {"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **plain, "PYTHONPATH": str(ROOT / "src")}


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -c CODE ARGUMENTS`` in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=240)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m poseshift WORDS`` in a process of its own."""
    line = [sys.executable, "-m", "poseshift", *words]
    return subprocess.run(line, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=240)


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """``poseshift WORDS`` in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["poseshift", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def weights(run: Run, which: str = "method") -> dict[str, torch.Tensor]:
    """Tensors of the run's last checkpoint."""
    return load_file(run.checkpoint("last").path / f"{which}.safetensors")


def same_tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two state dicts are bit-identical."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def lines(run: Run) -> list[dict[str, Any]]:
    """``metrics.jsonl`` without what depends on the clock."""
    return [{key: value for key, value in line.items() if key != "seconds_per_step"} for line in run.metrics()]


def scored(**values: float) -> LabelFree:
    """Scores that a test makes up; NaN for those that it does not name."""
    return LabelFree(**{**{field.name: math.nan for field in dataclasses.fields(LabelFree)}, **values})


def photos(folder: Path, count: int, *, size: tuple[int, int] = (52, 40), seed: int = 0) -> list[Path]:
    """JPEG files of noise blown up, ``size`` is (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    files = []
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        files.append(folder / f"photo{number:02}.jpg")
        coarse.resize(size).save(files[-1])
    return files


def whole_images(files: Sequence[Path]) -> Annotations:
    """An instance a file, its box the whole image, without keypoints."""
    images, count = ImageFiles(root=Path(), paths=tuple(map(str, files)), allow_outside=True), len(files)
    return Annotations(
        name="inputs",
        images=images,
        image_index=np.arange(count),
        skeleton=Skeleton(name="none", keypoints=()),
        keypoints=np.zeros((count, 0, 2), np.float32),
        visible=np.zeros((count, 0), np.uint8),
        boxes=np.array([(-0.5, -0.5, w - 0.5, h - 0.5) for w, h in map(images.size, range(count))], np.float32),
        groups=np.arange(1, count + 1).astype(np.str_),
        categories=np.full(count, "1"),
    )


def coco(
    file: Path, images: Sequence[Path], names: Sequence[str], *, seed: int = 0, boxes: bool = True
) -> dict[str, Any]:
    """Writes a COCO keypoint file for ``images`` (beside ``file``) with one instance each; returns the document."""
    generator = np.random.default_rng(seed)
    annotations = []
    for number, _ in enumerate(images):
        points = generator.uniform(8, 32, (len(names), 2)).round(2)
        flat = [value for x, y in points for value in (float(x), float(y), 2)]
        box = {"bbox": [4.0, 4.0, 36.0, 30.0]} if boxes else {}
        annotations.append({"id": number + 1, "image_id": number + 1, "category_id": 1, "keypoints": flat, **box})
    document = {
        "images": [
            {"id": number + 1, "file_name": image.relative_to(file.parent).as_posix(), "width": 52, "height": 40}
            for number, image in enumerate(images)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing", "keypoints": list(names)}],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return document


class Says(nn.Module):
    """A pose net that says the same whatever it sees: ``points``, ``K×2`` in pixels of its input."""

    def __init__(self, points: Sequence[Sequence[float]], *, stride: int = 4) -> None:
        super().__init__()
        self.points, self.stride, self.logit_sigma = torch.tensor(points, dtype=torch.float32), stride, None

    def forward(self, images: torch.Tensor) -> PoseOutput:
        size = (images.shape[-2] // self.stride, images.shape[-1] // self.stride)
        points = self.points.expand(len(images), -1, -1)
        maps, _ = heatmaps.encode(points, torch.ones(points.shape[:2]), size, stride=self.stride, sigma=1.0)
        return PoseOutput(maps, maps)
