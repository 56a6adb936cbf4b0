"""Spec strings of the procedural formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poseshift.data.formats import figures as figures_format
from poseshift.data.formats import quadrupeds as quadrupeds_format
from poseshift.data.synth import figures
from poseshift.errors import FormatError, UsageError


def test_options_reach_the_generator() -> None:
    read = figures_format.read("middle, count=7, side=128, seed=3", split="test")
    direct = figures("middle", split="test", count=7, side=128, seed=3)
    assert np.array_equal(read.keypoints, direct.keypoints)
    assert read.images.key(2) == direct.images.key(2)


def test_no_split_is_train_and_a_path_will_do() -> None:
    assert quadrupeds_format.read(Path("source,count=3")).images.key(0) == "quadrupeds/source/train/000000"


@pytest.mark.parametrize("module", [figures_format, quadrupeds_format])
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere", "unknown domain 'nowhere'.*known: source, random, plain, easy, middle, hard"),
        ("", "unknown domain ''"),
        ("source,size=3", "unknown option 'size'.*known: count, side, seed"),
        ("source,count", "no whole number"),
        ("source,count=1.5", "no whole number"),
    ],
)
def test_a_spec_that_does_not_read(module: object, spec: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        module.read(spec)  # type: ignore[attr-defined]


def test_an_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="known: train, val, test"):
        figures_format.read("source", split="dev")
