from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poseshift.data.formats import read
from poseshift.data.images import ImageFiles
from poseshift.data.layouts import Layout, file_of, kept_names, new_names, put_images
from poseshift.data.skeletons import from_names
from poseshift.errors import DataError
from poseshift.types import Annotations, ByteArray

VIDEOS = Layout(folder="labeled-data", by_group=True)


class Drawn:
    """Images that are no files, with keys of all kinds."""

    keys = ("clip.mp4#000012", "figures/a/000001", "deep/b.png", "../up", "a\nb\u2028c", "#")

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        return self.keys[index]

    def read(self, index: int) -> ByteArray:
        return np.full((3, 5, 3), 10 * index, np.uint8)


def of_files(root: Path, paths: tuple[str, ...], groups: list[str] | None = None) -> Annotations:
    n = len(paths)
    return Annotations(
        name="x",
        images=ImageFiles(root=root, paths=paths),
        image_index=np.arange(n),
        skeleton=from_names("x", ["p"]),
        keypoints=np.zeros((n, 1, 2), np.float32),
        visible=np.full((n, 1), 2, np.uint8),
        boxes=np.full((n, 4), np.nan, np.float32),
        groups=np.array(groups or [str(i) for i in range(n)]),
        categories=np.full(n, ""),
    )


def test_places() -> None:
    layout = Layout(suffix=".json", file="labels.json")
    assert layout.places(Path("a/b.JSON")) == (Path("a/b.JSON"), Path("a"))
    assert layout.places(Path("a/v1.2")) == (Path("a/v1.2/labels.json"), Path("a/v1.2"))
    assert Layout().places(Path("a")) == (Path("a"), Path("a"))


def test_names_of_files_keep_folders_and_differ_in_more_than_their_ending(tmp_path: Path) -> None:
    data = of_files(tmp_path, ("images/a.jpg", "a.png", "A.PNG", "b/images/ä ö.bmp", "b\\c.tif", "no-ending", "x/.y"))
    assert new_names(data, np.arange(7), Layout()) == (
        *("images/a.jpg", "images/a_2.png", "images/A_3.PNG", "images/b/ä ö.bmp", "images/b/c.tif"),
        *("images/no-ending", "images/x/.y"),
    )
    assert new_names(data, np.array([1, 3]), Layout()) == ("images/a.png", "images/b/ä ö.bmp")


def test_names_by_group(tmp_path: Path) -> None:
    paths = ("labeled-data/u/1.png", "v/deep/1.png", "3.png")
    assert new_names(of_files(tmp_path, paths, ["run/1", "run/1", ".."]), np.arange(3), VIDEOS) == (
        *("labeled-data/run_1/1.png", "labeled-data/run_1/1_2.png", "labeled-data/_/3.png"),
    )
    # A group of one image each tells nothing.
    assert new_names(of_files(tmp_path, paths), np.arange(3), VIDEOS) == (
        *("labeled-data/u/1.png", "labeled-data/v_deep/1.png", "labeled-data/x/3.png"),
    )


def test_what_is_no_file_becomes_png(tmp_path: Path) -> None:
    images = Drawn()
    data = replace(of_files(tmp_path, tuple("abcdef")), images=images)
    names = new_names(data, np.arange(6), Layout())
    assert names == (
        *("images/clip.mp4/000012.png", "images/figures/a/000001.png", "images/deep/b.png", "images/up.png"),
        *("images/a_b_c.png", "images/image.png"),
    )
    assert file_of(images, 0) is None
    done: list[int] = []
    put_images(images, np.array([2, 4]), names[2:5:2], tmp_path, advance=done.append)
    assert done == [1, 1]
    with Image.open(tmp_path / "images/a_b_c.png") as image:
        np.testing.assert_array_equal(np.asarray(image), images.read(4))
    with pytest.raises(DataError, match=r"'deep/b\.png' is no file of its own.*use --images copy"):
        kept_names(images, np.array([2]), tmp_path, Layout())


def test_files_are_copied_or_linked_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jpg").write_bytes(b"no image at all")
    (source / "b.jpg").symlink_to("a.jpg")
    images = ImageFiles(root=source, paths=("a.jpg", "b.jpg"))
    put_images(images, np.arange(2), ("x/a.jpg", "x/b.jpg"), tmp_path)
    put_images(images, np.arange(2), ("y/a.jpg", "y/b.jpg"), tmp_path, link=True)
    for copy in ("x/a.jpg", "x/b.jpg", "y/a.jpg", "y/b.jpg"):
        assert (tmp_path / copy).read_bytes() == b"no image at all"
        assert (tmp_path / copy).is_symlink() is False
    assert [(tmp_path / name).stat().st_nlink for name in ("x/a.jpg", "y/a.jpg", "y/b.jpg")] == [1, 3, 3]


def test_what_cannot_be_copied_or_linked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageFiles(root=tmp_path, paths=("gone.png",))
    with pytest.raises(DataError, match=r"'gone\.png' cannot be copied to 'x\.png' \(No such file"):
        put_images(images, np.arange(1), ("x.png",), tmp_path)
    (tmp_path / "gone.png").write_bytes(b"")

    def refuse(*_: object) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(DataError, match=r"linked to 'y\.png' \(Invalid cross-device link\); use --images copy"):
        put_images(images, np.arange(1), ("y.png",), tmp_path, link=True)


def test_kept_names_are_relative_and_inside(tmp_path: Path) -> None:
    images = ImageFiles(root=tmp_path / "a", paths=("b/1.png",))
    assert kept_names(images, np.arange(1), tmp_path, Layout()) == ("a/b/1.png",)
    assert kept_names(images, np.arange(1), tmp_path / "a/b", Layout()) == ("1.png",)
    assert kept_names(images, np.arange(1), tmp_path, Layout(folder="a", inside=True)) == ("a/b/1.png",)
    with pytest.raises(DataError, match=r"does not lie in .*/images', as the format wants"):
        kept_names(images, np.arange(1), tmp_path, Layout(inside=True))
    with pytest.raises(DataError, match=r"lies outside of .*elsewhere', the folder of the new labels"):
        kept_names(images, np.arange(1), tmp_path / "elsewhere", Layout())


def test_lists_of_images_in_label_files_are_files(tmp_path: Path) -> None:
    from tests.data.formats.miniatures import sleap

    data = read(f"sleap:{sleap.write(tmp_path)}")
    assert [file_of(data.images, i) for i in range(3)] == [None, None, tmp_path / "still1.png"]
    assert new_names(data, np.arange(3), Layout()) == (
        *("images/clip.mp4/000001.png", "images/clip.mp4/000003.png", "images/still0.png/000001.png"),
    )
