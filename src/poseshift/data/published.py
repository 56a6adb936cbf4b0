"""What readers of published sets share: their JSON files, numbers in them, images, and the field's seeded split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import missing_files
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import FloatArray, IntArray

ENORMOUS = 1e6
"""No coordinate in pixels or millimetres is as far away as this."""
SEED, TEST_SHARE, TEST_MOST = 42, 0.2, 3200
NO_BOXES = "Its boxes come from its labels, which were not looked at: there are none."
"""What a reader that was not to look at labels says of boxes that it would compute from them."""


def check_split(name: str, split: str | None, known: Sequence[str]) -> None:
    """Raise :class:`UsageError` where a format has no such split."""
    if split not in (None, *known):
        raise UsageError(f"{name} has no split {split!r}; expected one of {', '.join(known)}")


def split_options(path: str, name: str, known: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """The path before an ``@`` and the comma-separated words after it, each of which must be ``known``."""
    text, options = path, ""
    if "@" in path and not Path(path).exists():
        text, _, options = path.rpartition("@")
    words = tuple(word.strip() for word in options.split(",") if word.strip())
    if unknown := [word for word in words if word not in known]:
        expected = ", ".join(known)
        raise UsageError(f"{name}: unknown option {unknown[0]!r} in {path!r}; expected after '@' some of {expected}")
    return Path(text), words


def load_json(name: str, file: Path, kind: type) -> Any:
    """The content of a JSON file, whose outermost value must be a ``kind``.

    Raises:
        DataError: There is no such file, or it cannot be read.
        FormatError: It is no JSON, or its outermost value is something else.
    """
    if not file.is_file():
        raise DataError(f"{name}: looked for {str(file)!r} and found none; give the folder of the set: {name}:FOLDER")
    return read_json(file, kind)


def numbers(file: Path, values: Any, shape: tuple[int, ...], what: str) -> npt.NDArray[np.float64]:
    """``N×shape`` finite numbers below :data:`ENORMOUS`.

    Args:
        file: For messages.
        values: ``N`` nested lists.
        shape: Of each of them.
        what: Name of the values in messages.

    Raises:
        FormatError: Another shape, no numbers, or one that is not finite or enormous; the message names the first row.
    """
    try:
        array = np.array(values, np.float64).reshape(len(values), -1) if len(values) else np.zeros((0, *shape))
        array = array.reshape(len(values), *shape)
    except (TypeError, ValueError, OverflowError) as error:
        expected = "×".join(map(str, shape))
        raise FormatError(
            f"{str(file)!r}: {what} must be {expected} numbers in each of {len(values)} rows "
            f"({' '.join(str(error).split())[:120]}); fetch the file again"
        ) from error
    good = np.abs(array) < ENORMOUS  # False for NaN too
    if not good.all():
        row = int(np.argwhere(~good)[0, 0])
        raise FormatError(f"{str(file)!r}: {what} of row {row} are not finite or enormous; correct the file")
    return array


def require_images(name: str, root: Path, files: Sequence[str]) -> None:
    """Raise :class:`DataError` where images are not in ``root``, with their number and the first."""
    if missing := missing_files(root, files):
        first = files[missing[0]]
        raise DataError(
            f"{name}: {len(missing)} of {len(files)} images are not in {str(root)!r}, the first is {first!r}; "
            "unpack all of them"
        )


def seeded_rows(count: int, split: str | None) -> IntArray:
    """The split that papers on adaptation use: shuffled with seed 42, the first min(20 %, 3,200) are the test part."""
    rows = list(range(count))
    if split not in (None, "all"):
        random.Random(SEED).shuffle(rows)  # its own generator gives what the global one would
        test = min(int(count * TEST_SHARE), TEST_MOST)
        rows = rows[:test] if split == "test" else rows[test:]
    return np.array(rows, np.int64)


def tight_boxes(points: npt.NDArray[np.floating]) -> FloatArray:
    """``N×4`` corners around all keypoints of ``N×K×2``."""
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1).astype(np.float32)
