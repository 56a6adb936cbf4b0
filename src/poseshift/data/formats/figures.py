"""Procedural people as a format: the root is a spec string such as ``source`` or ``middle,count=500,side=128``."""

from __future__ import annotations

from pathlib import Path

from poseshift.data.synth import FIGURE_DOMAINS, figures
from poseshift.data.synth.spec import read_spec
from poseshift.types import Annotations

SPLITS = ("train", "val", "test")


def read(root: str | Path, *, split: str | None = None) -> Annotations:
    """People of a procedural domain.

    Args:
        root: ``DOMAIN[,count=N][,side=PIXELS][,seed=S]``.
        split: ``train`` (also where none is given), ``val`` or ``test``.

    Raises:
        FormatError: Unknown domain or option; the message lists the known ones.
        UsageError: Unknown split, or a count or side that cannot be.
    """
    return read_spec("figures", figures, tuple(FIGURE_DOMAINS), root, split)
