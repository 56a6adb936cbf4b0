"""Decoded crops in a temporary file, for data whose crops exceed the memory that they may take.

The file has no name once it is open, so nothing is left of it however a process ends, and loader processes get its
descriptor. It is read and written row by row at their places, not mapped: the system's page cache serves all processes
alike, and a disk that fills up is an error that can be caught, where a mapped page would kill the process.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

PART_OF_FREE = 0.5
"""Of the free space, at most this is taken."""


def folder() -> Path:
    """``TMPDIR`` if it is set, else ``/var/tmp``, since ``/tmp`` often lies in memory, else the system's default."""
    disk = Path("/var/tmp")
    named = os.environ.get("TMPDIR")
    return disk if not named and os.access(disk, os.W_OK) else Path(tempfile.gettempdir())


class CropFile:
    """``rows`` crops of ``3×side×side`` bytes; ``file[row]`` is one of them, as a tensor. Rows never written are 0."""

    def __init__(self, rows: int, side: int) -> None:
        with tempfile.TemporaryFile(prefix="poseshift-crops-", dir=folder()) as file:
            self._descriptor = os.dup(file.fileno())
        os.truncate(self._descriptor, rows * side * side * 3)
        self.rows, self.side = rows, side

    @property
    def _row(self) -> int:
        return self.side * self.side * 3

    def __getitem__(self, row: int) -> Tensor:
        found = bytearray(self._row)
        read = os.preadv(self._descriptor, [found], row * self._row)
        if read != self._row:
            raise OSError(f"read {read} of {self._row} bytes of a decoded crop")
        return torch.frombuffer(found, dtype=torch.uint8).view(3, self.side, self.side)

    def __setitem__(self, row: int, crop: Tensor) -> None:
        left = memoryview(crop.contiguous().numpy().tobytes())
        place = row * self._row
        while left:
            written = os.pwrite(self._descriptor, left, place)
            left, place = left[written:], place + written

    def __del__(self) -> None:
        if (descriptor := self.__dict__.pop("_descriptor", None)) is not None:
            os.close(descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (reduction.DupFd(self._descriptor), self.rows, self.side)


def _reopened(duplicate: Any, rows: int, side: int) -> CropFile:
    """The same file in another process."""
    made = CropFile.__new__(CropFile)
    made.__dict__.update(_descriptor=duplicate.detach(), rows=rows, side=side)
    return made


def crop_file(rows: int, side: int, *, limit: int) -> CropFile | None:
    """A file for the crops, or None where they need more than ``limit`` bytes or much of the disk.

    Args:
        rows: Number of crops.
        side: Of a crop, pixels.
        limit: Bytes; 0 for no file.
    """
    needed = rows * side * side * 3
    if needed > limit or os.name != "posix":
        return None
    try:
        free = shutil.disk_usage(folder()).free
        if needed <= PART_OF_FREE * free:
            return CropFile(rows, side)
    except OSError as error:
        log.warning("%s: no file for decoded crops (%s); they are decoded each time", folder(), error.strerror or error)
        return None
    log.warning(
        "decoded crops need %.1f GiB and %s has %.1f GiB free, of which half may be taken: they are decoded each time; "
        "set TMPDIR to a larger disk, or lower input_size",
        *(needed / 2**30, folder(), free / 2**30),
    )
    return None
