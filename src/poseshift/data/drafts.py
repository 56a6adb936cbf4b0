"""Files and folders that appear whole or not at all, and in the place of others only where that is asked for.

What fails or is interrupted leaves nothing; a process that is killed leaves a hidden draft and nothing of the name that
was asked for. Nothing is synced to the disk: what a loss of power spoils can be written again from what it was made of.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poseshift.errors import DataError


def refuse_existing(target: Path) -> None:
    """Raises :class:`DataError` where there is something of that name, be it a link that leads nowhere."""
    if os.path.lexists(target):
        raise DataError(f"{str(target)!r} exists already and is never overwritten; give another name or remove it")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _elsewhere(error: OSError, *places: Path) -> bool:
    """Whether an error names a file that is none of these places, inside of one or above it, such as one to read."""
    if error.filename is None:
        return False
    file = Path(os.fsdecode(error.filename))
    return not any(file.is_relative_to(place) or place.is_relative_to(file) for place in places)


def _failed(target: Path, error: OSError) -> DataError:
    reason = error.strerror or " ".join(str(error).split())
    return DataError(f"{str(target)!r} cannot be written ({reason}); make room or mend the folder, then retry")


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """``folder`` with those above it, made if need be; what was made goes again, if it is empty, where this fails."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):
                place.rmdir()
        raise


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target`` with its ending; what lies there at the end takes the name of ``target``.

    Folders above it are made if need be.

    Raises:
        DataError: ``target`` exists already, or the disk refuses; nothing is left behind then.
    """
    refuse_existing(target)
    with _drafted(target) as temporary:
        yield temporary
        refuse_existing(target)


@contextmanager
def replacement(target: Path) -> Iterator[Path]:
    """As :func:`draft`, but a file of the name ``target`` is replaced. Raises :class:`DataError`."""
    if target.is_dir():
        raise DataError(f"{str(target)!r} is a folder, expected the name of a file; give another name")
    with _drafted(target) as temporary:
        yield temporary


def left_of(target: Path) -> list[Path]:
    """Drafts of ``target`` that killed processes left beside it."""
    ending = "." + target.name
    return [file for file in target.parent.glob(f".*{ending}") if file.name[1 : -len(ending)].isdecimal()]


@contextmanager
def _drafted(target: Path) -> Iterator[Path]:
    """A temporary name that becomes ``target`` where nothing fails."""
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        with _made(target.parent):
            try:
                yield temporary
                temporary.replace(target)
            finally:
                _remove(temporary)
    except OSError as error:
        if _elsewhere(error, temporary, target):
            raise
        raise _failed(target, error) from error


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, which is made if need be; at the end its entries move up, files last.

    Raises:
        DataError: An entry exists already, or the disk refuses; nothing is left behind then.
    """
    stage: Path | None = None
    try:
        with _made(folder):
            stage = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
            try:
                yield stage
                _move_up(stage, folder)
            finally:
                _remove(stage)
    except OSError as error:
        if _elsewhere(error, folder):
            raise
        raise _failed(folder, error) from error
    except DataError as error:
        raise type(error)(str(error).replace(str(stage), str(folder))) from error


def _move_up(stage: Path, folder: Path) -> None:
    """Moves the entries of ``stage`` to ``folder``, all or none."""
    moved: list[Path] = []
    try:
        for entry in sorted(stage.iterdir(), key=lambda path: (path.is_file(), path.name)):
            refuse_existing(folder / entry.name)
            entry.rename(folder / entry.name)
            moved.append(folder / entry.name)
    except BaseException:
        for path in moved:
            _remove(path)
        raise
