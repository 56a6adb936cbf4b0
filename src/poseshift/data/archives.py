"""Images that are no files of their own: bytes that were read from elsewhere, and members of a zip."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from poseshift.data.decoding import Decoded, decoded, upright_size
from poseshift.data.images import (
    DECODE_ERRORS,
    DECODERS,
    MAX_PIXELS,
    ImageFiles,
    missing_files,
    refuse_outside,
)
from poseshift.errors import DataError, FormatError
from poseshift.types import ByteArray

MAX_MEMBER = 1 << 30
"""Bytes; a member that claims to unpack to more is refused before it is unpacked."""
ZIP_ERRORS = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, LookupError, TypeError, zlib.error)
"""What a damaged zip makes the standard library raise, besides ``BadZipFile``: ``NotImplementedError`` for a
compression or encryption that it does not know."""


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    """The image with only its header read; whatever fails inside becomes one DataError with the name."""
    try:
        with Image.open(io.BytesIO(content), formats=DECODERS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}×{image.height}"
                raise DataError(f"image {name!r} has {size} pixels, more than {MAX_PIXELS:,}; scale it down first")
            yield image
    except DECODE_ERRORS as error:
        raise DataError(
            f"image {name!r} does not decode ({str(error) or type(error).__name__}); expected one of "
            f"{', '.join(DECODERS)}, whole: replace or remove it"
        ) from error


def decode_image(content: bytes, name: str) -> ByteArray:
    """An encoded image as ``H×W×3`` RGB uint8, turned upright by its EXIF orientation; ``name`` is for messages.

    Raises:
        DataError: It does not decode, or is too large.
    """
    return decode_reduced(content, name, 1).pixels


def decode_reduced(content: bytes, name: str, most: int) -> Decoded:
    """As :func:`decode_image`, smaller as of :func:`poseshift.data.decoding.decoded`. Raises :class:`DataError`."""
    with _opened(content, name) as image:
        return decoded(image, most)


def image_size(content: bytes, name: str) -> tuple[int, int]:
    """``(width, height)`` that :func:`decode_image` gives, from the header alone. Raises :class:`DataError`."""
    with _opened(content, name) as image:
        return upright_size(image)


def member_bytes(archive: zipfile.ZipFile, name: str, where: Path) -> bytes:
    """A member, unpacked into memory. Raises :class:`DataError` where it is missing, damaged or enormous."""
    try:
        info = archive.getinfo(name)
        if info.file_size > MAX_MEMBER:
            raise DataError(f"{str(where)!r}: member {name!r} claims {info.file_size:,} bytes; unpack the zip yourself")
        with archive.open(info) as stream:
            content = stream.read(MAX_MEMBER + 1)
    except KeyError as error:
        raise DataError(f"{str(where)!r} has no member {name!r}; export the zip again") from error
    except (*ZIP_ERRORS, zipfile.BadZipFile, MemoryError) as error:
        raise FormatError(f"{str(where)!r}: member {name!r} is damaged ({error}); fetch the zip again") from error
    if len(content) > MAX_MEMBER:
        raise DataError(
            f"{str(where)!r}: member {name!r} unpacks to over {MAX_MEMBER:,} bytes; unpack the zip yourself"
        )
    return content


def open_zip(path: Path) -> zipfile.ZipFile:
    """The archive, none of whose members has an absolute name or one with ``..``.

    Raises:
        FormatError: It is no zip, or damaged.
        DataError: A member would leave the folder that the zip is unpacked to.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*ZIP_ERRORS, zipfile.BadZipFile, MemoryError) as error:
        raise FormatError(f"{str(path)!r} is no zip ({error}); fetch or export it again") from error
    try:
        refuse_outside(path, archive.namelist())
    except DataError:
        archive.close()
        raise
    return archive


@dataclass(frozen=True, kw_only=True)
class ZipImages:
    """Images that are members of a zip; nothing is unpacked to the disk.

    Attributes:
        path: The zip.
        members: One member name per image.
        names: What to call the images; the members' names where it is empty.
    """

    path: Path
    members: tuple[str, ...]
    names: tuple[str, ...] = ()
    _opened: dict[int, zipfile.ZipFile] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.members)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def key(self, index: int) -> str:
        """The name of image ``index`` within the data."""
        return self.names[index] if self.names else self.members[index]

    def encoded(self, index: int) -> bytes:
        """The member of image ``index``. Raises :class:`DataError` where it is missing or damaged."""
        process = os.getpid()  # a file that was opened before a fork shares its position with the parent
        if process not in self._opened:
            self._opened.clear()
            self._opened[process] = open_zip(self.path)
        return member_bytes(self._opened[process], self.members[index], self.path)

    def read(self, index: int) -> ByteArray:
        """Image ``index``. Raises :class:`DataError` where the member is damaged or no image."""
        return self.reduced(index, 1).pixels

    def reduced(self, index: int, most: int) -> Decoded:
        """Image ``index``, smaller as of :func:`poseshift.data.decoding.decoded`. Raises as :meth:`read`."""
        return decode_reduced(self.encoded(index), f"{self.path}/{self.members[index]}", most)


def zip_images(path: Path, archive: zipfile.ZipFile, names: tuple[str, ...]) -> ZipImages | None:
    """The members that hold the images ``names``, at the top, below ``images/`` or below any one folder; else None."""
    members = frozenset(archive.namelist())
    inner = {str(parent) for name in members for parent in PurePosixPath(name).parents}
    for folder in ("", "images", *sorted(inner - {".", "images"}, key=lambda text: (text.count("/"), text))):
        joined = tuple(f"{folder}/{name}" if folder else name for name in names)
        if all(name in members for name in joined):
            return replace(ZipImages(path=path, members=joined), names=names)
    return None


def files_in(where: Path, names: tuple[str, ...], folders: list[Path], allow_outside: bool, hint: str) -> ImageFiles:
    """Images that are files, in the first of the folders that has any of the first twenty.

    Raises:
        DataError: Some have no file, or leave their folder.
    """
    images = ImageFiles(root=folders[0], paths=tuple(n.replace("\\", "/") for n in names), allow_outside=allow_outside)
    few = images.paths[:20]
    found = [folder for folder in folders if len(missing_files(folder, few)) < len(few)]
    root = (found or folders)[0]
    if missing := missing_files(root, images.paths):
        looked = ", ".join(repr(str(folder)) for folder in (found[:1] or folders))
        raise DataError(
            f"{str(where)!r}: {len(missing)} of {len(names)} images have no file, the first is {names[missing[0]]!r}; "
            f"looked in {looked}; name the folder: {hint}"
        )
    return replace(images, root=root)
