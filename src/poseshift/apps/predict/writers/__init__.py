"""Files of predictions: one format, one file.

A writer has ``SUFFIXES``, ``check`` (raises before any work is done where the inputs cannot be written so, or a package
is missing) and ``write``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result
from poseshift.apps.predict.writers import coco, deeplabcut, lightning_pose, parquet, table
from poseshift.errors import UsageError


class Writer(Protocol):
    """What a module of this package has."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """Endings that it writes."""

    def check(self, out: Path, inputs: Inputs, *, several: bool) -> None:
        """Raises :class:`UsageError` where these inputs, with several instances an image, cannot be written."""

    def write(self, result: Result, file: Path) -> None:
        """Writes ``file``, which may have any name."""


WRITERS: dict[str, Writer] = {
    "coco": coco,
    "table": table,
    "deeplabcut": deeplabcut,
    "lightning_pose": lightning_pose,
    "parquet": parquet,
}
ENDINGS = {".json": "coco", ".csv": "table", ".h5": "deeplabcut", ".parquet": "parquet"}
"""The format of a name where none is asked for; of one video, a csv is DeepLabCut's."""


def refuse_unknown(out: Path, name: str | None) -> None:
    """Raises :class:`UsageError` where no writer is meant, or it does not write such a file."""
    if name is not None and name not in WRITERS:
        raise UsageError(f"--format {name}: unknown; expected one of {', '.join(WRITERS)}")
    known = tuple(ENDINGS) if name is None else WRITERS[name].SUFFIXES
    if out.suffix not in known:
        meant = "" if name is None else f" as {name}"
        raise UsageError(
            f"{out}: cannot write {out.suffix or 'no ending'}{meant}; give a name that ends in {_any_of(known)}"
        )


def _any_of(words: tuple[str, ...]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def chosen(out: Path, name: str | None, inputs: Inputs, *, several: bool) -> Writer:
    """The writer for a file of these inputs.

    Args:
        out: The file.
        name: Key of ``WRITERS``; None leaves it to the ending.
        inputs: What is predicted.
        several: Whether an image has several instances.

    Raises:
        UsageError: See :func:`refuse_unknown` and the writer's ``check``.
    """
    refuse_unknown(out, name)
    by_ending = "deeplabcut" if out.suffix == ".csv" and inputs.video is not None else ENDINGS[out.suffix]
    writer = WRITERS[name or by_ending]
    writer.check(out, inputs, several=several)
    return writer
