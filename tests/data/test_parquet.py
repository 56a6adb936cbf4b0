from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from poseshift.data import parquet
from poseshift.data.parquet import FileNote, Root
from poseshift.errors import DataError, FormatError, UsageError

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def noted(tmp_path: Path) -> FileNote:
    """Two row groups of a number and a text."""
    schema = pa.schema({"a": pa.int64(), "b.c": pa.string()})
    with parquet.writer(tmp_path / "x.parquet", schema, dictionaries=["b.c"]) as writer:
        for start in (0, 5):
            rows = np.arange(start, start + 5)
            writer.write_table(pa.table([rows, [f"text {row}" for row in rows]], schema=schema))
    return parquet.note(tmp_path, "x.parquet")


def test_a_note_says_what_the_file_is(noted: FileNote, tmp_path: Path) -> None:
    import hashlib

    content = (tmp_path / "x.parquet").read_bytes()
    assert (noted.size, noted.sha256, noted.rows) == (len(content), hashlib.sha256(content).hexdigest(), (5, 5))
    assert noted.footer_sha256 == hashlib.sha256(content[-noted.footer :]).hexdigest()


@pytest.mark.parametrize("remote", [False, True])
def test_groups_and_columns_are_read_alone(noted: FileNote, tmp_path: Path, remote: bool) -> None:
    root = Root(f"file://{tmp_path}" if remote else str(tmp_path))
    metadata = parquet.footer(root, noted)
    table = parquet.read_group(root, noted, metadata, 1, ["b.c"], ["b.c"])
    assert table.column_names == ["b.c"]
    assert table.column("b.c").combine_chunks().dictionary.to_pylist() == [f"text {row}" for row in range(5, 10)]


def test_a_damaged_page_hurts_only_who_reads_it(noted: FileNote, tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    metadata = parquet.footer(root, noted)
    start = metadata.row_group(0).column(0).data_page_offset
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[start + metadata.row_group(0).column(0).total_compressed_size - 3] ^= 4
    (tmp_path / "x.parquet").write_bytes(content)
    assert len(parquet.read_group(root, noted, metadata, 0, ["b.c"])) == 5
    with pytest.raises(FormatError, match=r"x\.parquet': row group 0 cannot be read .*CRC.*fetch the file again"):
        parquet.read_group(root, noted, metadata, 0, ["a"])


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "empty"])
def test_a_footer_that_is_not_the_one_noted_is_refused(noted: FileNote, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "x.parquet"
    content = file.read_bytes()
    flipped = content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
    file.write_bytes({"cut": content[:-1], "longer": b"x" + content, "flipped": flipped, "empty": b""}[damage])
    with pytest.raises(FormatError, match=r"x\.parquet' is cut or damaged .*pack the data again"):
        parquet.footer(Root(str(tmp_path)), noted)


def test_what_is_not_there(tmp_path: Path) -> None:
    for root in (Root(str(tmp_path)), Root("memory://nothing-here")):
        with pytest.raises(DataError, match=r"looked for a file .*gone\.json"):
            root.read("gone.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        Root(str(tmp_path)).read("folder")


def test_parts_of_files(tmp_path: Path) -> None:
    import fsspec

    (tmp_path / "x").write_bytes(b"0123456789")
    fsspec.filesystem("memory").pipe("/parts/x", b"0123456789")
    for root in (Root(str(tmp_path)), Root("memory://parts"), Root("memory://parts/")):
        assert root.read("x") == b"0123456789"
        assert root.read("x", 3, 6) == b"345"


def test_a_server_that_gives_whole_files_only_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the standard library's does, which knows no range requests."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/whole/x", b"0123456789")
    monkeypatch.setattr(type(system), "cat_file", lambda self, path, start=None, end=None: b"0123456789")
    assert Root("memory://whole").read("x") == b"0123456789"
    with pytest.raises(DataError, match=r"gives whole files only.*packed:simplecache::URL"):
        Root("memory://whole").read("x", 3, 6)


@pytest.mark.parametrize(("url", "says"), [("nowhere://x", "no URL that fsspec understands"), ("s3://x", "s3fs")])
def test_what_a_url_needs_is_named(url: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(UsageError, match=says) as caught:
        Root(url).read("index.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("module", ["pyarrow", "pyarrow.parquet"])
def test_without_pyarrow_the_install_line_is_given(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"pip install 'poseshift\[pack\]'"):
        parquet.pyarrow_module()
