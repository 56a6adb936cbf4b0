"""What this installation can do, and what a run is."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from poseshift.data.formats import FORMATS
from poseshift.data.skeletons import SKELETONS
from poseshift.engine.run import open_run
from poseshift.methods import METHODS
from poseshift.version import __version__

PACKAGES = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "pillow")


def installation() -> dict[str, Any]:
    """Versions, devices, and the names of formats, methods and skeletons."""
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "poseshift": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": ["cpu", *cuda],
        "formats": list(FORMATS),
        "methods": list(METHODS),
        "skeletons": {name: len(skeleton) for name, skeleton in SKELETONS.items()},
    }


def run_summary(path: str | Path) -> dict[str, Any]:
    """The main facts of a run folder. Raises :class:`CheckpointError` where it is none."""
    run = open_run(path)
    manifest = run.manifest
    kept = (
        "version",
        "commit",
        "start",
        "end",
        "outcome",
        "selection",
        "uses_target_labels",
        "command",
        "parents",
        "notes",
    )
    return {
        "run": str(run.path),
        "method": run.config.method.name,
        "model": run.config.model.model_dump(),
        "steps": run.config.steps,
        "keypoints": list(run.skeleton.keypoints),
        "checkpoints": {one.path.name: one.info.get("scores", {}) for one in run.checkpoints()},
        **{key: manifest.get(key) for key in kept},
    }
