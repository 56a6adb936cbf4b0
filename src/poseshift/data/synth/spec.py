"""Spec strings such as ``middle,count=500,side=128,seed=3``, which stand where a folder stands for real data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from poseshift.data.synth.pictures import COUNTS
from poseshift.errors import FormatError, UsageError
from poseshift.types import Annotations

_OPTIONS = ("count", "side", "seed")


def read_spec(
    name: str, draw: Callable[..., Annotations], domains: tuple[str, ...], root: str | Path, split: str | None
) -> Annotations:
    """Annotations of a spec string.

    Args:
        name: Of the format, for messages.
        draw: ``figures`` or ``quadrupeds``.
        domains: Names that ``draw`` knows.
        root: The spec: a domain, then ``count``, ``side`` and ``seed`` as ``key=value``, separated by commas.
        split: ``train``, ``val``, ``test``; none means ``train``.

    Raises:
        FormatError: The spec does not read so.
        UsageError: Unknown split, or a value that cannot be.
    """
    domain, *words = [word.strip() for word in str(root).split(",")]
    if domain not in domains:
        raise FormatError(f"{name}: unknown domain {domain!r} in {str(root)!r}; known: {', '.join(domains)}")
    options: dict[str, int] = {}
    for word in words:
        key, _, value = (piece.strip() for piece in word.partition("="))
        if key not in _OPTIONS:
            raise FormatError(f"{name}: unknown option {key!r} in {str(root)!r}; known: {', '.join(_OPTIONS)}")
        try:
            options[key] = int(value)
        except ValueError:
            raise FormatError(f"{name}: {key}={value!r} in {str(root)!r} is no whole number; write {key}=500") from None
    if split is not None and split not in COUNTS:
        raise UsageError(f"{name}: unknown split {split!r}; known: {', '.join(COUNTS)}")
    return draw(domain, split=split or "train", **options)
