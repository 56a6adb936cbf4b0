"""One small sweep that tests of this folder share; none may change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.apps.compare.conftest import write_recipe

from poseshift.apps.sweep import Swept, sweep

GRID = {"method.domain_weight": [0.01, 0.1, 1.0], "method.occlusion": [True, False]}
ONE_STEP = {"common": {"steps": 1, "save_every": 1}}


@dataclass(frozen=True)
class Made:
    """What one call of ``sweep`` left."""

    recipe: Path
    out: Path
    found: Swept


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three weights by two switches, of one seed."""
    folder = tmp_path_factory.mktemp("swept")
    recipe = write_recipe(folder / "tiny.yaml", ONE_STEP)
    return Made(recipe, folder / "out", sweep(recipe, folder / "out", grid=GRID, seeds=(0,), quiet=True))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny recipe with changes."""
    return lambda change=None: write_recipe(tmp_path / "tiny.yaml", change or ONE_STEP)
