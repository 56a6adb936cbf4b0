"""A tiny recipe, and one comparison of it that tests of this folder share; none may change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import tiny

from poseshift import config
from poseshift.apps.compare import Comparison, compare

STEPS = 2
RECIPE: dict[str, Any] = {
    "common": {**tiny.COMMON, "steps": STEPS, "save_every": STEPS, "log_every": 1, "norms_every": 0},
    "stages": {
        "style": {"method": {"name": "style"}, "steps": 1},
        "source": {"method": {"name": "source_only"}},
        "multilevel": {
            "method": {"name": "multilevel", "ema_decay": 0.5, "occlusion_threshold": 0.0},
            "init": "source",
            "style": "style",
        },
    },
    "methods": {
        "dann": {"method": {"domain_weight": 0.2}, "optimiser": {"rate": 0.003}},
        "regda": {"optimiser": {"rate": 1e30}},  # its second step is not finite
    },
    "study": {"test": {"data": tiny.TARGET, "boxes": "whole", "splits": ["test"]}},
}


def write_recipe(file: Path, change: dict[str, Any] | None = None) -> Path:
    """The tiny recipe, with a change laid over it, as a file."""
    file.write_text(yaml.safe_dump(config.merge(RECIPE, change or {}), sort_keys=False), encoding="utf-8")
    return file


def state(folder: Path) -> dict[str, int]:
    """When each file of all runs was written."""
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in (folder / "runs").rglob("*")}


@dataclass(frozen=True)
class Made:
    """What one call of ``compare`` left."""

    recipe: Path
    out: Path
    found: Comparison
    said: list[str]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four methods, of which one fails, over two seeds."""
    folder = tmp_path_factory.mktemp("compared")
    recipe, said = write_recipe(folder / "tiny.yaml"), list[str]()
    found = compare(
        recipe,
        folder / "out",
        methods=["source", "multilevel", "dann", "regda", "shot"],
        seeds=(0, 1),
        command="poseshift compare …",
        quiet=True,
        say=said.append,
    )
    return Made(recipe, folder / "out", found, said)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny recipe with changes."""
    return lambda change=None: write_recipe(tmp_path / "tiny.yaml", change)
