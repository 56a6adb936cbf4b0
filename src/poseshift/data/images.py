"""Image files: safe paths, safe decoding, what to do with files that do not decode, and crops with their matrix."""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from poseshift.data.decoding import Decoded, decoded, upright_size
from poseshift.errors import DataError
from poseshift.types import ByteArray

DECODERS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
"""The only Pillow decoders that ever see a user's file."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 64_000_000
DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")


def leaves_root(path: str) -> bool:
    """Whether a path is absolute on any system, names a drive, or climbs by ``..``."""
    return _OUTSIDE.search(path) is not None


def refuse_outside(root: Path, paths: Sequence[str]) -> None:
    """Refuse absolute paths and ``..``; one cheap test of the joined text serves the usual case."""
    text = "\n".join(paths)
    if ".." not in text and ":" not in text and "\\" not in text and "\n/" not in f"\n{text}":
        return
    for path in paths:
        if leaves_root(path):
            raise DataError(
                f"image path {path!r} leaves the data root {str(root)!r}; expected a path inside it: "
                "correct the annotation, or allow it by name with allow_outside"
            )


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Images in files under one root; a million paths cost only their text.

    Attributes:
        root: Folder that all files lie in.
        paths: One path relative to ``root`` per image.
        allow_outside: Accept absolute paths, ``..`` and symbolic links that leave ``root``.

    Raises:
        DataError: A path is absolute or holds ``..`` (at construction); a link leads out of ``root`` (when read).
    """

    root: Path
    paths: tuple[str, ...]
    allow_outside: bool = False

    def __post_init__(self) -> None:
        if not self.allow_outside:
            refuse_outside(self.root, self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    def key(self, index: int) -> str:
        """The path of image ``index`` relative to the root."""
        return self.paths[index]

    def path(self, index: int) -> Path:
        """The file of image ``index``. Raises :class:`DataError` where a symbolic link leads out of the root."""
        path = os.path.join(self.root, self.paths[index])
        if not self.allow_outside:
            real = os.path.realpath(path)
            if os.path.commonpath((self._real_root, real)) != self._real_root:
                raise DataError(
                    f"image {path!r} is a link to {real!r} outside the data root; copy the file into the root, "
                    "or allow it by name with allow_outside"
                )
        return Path(path)

    def encoded(self, index: int) -> bytes:
        """The file of image ``index`` as it is. Raises :class:`DataError` where it cannot be read."""
        path = self.path(index)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"image {str(path)!r} cannot be read ({error.strerror}); check the data root") from error

    @contextmanager
    def _opened(self, index: int) -> Iterator[Image.Image]:
        """The image with only its header read; whatever fails inside becomes one DataError that names the file."""
        path = self.path(index)
        try:
            with Image.open(path, formats=DECODERS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width}×{image.height}"
                    raise DataError(
                        f"image {str(path)!r} has {size} pixels, more than {MAX_PIXELS:,}; scale it down first"
                    )
                yield image
        except FileNotFoundError as error:
            raise DataError(f"image {str(path)!r} does not exist; check the data root and the annotation") from error
        except DECODE_ERRORS as error:
            raise DataError(
                f"image {str(path)!r} does not decode ({str(error) or type(error).__name__}); expected one of "
                f"{', '.join(DECODERS)}, whole: replace or remove the file"
            ) from error

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)`` of image ``index`` as :meth:`read` returns it, from the header alone.

        Raises:
            DataError: The file is missing, no image, too large or outside the root.
        """
        with self._opened(index) as image:
            return upright_size(image)

    def read(self, index: int) -> ByteArray:
        """Image ``index``, ``H×W×3`` RGB uint8, turned upright by its EXIF orientation.

        Raises:
            DataError: The file is missing, truncated, no image, too large or outside the root.
        """
        return self.reduced(index, 1).pixels

    def reduced(self, index: int, most: int) -> Decoded:
        """As :meth:`read`, smaller as of :func:`poseshift.data.decoding.decoded`. Raises :class:`DataError`."""
        with self._opened(index) as image:
            return decoded(image, most)


def missing_files(root: Path, paths: Sequence[str]) -> list[int]:
    """Positions of the paths that name no file under ``root``: one listing per folder, not one look per file."""
    listings: dict[str, frozenset[str]] = {}
    missing = []
    for position, path in enumerate(paths):
        folder, _, name = path.rpartition("/")
        if folder not in listings:
            where = root / folder
            listings[folder] = frozenset(os.listdir(where)) if where.is_dir() else frozenset()
        if name not in listings[folder]:
            missing.append(position)
    return missing


class Quarantine:
    """Files that did not decode: a few are skipped and listed, many stop the run.

    Args:
        total: Number of images of the data.
        share: Largest share that may be skipped; at least one file always may.
    """

    def __init__(self, total: int, *, share: float = 0.01) -> None:
        self.total = total
        self.limit = max(1, math.floor(total * share))
        self._reasons: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, key: object) -> bool:
        return key in self._reasons

    def add(self, key: str, reason: Exception | str) -> None:
        """Note that image ``key`` is skipped; a file counts once, however often it fails.

        Raises:
            DataError: More files than the limit do not decode.
        """
        self._reasons.setdefault(key, " ".join(str(reason).split()))
        if len(self._reasons) > self.limit:
            first = ", ".join(list(self._reasons)[:5])
            raise DataError(
                f"{len(self._reasons)} of {self.total} images do not decode, at most {self.limit} may be skipped; "
                f"first: {first}; replace these files or take them out of the annotations"
            )

    def lines(self) -> list[str]:
        """One line ``key<TAB>reason`` per file, for ``quarantine.txt`` in a run folder."""
        return [f"{key}\t{reason}" for key, reason in self._reasons.items()]


def _output_window(low: float, scale: float, extent: int, size: int) -> tuple[int, int]:
    """Output pixels ``[first, last)`` that an image axis of ``extent`` pixels can reach, one pixel of blur included."""
    first = math.floor(-low / scale) - 1
    last = math.ceil((extent - low) / scale) + 1
    return max(0, first), min(size, last)


def padded_crop(
    image: ByteArray, box: Sequence[float] | npt.NDArray[np.floating], size: int | tuple[int, int]
) -> tuple[ByteArray, npt.NDArray[np.float64]]:
    """Cut a region out of an image and resize it, antialiased; what lies outside the image is black.

    Args:
        image: ``H×W×3`` uint8.
        box: ``(x0, y0, x1, y1)`` in the convention of :mod:`poseshift.types`; may leave the image.
        size: Side of the crop in pixels, or ``(height, width)``.

    Returns:
        The crop, ``height×width×3`` uint8, and the ``3×3`` matrix from pixels of the image to pixels of the crop:
        ``x' = (x - x0) * width / (x1 - x0) - 0.5``, exact (a box side at ``x0`` is the outer edge of column 0).

    Raises:
        DataError: The box is not finite or has no area, or would need a blur over more than the image cap.
    """
    height, width = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = (float(value) for value in box)
    if not (math.isfinite(x0 + y0 + x1 + y1) and x1 > x0 and y1 > y0):
        raise DataError(
            f"crop box {[x0, y0, x1, y1]} has no area; expected finite x0 < x1 and y0 < y1: check the boxes"
        )
    scale_x, scale_y = (x1 - x0) / width, (y1 - y0) / height
    matrix = np.array([[1 / scale_x, 0, -x0 / scale_x - 0.5], [0, 1 / scale_y, -y0 / scale_y - 0.5], [0, 0, 1]])
    crop = np.zeros((height, width, 3), np.uint8)
    # Pillow counts from the corner of the image: an edge coordinate is a pixel-centre coordinate + 0.5.
    left, top = x0 + 0.5, y0 + 0.5
    columns = _output_window(left, scale_x, image.shape[1], width)
    rows = _output_window(top, scale_y, image.shape[0], height)
    if columns[0] < columns[1] and rows[0] < rows[1]:
        edges = (
            *(left + columns[0] * scale_x, top + rows[0] * scale_y),
            *(left + columns[1] * scale_x, top + rows[1] * scale_y),
        )
        crop[rows[0] : rows[1], columns[0] : columns[1]] = _resize_region(
            image, edges, (columns[1] - columns[0], rows[1] - rows[0])
        )
    return crop, matrix


def _resize_region(image: ByteArray, edges: tuple[float, float, float, float], size: tuple[int, int]) -> ByteArray:
    """Resize the region ``edges`` (left, top, right, bottom, from the image's corner) to ``size`` (width, height).

    The filter reads one source support beyond the region where the image has pixels; where it has none, only the
    region itself is padded, so that a region inside the image gets no dark rim.
    """
    high = image.shape[1], image.shape[0]
    spans, pads = [], []
    for axis in (0, 1):
        support = math.ceil(max(1.0, (edges[axis + 2] - edges[axis]) / size[axis])) + 1
        start, stop = math.floor(edges[axis]), math.ceil(edges[axis + 2])
        spans.append((min(max(0, start - support), high[axis]), max(min(high[axis], stop + support), 0)))
        pads.append((max(0, -start), max(0, stop - high[axis])))
    (left, right), (top, bottom) = spans
    if (right - left + sum(pads[0])) * (bottom - top + sum(pads[1])) > 4 * MAX_PIXELS:
        raise DataError(f"crop region {[round(e) for e in edges]} is far larger than its image {high}; check the boxes")
    piece = image[top:bottom, left:right]
    if any(pads[0]) or any(pads[1]):
        piece = np.pad(piece, (pads[1], pads[0], (0, 0)))
    origin = left - pads[0][0], top - pads[1][0]
    box = tuple(edge - origin[i % 2] for i, edge in enumerate(edges))
    resized = Image.fromarray(np.ascontiguousarray(piece)).resize(
        size, Image.Resampling.BILINEAR, box=(box[0], box[1], box[2], box[3])
    )
    return np.asarray(resized)
