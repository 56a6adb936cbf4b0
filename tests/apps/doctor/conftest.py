"""One examination of a domain against itself, which the tests of this folder change; none may alter it."""

from __future__ import annotations

import pytest

from poseshift.apps.doctor import Examination, examine

SMALL = ("common.input_size=64",)


@pytest.fixture(scope="session")
def healthy() -> Examination:
    """Nothing is wrong: source and target are two draws of one domain, boxes are given."""
    source, target = "figures:plain,side=64,count=600", "figures:plain,side=64,count=600,seed=5"
    return examine(source, target, overrides=SMALL, images=40)
