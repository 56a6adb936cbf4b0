"""What this installation can do, and what a run is."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
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
        "best": run.pointed("best"),
        **{key: manifest.get(key) for key in kept},
    }


def text(found: Mapping[str, Any]) -> str:
    """What either of the above gives, to be read by people: facts a line, scores of checkpoints as a table."""
    lines = []
    for key, value in found.items():
        if key == "checkpoints" and value:
            lines += ["checkpoints:", *_scores(value)]
        elif isinstance(value, Mapping) and value:
            lines += [f"{key}:", *(f"  {name}: {_shown(one)}" for name, one in value.items())]
        elif value not in (None, {}):
            lines.append(f"{key}: {_shown(value)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _scores(checkpoints: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """A line for each checkpoint; a column for each score that one of them has."""
    names = list(dict.fromkeys(name for scores in checkpoints.values() for name in scores))
    rows = [["", *names]]
    for step, scores in checkpoints.items():
        rows.append([step, *("–" if (value := scores.get(name)) is None else f"{value:.1f}" for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [[one[0].ljust(widths[0]), *map(str.rjust, one[1:], widths[1:])] for one in rows]
    return ["  " + "  ".join(row).rstrip() for row in (table if names else table[1:])]
