"""Files and folders that appear whole or not at all, and never in the place of others."""

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


def _failed(target: Path, error: OSError) -> DataError:
    reason = error.strerror or " ".join(str(error).split())
    return DataError(f"{str(target)!r} cannot be written ({reason}); make room or mend the folder, then retry")


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target`` with its ending; what lies there at the end takes the name of ``target``.

    Raises:
        DataError: ``target`` exists already, or the disk refuses; nothing is left behind then.
    """
    refuse_existing(target)
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield temporary
        refuse_existing(target)
        temporary.rename(target)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        _remove(temporary)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, which is made if need be; at the end its entries move up, files last.

    Raises:
        DataError: An entry exists already, or the disk refuses; nothing is left behind then.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    moved: list[Path] = []
    stage: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
        yield stage
        for entry in sorted(stage.iterdir(), key=lambda path: (path.is_file(), path.name)):
            refuse_existing(folder / entry.name)
            entry.rename(folder / entry.name)
            moved.append(folder / entry.name)
    except BaseException as error:
        for path in [*moved, *([stage] if stage else [])]:
            _remove(path)
        for place in made:
            with suppress(OSError):
                place.rmdir()
        if isinstance(error, OSError):
            raise _failed(folder, error) from error
        if isinstance(error, DataError):
            raise type(error)(str(error).replace(str(stage), str(folder))) from error
        raise
    stage.rmdir()
