"""Parquet files under a local folder or an fsspec URL: written with checksums, read with every checksum compared.

Nothing is parsed before its checksum was compared, as far as Parquet has one: each page carries a CRC-32, and the
footer, which has none in the format, must have the sha256 that was noted when the file was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from poseshift.errors import DataError, FormatError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_END = 8
"""Bytes after the footer: its length and the magic number."""
_MAGIC = b"PAR1"


class FileNote(BaseModel):
    """What is noted of a Parquet file when it is written.

    Attributes:
        file: Path below the root.
        size: Of the file, in bytes.
        sha256: Of the file.
        footer: Bytes of the footer, with its length and the magic number.
        footer_sha256: Of the footer.
        rows: Rows of each row group.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    size: int = Field(ge=12)
    sha256: str
    footer: int = Field(ge=_END)
    footer_sha256: str
    rows: tuple[int, ...]


def pyarrow_module() -> Any:
    """pyarrow with its Parquet part. Raises :class:`UsageError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Parquet files need pyarrow, which is not installed; pip install 'poseshift[pack]'") from error
    return pyarrow


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@dataclass(frozen=True)
class Root:
    """A local folder, or a URL that fsspec understands (``s3://…``, ``gs://…``, ``https://…``, ``memory://…``)."""

    path: str

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return "://" in self.path

    def place(self, name: str) -> str:
        """The path or URL of a file below the root, also for messages."""
        return f"{self.path.rstrip('/')}/{name}" if self.remote else os.path.join(self.path, name)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes ``[start, end)`` of a file, all where they are None.

        Raises:
            UsageError: What the URL needs is not installed.
            DataError: The file is missing or cannot be read.
        """
        place = self.place(name)
        try:
            if self.remote:
                system, path = _file_system(place)
                content = bytes(system.cat_file(path, start=start, end=end))
                if start is not None and end is not None and len(content) > end - start:
                    raise DataError(
                        f"{place!r}: the server gives whole files only, not the parts that were asked for; use another "
                        "server, or let fsspec keep the files: packed:simplecache::URL"
                    )
                return content
            with Path(place).open("rb") as file:
                file.seek(start or 0)
                return file.read() if end is None else file.read(max(0, end - (start or 0)))
        except (UsageError, DataError):
            raise
        except FileNotFoundError as error:
            raise DataError(
                f"packed: looked for a file {place!r} and found none; give the folder or URL, or fetch it again"
            ) from error
        except Exception as error:  # each remote file system has errors of its own
            raise DataError(f"{place!r} cannot be read ({_reason(error)}); check the path and the access") from error

    def open(self, name: str) -> Any:
        """The file as pyarrow reads it; the caller closes it."""
        place = self.place(name)
        if not self.remote:
            return pyarrow_module().OSFile(place)
        system, path = _file_system(place)
        return system.open(path, "rb", cache_type="none")


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it."""
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        found = f"{_reason(error)}; install it beside fsspec: pip install 'poseshift[pack]'"
        raise UsageError(f"{url!r} needs what is not installed ({found})") from error
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL that fsspec understands ({_reason(error)}); correct it") from error
    return system, str(path)


def note(root: Path, name: str) -> FileNote:
    """What is to be noted of a file that was just written below ``root``."""
    path = root / name
    size = path.stat().st_size
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(size - _END)
        footer = int.from_bytes(file.read(4), "little") + _END
        file.seek(size - footer)
        tail = file.read()
    metadata = pyarrow_module().parquet.read_metadata(path)
    rows = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    digest = hashlib.sha256(tail).hexdigest()
    return FileNote(file=name, size=size, sha256=sha256, footer=footer, footer_sha256=digest, rows=rows)


def footer(root: Root, noted: FileNote) -> pq.FileMetaData:
    """The metadata of a file.

    Raises:
        DataError: The file is missing or cannot be read.
        FormatError: It is not the file that was written.
    """
    arrow = pyarrow_module()
    tail = root.read(noted.file, noted.size - noted.footer, noted.size)
    if hashlib.sha256(tail).hexdigest() != noted.footer_sha256:
        raise FormatError(
            f"{root.place(noted.file)!r} is cut or damaged (its last {noted.footer:,} bytes have not the sha256 of the "
            "index); fetch the file again or pack the data again"
        )
    return arrow.parquet.read_metadata(arrow.BufferReader(_MAGIC + tail))


def read_group(
    root: Root,
    noted: FileNote,
    metadata: pq.FileMetaData,
    group: int,
    columns: Sequence[str],
    dictionaries: Sequence[str] = (),
) -> pa.Table:
    """Some columns of a row group; ``dictionaries`` are those that come as such.

    Raises:
        UsageError: What a URL needs is not installed.
        FormatError: Bytes are missing, or are not those that were written.
    """
    arrow = pyarrow_module()
    try:
        with root.open(noted.file) as source:
            file = arrow.parquet.ParquetFile(
                source, metadata=metadata, read_dictionary=list(dictionaries), page_checksum_verification=True
            )
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
            table.validate()
    except UsageError:
        raise
    except Exception as error:  # pyarrow, and each remote file system, raise almost anything
        raise FormatError(
            f"{root.place(noted.file)!r}: row group {group} cannot be read ({_reason(error)}); fetch the file again or "
            "pack the data again"
        ) from error
    if len(table) != noted.rows[group]:
        raise FormatError(
            f"{root.place(noted.file)!r}: row group {group} has {len(table)} rows, expected {noted.rows[group]}; "
            "pack the data again"
        )
    return table


def release() -> None:
    """Gives back the memory that pyarrow keeps for its next reading."""
    pyarrow_module().default_memory_pool().release_unused()


def writer(path: Path, schema: pa.Schema, *, dictionaries: Sequence[str]) -> pq.ParquetWriter:
    """An open file; pages have checksums, and only the named columns are dictionary-encoded."""
    return pyarrow_module().parquet.ParquetWriter(
        path,
        schema,
        compression="none",
        use_dictionary=list(dictionaries),
        write_statistics=False,
        write_page_checksum=True,
    )
