"""Small files, replaced at once or not at all. Needs no torch."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from poseshift.errors import CheckpointError


def write_text(file: Path, text: str) -> None:
    """Replaces a small file at once. Raises :class:`CheckpointError`."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Replaces a file at once, and makes its folder where there is none. Raises :class:`CheckpointError`."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        sync(draft)
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise CheckpointError(
            f"{file}: cannot be written ({error.strerror}); make room or mend the folder, then retry"
        ) from error


def drafts(folder: Path, *names: str) -> list[Path]:
    """What killed processes left half-written of the files ``names`` in ``folder``; of any file without names."""
    found = [(file, re.fullmatch(r"\.(.+)\.\d+", file.name)) for file in folder.glob(".*")]
    return [file for file, name in found if name and (not names or name[1] in names)]


def clear_drafts(folder: Path, *names: str) -> None:
    """Removes :func:`drafts`."""
    for file in drafts(folder, *names):
        with suppress(OSError):
            file.unlink()


def append_line(file: Path, line: str) -> None:
    """Appends a line to a file. Raises :class:`CheckpointError`."""
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise CheckpointError(
            f"{file}: cannot be written ({error.strerror}); make room or mend the folder, "
            "then run the same command again"
        ) from error


def sync(path: Path) -> None:
    """Waits until the disk has what was written to a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
