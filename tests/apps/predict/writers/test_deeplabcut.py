import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict import made
from tests.apps.predict.films import LSP, film

from poseshift.apps.predict import Asked
from poseshift.apps.predict.inputs import open_inputs
from poseshift.data.formats import deeplabcut
from poseshift.errors import UsageError

PARTS = [part for name in LSP.keypoints for part in (name,) * 3]


def rows_of(file: Path) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))


def numbers(row: list[str]) -> np.ndarray:
    return np.array([float(cell or "nan") for cell in row[1:]]).reshape(-1, 14, 3)


def test_of_a_video_a_csv_is_that_of_deeplabcut(tmp_path: Path) -> None:
    result = made.of_video(tmp_path, out=tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert rows[0] == ["scorer", *["poseshift"] * 42]
    assert rows[1] == ["bodyparts", *PARTS]
    assert rows[2] == ["coords", *["x", "y", "likelihood"] * 14]
    assert [row[0] for row in rows[3:]] == ["0", "1", "2", "3", "4", "5"]
    for row, line in zip(result.triples, rows[3:], strict=True):
        np.testing.assert_allclose(numbers(line)[0], row, atol=6e-4)


def test_individuals_have_a_header_row_and_frames_without_them_stay(tmp_path: Path) -> None:
    result = made.of_two(tmp_path, out=tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert rows[1] == ["individuals", *["left one"] * 42, *["other, one"] * 42]
    assert rows[2] == ["bodyparts", *PARTS * 2]
    assert [row[0] for row in rows[4:]] == ["0", "1", "2", "3", "4", "5"]
    found = np.array([numbers(row) for row in rows[4:]])
    np.testing.assert_allclose(found[0], result.triples[:2], atol=6e-4)
    np.testing.assert_allclose(found[2, 1], result.triples[2], atol=6e-4)
    assert np.isnan(found[[1, 3, 4, 5]]).all()
    assert np.isnan(found[2, 0]).all()


def test_instances_without_names_are_numbered(tmp_path: Path) -> None:
    lines = ["file,frame,x,y,width,height", *["a.mp4,0,4,4,30,20"] * 3]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    made.of_video(tmp_path, boxes=tmp_path / "boxes.csv", out=tmp_path / "out.csv")
    names = rows_of(tmp_path / "out.csv")[1]
    assert names[1::42] == ["individual1", "individual2", "individual3"]


@pytest.mark.parametrize("make", [made.of_video, made.of_two], ids=["one", "two"])
def test_the_hdf5_file_holds_what_the_csv_holds(tmp_path: Path, make: object) -> None:
    h5py = pytest.importorskip("h5py")
    make(tmp_path, out=tmp_path / "out.csv")
    make(tmp_path, out=tmp_path / "out.h5")
    rows = rows_of(tmp_path / "out.csv")
    depth = 3 if make is made.of_video else 4
    with h5py.File(tmp_path / "out.h5") as content:
        group = content["df_with_missing"]
        levels = []
        for number in range(int(group.attrs["axis0_nlevels"])):
            names = group[f"axis0_level{number}"]
            codes = group[f"axis0_label{number}"][()]
            levels.append([names.attrs["name"].decode(), *(names[code].decode() for code in codes)])
            assert (group[f"block0_items_label{number}"][()] == codes).all()
        assert levels == rows[:depth]
        assert group["axis1"][()].tolist() == list(range(6))
        values = group["block0_values"][()]
        # Bytes that are not marked as UTF-8 reach pandas as bytes, and stop it.
        for key in ("pandas_type", "encoding", "axis0_variety"):
            assert h5py.check_string_dtype(group.attrs.get_id(key).dtype).encoding == "utf-8"
    expected = np.array([[float(cell or "nan") for cell in row[1:]] for row in rows[depth:]])
    np.testing.assert_allclose(values, expected, atol=6e-4)


def test_images_are_named_and_the_hdf5_file_reads_back(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    made.of_images(tmp_path, out=tmp_path / "out.csv", format="deeplabcut")
    result = made.of_images(tmp_path, out=tmp_path / "out.h5")
    photos = [str(tmp_path / f"photos/photo0{number}.jpg") for number in range(3)]
    rows = rows_of(tmp_path / "out.csv")
    assert [row[0] for row in rows[3:]] == photos
    assert rows[4][1:4] == ["", "", "0.000"]
    table = deeplabcut._read_h5(tmp_path / "out.h5")
    assert list(table.paths) == photos
    assert table.columns[0] == ("", LSP.keypoints[0], "x")
    np.testing.assert_array_equal(table.values.reshape(3, 14, 3), result.triples)


def test_what_is_no_one_table_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [film(tmp_path / name, range(2)) for name in ("a.mp4", "b.mp4")]
    photos = tiny.photos(tmp_path / "photos", 1)
    for inputs in (videos, [videos[0], *photos]):
        with pytest.raises(UsageError, match=r"one file a video, but .*--format table"):
            Asked(open_inputs(inputs), out=tmp_path / "out.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"pip install 'poseshift\[hdf5\]'"):
        Asked(open_inputs(videos[:1]), out=tmp_path / "out.h5")
    assert Asked(open_inputs(videos[:1]), out=tmp_path / "out.csv").writer is not None


@pytest.mark.parametrize("name", ["out.csv", "out.h5"])
@pytest.mark.parametrize("make", [made.of_video, made.of_two], ids=["one", "two"])
def test_movement_loads_it(tmp_path: Path, name: str, make: object) -> None:
    load_poses = pytest.importorskip(
        "movement.io.load_poses", reason="movement is not installed; it brings 1.4 GB and is no part of the extra dev"
    )
    result = make(tmp_path, out=tmp_path / name)
    found = load_poses.from_dlc_file(tmp_path / name, fps=10)
    several = make is made.of_two
    assert dict(found.sizes) == {"time": 6, "space": 2, "keypoints": 14, "individuals": 1 + several}
    assert found.keypoints.values.tolist() == list(LSP.keypoints)
    points = found.position.transpose("time", "individuals", "keypoints", "space").values
    np.testing.assert_allclose(points[0], result.predictions.keypoints[: 1 + several], atol=6e-4)
    confidence = found.confidence.transpose("time", "individuals", "keypoints").values
    np.testing.assert_allclose(confidence[0], result.predictions.scores[: 1 + several], atol=6e-4)
