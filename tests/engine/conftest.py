"""Tiny runs that tests of this folder share; none may change them, :func:`copy_of` gives one to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import tiny

from poseshift.engine.run import Run, open_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of ``source_only`` with the target's styles left alone: steps 2, 4, 6 were saved."""
    return tiny.run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Run], Run]:
    """A copy of a run, to be damaged."""
    return lambda run: open_run(shutil.copytree(run.path, tmp_path / "copy"))


@pytest.fixture(scope="session")
def parents(tmp_path_factory: pytest.TempPathFactory, finished: Run) -> dict[str, Run]:
    """The runs that an adaptation starts from: ``style``, ``prior`` and ``init``."""
    folder = tmp_path_factory.mktemp("parents")
    style, prior = (
        tiny.run(folder / role, method, {"steps": 2}) for role, method in (("style", "style"), ("prior", "pose_prior"))
    )
    return {"style": style, "prior": prior, "init": finished}


@pytest.fixture(scope="session")
def change(parents: dict[str, Run]) -> dict[str, str]:
    """What an adaptation changes in the settings of a tiny run."""
    return {role: str(run.path) for role, run in parents.items()}
