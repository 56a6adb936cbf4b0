from __future__ import annotations

import csv
import os
import pickle
import runpy
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from poseshift.data.formats import deeplabcut
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import from_names
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

MINIATURE = runpy.run_path(str(Path(__file__).parent / "miniatures/deeplabcut.py"))

SINGLE = """\
scorer,Ann,Ann,Ann,Ann
bodyparts,left_ear,left_ear,right_ear,right_ear
coords,x,y,x,y
labeled-data/v/a.png,1.5,2,,
labeled-data\\v\\b.png,3,4,5.25,6
labeled-data/v/c.png,,,,
"""


@pytest.fixture
def single(tmp_path: Path) -> Path:
    folder = tmp_path / "labeled-data/v"
    folder.mkdir(parents=True)
    (folder / "CollectedData_Ann.csv").write_text(SINGLE)
    for name in "abc":
        Image.new("RGB", (20, 16)).save(folder / f"{name}.png")
    return tmp_path


def rewrite(root: Path, old: str, new: str) -> Path:
    file = root / "labeled-data/v/CollectedData_Ann.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_one_animal(single: Path) -> None:
    data = deeplabcut.read(str(single))
    assert [data[i].key for i in range(2)] == ["labeled-data/v/a.png", "labeled-data/v/b.png"]
    np.testing.assert_array_equal(data.keypoints, [[[1.5, 2], [0, 0]], [[3, 4], [5.25, 6]]])
    np.testing.assert_array_equal(data.visible, [[2, 0], [2, 2]])
    assert data.groups.tolist() == ["v", "v"]
    assert data.categories.tolist() == ["animal", "animal"]
    assert data.skeleton.flip_pairs == ((0, 1),)
    assert np.isnan(data.boxes).all()
    assert "1 of 3 images have no label" in data.note
    assert len(data.images) == 3
    assert data.images.read(0).shape == (16, 20, 3)
    for path in ("labeled-data/v", "labeled-data/v/CollectedData_Ann.csv"):
        np.testing.assert_array_equal(deeplabcut.read(str(single / path)).keypoints, data.keypoints)


def test_several_animals_and_three_columns_of_path(tmp_path: Path) -> None:
    data = deeplabcut.read(MINIATURE["write"](tmp_path))
    assert data.skeleton.keypoints == ("nose", "tail", "corner")
    assert data.skeleton.edges == ((0, 1),)
    assert data.categories.tolist() == ["one", "single", "one", "two", "two"]
    assert data.groups.tolist() == ["a", "a", "a", "a", "b"]
    assert [data[i].key for i in (0, 4)] == ["labeled-data/a/img1.png", "labeled-data/b/img1.png"]
    np.testing.assert_array_equal(data.image_index, [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(data.visible, [[2, 2, 0], [0, 0, 2], [0, 2, 0], [2, 2, 0], [2, 0, 0]])
    np.testing.assert_array_equal(data.keypoints[0, :2], [[1.5, 2], [3, 4.25]])
    np.testing.assert_array_equal(data.keypoints[1, 2], [20, 21])


def test_a_project_that_was_renamed_is_found_beside_its_file(single: Path) -> None:
    (single / "labeled-data/v").rename(single / "moved")
    data = deeplabcut.read(str(single / "moved"))
    assert (data[0].key, data.groups[0]) == ("a.png", "")
    (single / "moved/b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images have no file, the first is 'labeled-data/v/b\.png'"):
        deeplabcut.read(str(single / "moved"))


BROKEN = {
    "header": ("bodyparts,", "parts,", r"begin with \['scorer', 'parts', 'coords'\]"),
    "cells": ("3,4,5.25,6", "3,4,5.25", r"line 5: 4 cells, expected 5"),
    "text": ("3,4,5.25", "3,four,5.25", "line 5: could not convert"),
    "half": ("1.5,2", "1.5,", r"'left_ear' of 'labeled-data/v/a\.png' has x, y \[1\.5, nan\]"),
    "infinite": ("1.5,2", "inf,2", r"has x, y \[inf, 2\.0\]"),
    "enormous": ("1.5,2", "1e30,2", r"1e\+30"),
    "twice": ("v\\b.png", "v/a.png", r"more than one line for image 'labeled-data/v/a\.png'"),
    "column": ("right_ear,right_ear", "left_ear,left_ear", "two columns 'x'"),
    "axis": ("x,y\n", "x,z\n", "column 'z'"),
    "lone": ("right_ear,right_ear", "right_ear,nose", "only one of the columns x and y"),
    "scorers": ("Ann,Ann\n", "Ann,Bob\n", r"scorers \['Ann', 'Bob'\]"),
    "numbers": ("labeled-data/v/a.png", "0", "numbered"),
    "path": ("labeled-data/v/a.png", "labeled-data/v/", "no path of an image"),
    "quote": ("labeled-data/v/a.png", '"labeled-data/v/a.png', "line"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(single: Path, kind: str) -> None:
    old, new, message = BROKEN[kind]
    file = rewrite(single, old, new)
    with pytest.raises(FormatError, match=message) as caught:
        deeplabcut.read(str(single))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["../../x.png", "/etc/x.png", "C:\\x.png", "labeled-data\\..\\..\\..\\x.png"])
def test_a_path_that_leaves_is_refused(single: Path, path: str) -> None:
    rewrite(single, "labeled-data/v/a.png", path)
    with pytest.raises(DataError, match="leaves the data root"):
        deeplabcut.read(str(single))


def test_what_is_missing_or_empty(single: Path) -> None:
    with pytest.raises(DataError, match=r"looked for a folder or file .*gone"):
        deeplabcut.read(str(single / "gone"))
    with pytest.raises(UsageError, match="no split 'train'"):
        deeplabcut.read(str(single), split="train")
    file = single / "labeled-data/v/CollectedData_Ann.csv"
    file.write_text("".join(SINGLE.splitlines(keepends=True)[:3]))
    with pytest.raises(DataError, match="no line below"):
        deeplabcut.read(str(single))
    file.write_text("".join(SINGLE.splitlines(keepends=True)[i] for i in (0, 1, 2, 5)))
    with pytest.raises(DataError, match="1 images and no labelled point"):
        deeplabcut.read(str(single))
    file.write_bytes(b"scorer,\xff\n")
    with pytest.raises(FormatError, match="not UTF-8"):
        deeplabcut.read(str(single))
    (single / "labeled-data/v/CollectedData_Bob.csv").write_text(SINGLE)
    with pytest.raises(DataError, match="several scorers"):
        deeplabcut.read(str(single))
    (single / "config.yaml").write_text("scorer: Bob\n")
    assert len(deeplabcut.read(str(single))) == 2
    (single / "config.yaml").write_text("scorer: Bob\nskeleton: 3\n")
    with pytest.raises(FormatError, match="'skeleton' must be a list of pairs"):
        deeplabcut.read(str(single))
    (single / "config.yaml").write_text("a: [")
    with pytest.raises(FormatError, match=r"config\.yaml' is no YAML"):
        deeplabcut.read(str(single))


def fixed(file: Path, *, multi: bool = True) -> None:
    """The file that pandas' ``to_hdf`` writes of SINGLE in its fixed layout, as far as it matters here."""
    with h5py.File(file, "w") as content:
        group = content.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_("frame")
        group.attrs["nblocks"] = 1
        names = [["Ann"], ["left_ear", "right_ear"], ["x", "y"]]
        for key, codes in {
            "axis0": [[0] * 4, [0, 0, 1, 1], [0, 1, 0, 1]],
            "block0_items": [[0] * 4, [1, 1, 0, 0], [0, 1, 0, 1]],
        }.items():
            group.attrs[f"{key}_nlevels"] = 3
            for i, level in enumerate(names):
                group[f"{key}_level{i}"] = np.array(level, "S")
                group[f"{key}_label{i}"] = np.array(codes[i], np.int8)
        if multi:
            group.attrs["axis1_nlevels"] = 3
            for i, level in enumerate((["labeled-data"], ["v"], ["a.png", "b.png", "c.png"])):
                group[f"axis1_level{i}"] = np.array(level, "S")
                group[f"axis1_label{i}"] = np.array([0, 1, 2] if i == 2 else [0] * 3, np.int8)
        else:
            group["axis1"] = np.array([f"labeled-data/v/{name}.png" for name in "abc"], "S")
        group["block0_values"] = [[np.nan, np.nan, 1.5, 2], [5.25, 6, 3, 4], [np.nan] * 4]


@pytest.mark.parametrize("multi", [True, False])
def test_the_fixed_layout_of_hdf5_agrees_with_the_csv(single: Path, multi: bool) -> None:
    expected = deeplabcut.read(str(single))
    (single / "labeled-data/v/CollectedData_Ann.csv").unlink()
    fixed(single / "labeled-data/v/CollectedData_Ann.h5", multi=multi)
    data = deeplabcut.read(str(single))
    np.testing.assert_array_equal(data.keypoints, expected.keypoints)
    np.testing.assert_array_equal(data.visible, expected.visible)
    assert data.skeleton.keypoints == expected.skeleton.keypoints
    assert data.images.paths == expected.images.paths  # type: ignore[attr-defined]


def test_the_table_layout_of_hdf5_agrees_with_the_csv(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "h5").mkdir()
    expected = deeplabcut.read(MINIATURE["write"](tmp_path / "csv"))
    data = deeplabcut.read(MINIATURE["write_rows"](tmp_path / "h5"))
    assert len(data) == 5
    np.testing.assert_array_equal(data.keypoints, expected.keypoints)
    np.testing.assert_array_equal(data.visible, expected.visible)
    assert data.skeleton.keypoints == expected.skeleton.keypoints
    assert data.categories.tolist() == expected.categories.tolist()
    assert data.images.paths == expected.images.paths  # type: ignore[attr-defined]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (pickle.dumps([("Ann", "nose", "x")] * 3, 0), r"names a column; give the csv"),
        (pickle.dumps([("Ann", "nose")] * 10, 0), r"expected 3 or 4 names a column"),
        (pickle.dumps([("Ann", "nose", 3)] * 10, 0), r"expected 3 or 4 names a column"),
        (pickle.dumps({"Ann": 3}, 0), r"expected 3 or 4 names a column"),
        (pickle.dumps([Evil()], 0), r"is no pickle of plain values"),
        (b"garbage", r"is no pickle of plain values"),
    ],
    ids=["few", "short", "number", "dict", "code", "garbage"],
)
def test_a_header_in_a_pickle_is_texts_or_refused(
    header: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = MINIATURE["write_rows"](tmp_path)
    with h5py.File(tmp_path / "labeled-data/a/CollectedData_Ann.h5", "r+") as content:
        content["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(header)
    with pytest.raises(FormatError, match=message) as caught:
        deeplabcut.read(root)
    assert "\n" not in str(caught.value)
    assert not Path("evil").exists()


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    root = MINIATURE["write_rows"](tmp_path)
    with h5py.File(tmp_path / "labeled-data/a/CollectedData_Ann.h5", "r+") as content:
        del content["df_with_missing/table"]
        kind = [("index", "<i8"), ("values_block_0", "<f8", (2,)), ("values_block_1", "S9", (3,))]
        content["df_with_missing/table"] = np.zeros(2, kind)
    with pytest.raises(FormatError, match=r"columns \['index', 'values_block_0', 'values_block_1'\], expected one of"):
        deeplabcut.read(root)


def test_hdf5_with_a_pickle_or_garbage_is_refused(single: Path) -> None:
    file = single / "labeled-data/v/CollectedData_Ann.h5"
    fixed(file)
    with h5py.File(file, "r+") as content:
        del content["df_with_missing/axis0_level1"]
        content.create_dataset("df_with_missing/axis0_level1", (1,), h5py.vlen_dtype(np.uint8))
    with pytest.raises(FormatError, match=r"axis0_level1 of its header is stored as a pickle.*CollectedData_Ann\.csv"):
        deeplabcut.read(str(file))
    fixed(file)
    with h5py.File(file, "r+") as content:
        del content["df_with_missing/block0_values"]
        content["df_with_missing/block0_values"] = np.zeros((2, 4))
    with pytest.raises(FormatError, match=r"shape \(2, 4\), expected numbers of shape \(3, 4\)"):
        deeplabcut.read(str(file))
    file.write_bytes(b"no hdf5")
    with pytest.raises(FormatError, match="no HDF5 of labels"):
        deeplabcut.read(str(file))


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
    unique=True,
)
COORDINATE = st.floats(-9999, 9999, width=32)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("dlc")
    names, count = data.draw(NAMES), data.draw(st.integers(1, 4))
    points = data.draw(arrays(np.float32, (count, len(names), 2), elements=COORDINATE))
    visible = data.draw(arrays(np.uint8, (count, len(names)), elements=st.sampled_from([0, 2])))
    visible[:, 0] = 2
    paths = tuple(f"labeled-data/v{i % 2}/{i}.png" for i in range(count))
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    before = Annotations(
        name="x",
        images=ImageFiles(root=root, paths=paths),
        image_index=np.arange(count),
        skeleton=from_names("x", names),
        keypoints=np.where(visible[..., None] > 0, points, 0),
        visible=visible,
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.array([f"v{i % 2}" for i in range(count)]),
        categories=np.full(count, "animal"),
    )
    file = root / "CollectedData_x.csv"
    deeplabcut.write(before, file)
    after = deeplabcut.read(str(file))
    for column in ("keypoints", "visible", "image_index", "groups", "categories"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    assert after.skeleton.keypoints == tuple(names)
    assert after.images.paths == paths  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="never overwritten"):
        deeplabcut.write(before, file)
    together = replace(before, image_index=np.zeros(count, np.int64))
    deeplabcut.write(together, root / "CollectedData_y.csv")
    after = deeplabcut.read(str(root / "CollectedData_y.csv"))
    for column in ("keypoints", "visible", "image_index"):
        np.testing.assert_array_equal(getattr(after, column), getattr(together, column))
    assert after.categories.tolist() == ([f"individual{i + 1}" for i in range(count)] if count > 1 else ["animal"])


def three(root: Path, paths: tuple[str, ...], categories: list[str], index: list[int]) -> Annotations:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return Annotations(
        name="x",
        images=ImageFiles(root=root, paths=paths),
        image_index=np.array(index),
        skeleton=from_names("x", ["nose, left", "schwanz ü"]),
        keypoints=np.array([[[1, 2], [3, 4]], [[5.25, 6], [0, 0]], [[-7, 8], [9, 1e5]]], np.float32),
        visible=np.array([[2, 1], [2, 0], [2, 2]], np.uint8),
        boxes=np.full((3, 4), np.nan, np.float32),
        groups=np.array(["", "", ""]),
        categories=np.array(categories),
    )


def test_the_file_that_is_written(tmp_path: Path) -> None:
    data = three(tmp_path, ("a, b.png", "ü.png"), ["mus 1", "mus 2", "mus 1"], [0, 0, 1])
    deeplabcut.write(data, tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_text(encoding="utf-8") == (
        "scorer,poseshift,poseshift,poseshift,poseshift,poseshift,poseshift,poseshift,poseshift\n"
        "individuals,mus 1,mus 1,mus 1,mus 1,mus 2,mus 2,mus 2,mus 2\n"
        'bodyparts,"nose, left","nose, left",schwanz ü,schwanz ü,"nose, left","nose, left",schwanz ü,schwanz ü\n'
        "coords,x,y,x,y,x,y,x,y\n"
        '"a, b.png",1,2,3,4,5.25,6,,\n'
        "ü.png,-7,8,9,100000,,,,\n"
    )
    again = deeplabcut.read(str(tmp_path / "one.csv"))
    assert again.categories.tolist() == ["mus 1", "mus 2", "mus 1"]


def test_a_project_is_written_by_video(tmp_path: Path) -> None:
    paths = ("labeled-data/a b/1.png", "labeled-data/a b/2.png", "labeled-data/ü/1.png")
    data = three(tmp_path, paths, ["x", "x", "x"], [0, 1, 2])
    deeplabcut.write(data, tmp_path)
    files = [tmp_path / f"labeled-data/{video}/CollectedData_poseshift.csv" for video in ("a b", "ü")]
    assert [len(file.read_text().splitlines()) for file in files] == [5, 4]
    again = deeplabcut.read(str(tmp_path))
    np.testing.assert_array_equal(again.keypoints, data.keypoints)
    assert again.groups.tolist() == ["a b", "a b", "ü"]
    files[0].unlink()
    with pytest.raises(DataError, match="exists already"):
        deeplabcut.write(data, tmp_path)
    assert not files[0].exists(), "all files or none"
    elsewhere = three(tmp_path, ("labeled-data/1.png", "b/2.png", "3.png"), ["x"] * 3, [0, 1, 2])
    with pytest.raises(DataError, match=r"'labeled-data/1\.png' does not lie in labeled-data/VIDEO"):
        deeplabcut.write(elsewhere, tmp_path / "other")


def test_the_real_project(shared_data: Path) -> None:
    root = shared_data / "samples/deeplabcut_openfield"
    data = deeplabcut.read(str(root))
    assert len(data) == len(data.images) == 116
    assert data.skeleton.keypoints == ("snout", "leftear", "rightear", "tailbase")
    assert set(data.groups) == {"m4s1"}
    file = root / "labeled-data/m4s1/CollectedData_Pranav.csv"
    with file.open(newline="") as stream:
        rows = list(csv.reader(stream))[3:]
    expected = np.array([[float(cell) for cell in row[1:]] for row in rows]).reshape(116, 4, 2)
    np.testing.assert_allclose(data.keypoints, expected, rtol=1e-6)
    assert [data[i].key for i in range(116)] == [row[0] for row in rows]
    # The HDF5 file has the same numbers.
    with h5py.File(file.with_suffix(".h5")) as content:
        table = content["df_with_missing/table"][()]
    np.testing.assert_array_equal(table["values_block_0"].reshape(116, 4, 2), expected)
    assert [path.decode() for path in table["index"]] == [row[0] for row in rows]
    again = deeplabcut.read(str(file.with_suffix(".h5")))
    np.testing.assert_allclose(again.keypoints, data.keypoints, rtol=1e-6)
    assert again.skeleton.keypoints == data.skeleton.keypoints
    assert again.images.path(0).resolve() == data.images.path(0).resolve()  # type: ignore[attr-defined]
