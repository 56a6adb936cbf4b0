"""Procedural dogs and sheep as a format: the root is for example ``hard,count=500,side=128``."""

from __future__ import annotations

from pathlib import Path

from poseshift.data.synth import QUADRUPED_DOMAINS, quadrupeds
from poseshift.data.synth.spec import read_spec
from poseshift.types import Annotations

SPLITS = ("train", "val", "test")


def read(root: str | Path, *, split: str | None = None) -> Annotations:
    """Dogs and sheep of a procedural domain.

    Args:
        root: ``DOMAIN[,count=N][,side=PIXELS][,seed=S]``.
        split: ``train`` (also where none is given), ``val`` or ``test``.

    Raises:
        FormatError: Unknown domain or option; the message lists the known ones.
        UsageError: Unknown split, or a count or side that cannot be.
    """
    return read_spec("quadrupeds", quadrupeds, tuple(QUADRUPED_DOMAINS), root, split)
