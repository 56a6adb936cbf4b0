from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from tests.data.formats.miniatures import surreal as miniature

pytest.importorskip("av")

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import surreal
from poseshift.data.skeletons import LSP, map_keypoints
from poseshift.data.skeletons.people import HUMAN16
from poseshift.errors import DataError, FormatError, PoseshiftError, UsageError

clip, body = miniature.clip, miniature.body


def test_the_skeleton_is_mpiis_order_with_lsps_mean() -> None:
    assert len(HUMAN16) == 16
    expected = {"shoulder": (12, 13), "elbow": (11, 14), "wrist": (10, 15), "hip": (2, 3), "knee": (1, 4)}
    expected |= {"ankle": (0, 5), "head": (9,)}
    assert HUMAN16.groups == expected
    assert sorted(HUMAN16.mean_keypoints) == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    mirrored = (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10)
    assert HUMAN16.flip_index == mirrored
    assert map_keypoints(HUMAN16, LSP).index == (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9)


def test_the_original_layout(tmp_path: Path) -> None:
    joints = body(4)
    joints[:, 20, 1] = 70, 20  # the wrist in the right slot, outside
    joints[0, 15, 2] = np.nan
    joints[:, :, 3] = 0
    clip(tmp_path / "cmu/train/run0/01_01", "01_01_c0001", joints)
    clip(tmp_path / "cmu/train/run2/ung_01_01", "ung_01_01_c0012", body(1))
    data = surreal.read(str(tmp_path))
    assert [record.key for record in data] == [
        *(f"train/run0/01_01/01_01_c0001.mp4#00000{n}" for n in range(3)),
        "train/run2/ung_01_01/ung_01_01_c0012.mp4#000000",
    ]
    assert set(data.groups) == {"01_01"}
    assert data.skeleton is HUMAN16
    assert data.reference_shift == 0.5
    assert "1 frames without a joint" in data.note
    np.testing.assert_array_equal(data.keypoints[0, 0], joints[:, 7, 0] - 0.5)  # right ankle, SMPL's left
    np.testing.assert_array_equal(data.keypoints[0, 12], joints[:, 13, 0] - 0.5)
    assert (data.visible[0] == 2).all()
    assert np.flatnonzero(data.visible[1] == 0).tolist() == [10]
    assert np.flatnonzero(data.visible[2] == 0).tolist() == [9]
    assert (data.keypoints[data.visible == 0] == 0).all()
    low, high = joints[:, :, 0].min(axis=1) - 0.5, joints[:, :, 0].max(axis=1) - 0.5
    side = 1.5 * (high - low).max()
    np.testing.assert_allclose(data.boxes[0], [*((low + high) / 2 - side / 2), *((low + high) / 2 + side / 2)])
    assert np.isfinite(data.boxes).all()
    shades = [round((float(data.images.read(i).mean()) - 40) / 15) for i in range(4)]
    assert shades == [0, 1, 2, 0]


def test_options(tmp_path: Path) -> None:
    clip(tmp_path / "cmu/train/run0/01_01", "01_01_c0001", body(7))
    data = surreal.read(f"{tmp_path / 'cmu'}@shoulder=shoulder, frames=every 3")
    assert [record.key[-2:] for record in data] == ["00", "03", "06"]
    np.testing.assert_array_equal(data.keypoints[1, [12, 13]], body(7)[:, [16, 17], 3].T - 0.5)
    for bad in ("shoulder=arm", "frames=every 0", "frames=2x", "dog"):
        with pytest.raises(UsageError, match=r"unknown option .*shoulder=collar, shoulder=shoulder, frames=every N"):
            surreal.read(f"{tmp_path}@{bad}")
    with pytest.raises(UsageError, match="no split 'all'; expected one of train, val, test"):
        surreal.read(str(tmp_path), split="all")


def test_missing_folders_and_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*gone"):
        surreal.read(str(tmp_path / "gone"))
    folder = tmp_path / "cmu/train/run0/01_01"
    clip(folder, "01_01_c0001", body(2))
    with pytest.raises(DataError, match=r"looked for clips in .*test"):
        surreal.read(str(tmp_path), split="test")
    clip(folder, "01_01_c0002", body(2))
    (folder / "01_01_c0002.mp4").unlink()
    with pytest.raises(DataError, match=r"1 clips .* have no \.mp4, the first is 'train/run0/01_01/01_01_c0002'"):
        surreal.read(str(tmp_path))
    clip(folder, "01_01_c0002", body(2))
    (folder / "01_01_c0002_info.mat").unlink()
    with pytest.raises(DataError, match=r"have no _info\.mat"):
        surreal.read(str(tmp_path))
    (folder / "01_01_c0002.mp4").unlink()
    savemat(folder / "01_01_c0001_info.mat", {"joints2D": np.full((2, 24, 2), -5.0)})
    with pytest.raises(DataError, match=r"no frame of .* has a joint inside"):
        surreal.read(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"joints2D": np.zeros((3, 24, 5))}, r"\(3, 24, 5\), expected \(2, 24, T\)"),
        ({"joints2D": "text"}, "joints2D"),
        ({"joints3D": np.zeros((2, 24, 5))}, "no MATLAB file with an array 'joints2D'"),
    ],
)
def test_a_wrong_info_file_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    folder = tmp_path / "cmu/train/run0/01_01"
    clip(folder, "01_01_c0001", body(2))
    savemat(folder / "01_01_c0001_info.mat", content)
    with pytest.raises(FormatError, match=message):
        surreal.read(str(tmp_path))


def processed(root: Path, split: str, counts: tuple[int, int, int]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    everything = []
    for run, count in enumerate(counts):
        (root / split / f"run{run}").mkdir(parents=True)
        rows = [
            {
                "name": f"{run}{i}_01_c0001_{i}.jpg",
                "keypoint2d": rng.uniform(0, 30, (24, 2)).tolist(),
                "keypoint3d": np.zeros((24, 3)).tolist(),
                "intrinsic_matrix": np.eye(3).tolist(),
            }
            for i in range(count)
        ]
        for row in rows:
            Image.new("RGB", (32, 32)).save(root / split / f"run{run}" / row["name"])
        (root / split / f"run{run}.json").write_text(json.dumps(rows))
        everything += [{**row, "path": f"{split}/run{run}/{row['name']}"} for row in rows]
    return everything


def test_the_processed_layout_and_its_shuffled_split(tmp_path: Path) -> None:
    for split in ("train", "test", "val"):
        rows = processed(tmp_path, split, (9, 7, 10))
        random.seed(42)
        random.shuffle(rows)
        rows = {"train": rows[5:], "test": rows[:5], "val": rows}[split]
        state = random.getstate()
        data = surreal.read(str(tmp_path), split=split)
        assert random.getstate() == state
        assert [record.key for record in data] == [row["path"] for row in rows]
        expected = np.array([row["keypoint2d"] for row in rows])[:, list(surreal.JOINTS["collar"])]
        np.testing.assert_allclose(data.keypoints, expected, rtol=1e-6)
        assert (data.visible == 2).all()
        assert data.images.read(0).shape == (32, 32, 3)
        assert crop_regions(data, "given").shape == (len(rows), 4)
    other = surreal.read(f"{tmp_path}@shoulder=shoulder", split="val")
    np.testing.assert_allclose(other.keypoints[0, 13], rows[0]["keypoint2d"][17], rtol=1e-6)
    assert data.groups[0] == rows[0]["name"].split("_c0001")[0]
    assert len(surreal.read(str(tmp_path))) == 21
    with pytest.raises(UsageError, match="processed layout"):
        surreal.read(f"{tmp_path}@frames=every 2")


BROKEN: dict[str, tuple[Any, type[DataError], str]] = {
    "object": ({}, FormatError, "no list of objects"),
    "empty": ([], DataError, "is empty"),
    "number": (5, FormatError, "no list of objects"),
    "name": ([{"keypoint2d": [[0, 0]] * 24}], FormatError, "no list of objects with 'name'"),
    "no text": ([{"name": 5, "keypoint2d": [[0, 0]] * 24}], FormatError, "entry 0 has no name but 5"),
    "count": ([{"name": "a.jpg", "keypoint2d": [[0, 0]] * 23}], FormatError, "23 joints .*expected 24"),
    "ragged": ([{"name": "a.jpg", "keypoint2d": [[0, 0]] * 23 + [[0]]}], FormatError, "no list of objects"),
    "nan": ([{"name": "a.jpg", "keypoint2d": [[0, float("nan")]] * 24}], FormatError, "'a.jpg' has a joint at no"),
    "enormous": ([{"name": "a.jpg", "keypoint2d": [[0, 1e300]] * 24}], FormatError, "'a.jpg' has a joint at no"),
    "traversal": ([{"name": "../../../x.jpg", "keypoint2d": [[0, 0]] * 24}], DataError, "leaves the data root"),
    "missing": ([{"name": "a.jpg", "keypoint2d": [[0, 0]] * 24}], DataError, r"1 of 1 images.*val/run0/a\.jpg"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_json_is_named(tmp_path: Path, kind: str) -> None:
    content, error, message = BROKEN[kind]
    processed(tmp_path, "val", (0, 0, 0))
    (tmp_path / "val/run0.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        surreal.read(str(tmp_path), split="val")


def test_a_missing_or_unreadable_json(tmp_path: Path) -> None:
    processed(tmp_path, "val", (1, 1, 1))
    (tmp_path / "val/run0.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(FormatError, match=r"run0\.json"):
        surreal.read(str(tmp_path), split="val")
    (tmp_path / "val/run2.json").unlink()
    processed(tmp_path, "test", (5, 5, 5))
    (tmp_path / "test/run2.json").unlink()
    with pytest.raises(DataError, match=r"looked for .*run2\.json"):
        surreal.read(str(tmp_path), split="test")


def test_any_damage_is_our_error(tmp_path: Path) -> None:
    path = miniature.write(tmp_path / "a")
    processed(tmp_path / "b", "train", (3, 3, 3))
    assert len(surreal.read(path)) == 7
    rng = np.random.default_rng(0)
    for root, spec, turns in ((tmp_path / "a", path, 120), (tmp_path / "b", str(tmp_path / "b"), 80)):
        files = sorted(p for p in root.rglob("*") if p.suffix in {".mp4", ".mat", ".json"})
        for turn in range(turns):
            victim = files[turn % len(files)]
            whole = victim.read_bytes()
            data = bytearray(whole)
            for position in rng.integers(0, len(data), 4):
                data[position] ^= int(rng.integers(1, 256))
            victim.write_bytes(data[: int(rng.integers(1, 2 * len(data)))])
            try:
                found = surreal.read(spec)
                found.images.read(0)
            except PoseshiftError as error:
                assert "\n" not in str(error)  # noqa: PT017 (a damaged file may also read)
            victim.write_bytes(whole)


def test_the_genuine_info_file(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "samples/surreal/01_01_c0001_info.mat"
    if not source.is_file():
        pytest.skip("no sample")
    joints = surreal._clip(source)
    assert joints.shape == (100, 24, 2)
    # Where the authors' camera puts the 3-D joints, computed here from scratch: pixels counted from the corner.
    info = loadmat(source)
    location = info["camLoc"].ravel().astype(float)
    x, y, z = info["joints3D"].astype(float)
    depth = location[0] - x
    across, down = 600 * (location[2] - z) / depth + 160, 600 * (y - location[1]) / depth + 120
    np.testing.assert_array_equal(np.round([across, down]).transpose(2, 1, 0), joints)
    # The distance that the published shoulders are off, in a crop of 256 px around 1.5 times the body.
    side = 1.5 * (joints.max(axis=1) - joints.min(axis=1)).max(axis=1)
    off = np.linalg.norm(joints[:, [13, 14]] - joints[:, [16, 17]], axis=2).mean(axis=1) * 256 / side
    assert off.mean() == pytest.approx(11.2, abs=0.05)
    folder = tmp_path / "cmu/train/run0/01_01"
    clip(folder, "01_01_c0001", body(2), size=(320, 240))
    (folder / "01_01_c0001_info.mat").write_bytes(source.read_bytes())
    data = surreal.read(str(tmp_path))
    assert len(data) == 100
    assert (data.visible == 2).all()
    np.testing.assert_array_equal(data.keypoints[0, 0], [178.5, 203.5])  # the file's left ankle is at 179, 204
    np.testing.assert_array_equal(data.keypoints[0, 12], [171.5, 73.5])
    sides = data.boxes[:, 2] - data.boxes[:, 0]
    np.testing.assert_allclose(sides, side, rtol=1e-6)
