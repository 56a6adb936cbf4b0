"""A finished tiny run for the tests of this folder; none may change it."""

from __future__ import annotations

import pytest
from tests import tiny

from poseshift.engine.run import Run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of ``source_only``."""
    return tiny.run(tmp_path_factory.mktemp("finished") / "run", change={"steps": 2})
