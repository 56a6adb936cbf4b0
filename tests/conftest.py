"""Fixtures for all tests, and the check of shapes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from tests.forks import Forks

# Before anything imports poseshift: what these modules annotate is checked at every call of every test. An int may
# stand for a float, as static checkers have it. Processes that a test starts run without the check.
CHECKED = ("poseshift.batches", "poseshift.models", "poseshift.ops")
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# A suite that fails by chance blocks who did no wrong: the same examples each time, others when asked for.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("others", derandomize=False)
hypothesis.settings.load_profile("others" if os.environ.get("POSESHIFT_EXPLORE") else "same")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data, which is no part of the repository."""
    named = os.environ.get("POSESHIFT_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set POSESHIFT_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder that takes long to make: once for all processes that run tests; none may change it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts real command lines, each in a process of its own."""
    from tests.forks import Forks

    with Forks(tmp_path_factory.mktemp("streams")) as server:
        yield server
