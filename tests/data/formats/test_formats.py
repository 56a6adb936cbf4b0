"""The contract of every format, and the reading of ``FORMAT:PATH``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from poseshift.data.formats import FORMATS, read, write
from poseshift.data.formats import images as images_format
from poseshift.errors import DataError, UsageError

OF_FILES = tuple(name for name in FORMATS if name not in ("figures", "quadrupeds"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_offers_read_and_splits(name: str) -> None:
    assert callable(FORMATS[name].read)
    assert all(isinstance(split, str) for split in FORMATS[name].SPLITS)
    assert sys.modules[f"poseshift.data.formats.{name}"] is FORMATS[name]


@pytest.mark.parametrize("spec", ["pascal:x", "pascal", "", ":x", "COCO:x"])
def test_an_unknown_format_lists_the_known(spec: str) -> None:
    with pytest.raises(UsageError, match="expected FORMAT:PATH with FORMAT one of coco, images, video, deeplabcut"):
        read(spec)


@pytest.mark.parametrize("name", OF_FILES)
def test_a_missing_folder_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*nowhere") as caught:
        read(f"{name}:{tmp_path / 'nowhere'}")
    assert name in str(caught.value)


def test_a_format_that_is_only_read_is_not_written(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3, 4)).save(tmp_path / "a.png")
    data = images_format.read(str(tmp_path))
    with pytest.raises(UsageError, match="'lsp' is only read, it cannot be written; expected one of coco, deeplabcut"):
        write(data, f"lsp:{tmp_path / 'out'}")


def test_formats_import_no_torch() -> None:
    code = "import sys, poseshift.data.formats; print('torch' in sys.modules, 'scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
