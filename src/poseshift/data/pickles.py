"""Values out of pickle files that others published, without unpickling.

A pickle is a program: Python's own reader imports and calls whatever the file names. Some data sets exist in no other
form (RHD, and ``.npy`` files of objects), so their opcodes are interpreted by :mod:`poseshift.data.opcodes`, which
knows nothing but values: None, booleans, numbers, texts, bytes, lists, tuples, dicts, numpy arrays and numpy scalars.
Everything else is refused. Python 2's byte strings become texts by Latin-1.

What a file may cost is bounded too: its size, the number of its opcodes, the bytes that conversions produce, and the
depth and unfolded size of the result, which holds no cycles.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.opcodes import KEYS, run
from poseshift.data.pickled_arrays import Refused
from poseshift.errors import DataError, FormatError

MAX_BYTES = 512 * 1024 * 1024
MAX_DEPTH = 64
_LEAVES = (*KEYS, bytearray, np.generic)


def _children(value: Any) -> list[Any] | None:
    """What a container holds; None for a leaf. Raises :class:`Refused` for what is no value."""
    kind = type(value)
    if kind is dict:
        return [*value.values()]
    if kind is list or kind is tuple:
        return list(value)
    if kind is np.ndarray:
        return list(value.ravel()) if value.dtype.hasobject else None
    if not isinstance(value, _LEAVES):
        raise Refused(f"it holds something unfinished ({kind.__name__.strip('_').lower()})")
    return None


def _check(root: Any, most: int) -> None:
    """Refuse what would hurt whoever walks over the result: cycles, great depth, few bytes that unfold to very much.

    Depth and unfolded size of each container are found once, without recursion, children first.
    """
    known: dict[int, tuple[int, int]] = {}
    opened: set[int] = set()
    todo: list[tuple[Any, bool]] = [(root, False)]
    while todo:
        value, done = todo.pop()
        key = id(value)
        if done:
            below = [known[id(child)] for child in _children(value) or () if id(child) in known]
            depth = 1 + max((d for d, _ in below), default=0)
            size = 1 + len(_children(value) or ()) + sum(s for _, s in below)
            if depth > MAX_DEPTH or size > most:
                raise Refused(f"it is nested {depth} deep and unfolds to {size} values")
            known[key] = depth, size
            opened.discard(key)
        elif key in opened:
            raise Refused("it contains itself")
        elif key not in known and (children := _children(value)) is not None:
            opened.add(key)
            todo.append((value, True))
            todo += [(child, False) for child in children if _children(child) is not None]


def loads(data: bytes, name: str) -> Any:
    """The value of a pickle.

    Args:
        data: The whole pickle.
        name: What to call it in a message, such as the path of its file.

    Raises:
        FormatError: The bytes are no pickle of plain values, or too costly; nothing was imported or called.
    """
    try:
        value = run(data)
        _check(value, 8 * len(data) + 1024)
    except Exception as error:  # broken opcodes raise almost anything: what escapes has one name
        reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        raise FormatError(
            f"{name!r} is no pickle of plain values: {' '.join(reason.split())[:200]}; expected numbers, texts, lists, "
            "dicts and numpy arrays: fetch the file again from its publisher"
        ) from error
    return value


def _content(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise DataError(f"looked for {str(path)!r} and found no such file; check the path")
    if (size := path.stat().st_size) > most:
        raise FormatError(f"{str(path)!r} has {size:,} bytes, at most {most:,} are read; is it the right file?")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); check its permissions") from error


def load(path: Path | str, *, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a pickle file.

    Args:
        path: The file.
        max_bytes: Larger files are refused unread.

    Raises:
        DataError: There is no such file.
        FormatError: It is no pickle of plain values, too large or too costly.
    """
    return loads(_content(Path(path), max_bytes), str(path))


def load_npy(path: Path | str, *, max_bytes: int = MAX_BYTES) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file, also where its items are objects.

    Raises:
        DataError: There is no such file.
        FormatError: It is no ``.npy`` file, truncated, too large, or its objects are no plain values.
    """
    data = _content(Path(path), max_bytes)
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        body = data[stream.tell() :]
        if not dtype.hasobject:
            count = math.prod(shape)
            if dtype.itemsize * count != len(body):
                raise ValueError(f"{len(body)} bytes of data for shape {shape} of {dtype}")
            flat = np.frombuffer(body, dtype) if body else np.zeros(count, dtype)
            return flat.reshape(shape, order="F" if fortran else "C")
    except Exception as error:  # numpy parses the header and raises almost anything
        reason = " ".join(str(error).split())[:200]
        raise FormatError(f"{str(path)!r} is no .npy file ({reason}); fetch the file again") from error
    value = loads(body, str(path))
    if not isinstance(value, np.ndarray) or value.shape != shape:
        found = value.shape if isinstance(value, np.ndarray) else type(value).__name__
        raise FormatError(f"{str(path)!r}: its header says {shape}, its objects are {found}; fetch the file again")
    return value
