"""Arrays of pickled bytes, built from what the file says only after it was compared with what the file holds."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPE = re.compile(r"b1|\?|[iu][1248]|f[248]|c(8|16)|O8?|[SUV][1-9][0-9]{0,5}")
"""Codes of the dtypes that are read: numbers, texts of a fixed length and objects; no records."""
_CORES = ("numpy.core.", "numpy._core.")
ALLOWED: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
    **{
        (core + module, name): name
        for core in _CORES
        for module in ("multiarray", "_multiarray_umath")
        for name in ("_reconstruct", "scalar")
    },
    **{(core + "numeric", "_frombuffer"): "_frombuffer" for core in _CORES},
}
"""All globals that a file may name, and which case of the machine stands for each."""


class Refused(Exception):
    """Why the file is refused, without its name."""


def need(good: bool, reason: str) -> None:
    """Raise :class:`Refused` for ``reason`` unless ``good``."""
    if not good:
        raise Refused(reason)


def _as_bytes(value: Any) -> bytes | bytearray:
    """Raw data; under Python 2 they were a byte string, which came in as Latin-1 text."""
    if isinstance(value, str):
        return value.encode("latin-1")
    need(isinstance(value, (bytes, bytearray)), f"array data are {type(value).__name__}, expected bytes")
    return value  # type: ignore[no-any-return]


def array(data: Any, dtype: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    """An array over ``data``; its declared shape must be exactly what the data fill."""
    need(isinstance(dtype, np.dtype), "an array without a dtype")
    need(isinstance(shape, tuple) and len(shape) <= 32, "an array without a shape")
    if not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise Refused(f"an array of shape {shape!r}")
    need(order in ("C", "F"), f"an array of memory order {order!r}, expected 'C' or 'F'")
    count = math.prod(shape)
    if dtype.hasobject:
        need(isinstance(data, list) and len(data) == count, f"object array of shape {shape!r} without its items")
        objects = np.empty(count, object)
        for i, item in enumerate(data):
            objects[i] = item
        return objects.reshape(shape, order=order)
    raw = _as_bytes(data)
    if len(raw) != count * dtype.itemsize:
        raise Refused(f"array of shape {shape!r} and {dtype} with {len(raw)} bytes of data")
    return np.frombuffer(raw, dtype).reshape(shape, order=order) if count else np.zeros(shape, dtype)
