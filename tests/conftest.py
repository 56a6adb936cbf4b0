"""Fixtures for all tests, and the check of shapes."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

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
