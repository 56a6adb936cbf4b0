from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import tiny
from tests.data.formats.miniatures import lsp

from poseshift.apps import pack as module
from poseshift.apps.pack import pack
from poseshift.data import formats
from poseshift.data.packed import Index
from poseshift.errors import DataError

pytest.importorskip("pyarrow")
NAMES = ["beak", "left_wing", "right_wing"]


@pytest.fixture
def birds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photographs with a COCO file; the folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    tiny.coco(tmp_path / "birds.json", tiny.photos(tmp_path / "photos", 4), NAMES)
    return tmp_path


def test_files_are_kept_as_they_are(birds: Path) -> None:
    result = pack("coco:birds.json", "out")
    data = formats.read("packed:out")
    photos = sorted((birds / "photos").iterdir())
    assert [data.images.encoded(i) for i in range(4)] == [photo.read_bytes() for photo in photos]
    assert [data.images.key(i) for i in range(4)] == [f"photos/{photo.name}" for photo in photos]
    assert re.fullmatch(r"out: 4 images, 4 instances in 1 shard, \d+ KiB", result.line)
    assert (result.index.made_from, result.index.splits["train"].boxes) == ("coco:birds.json", "given")
    assert json.loads((birds / "out/index.json").read_text()) == result.index.model_dump(mode="json")
    keys = ["schema_version", "made_by", "made_from", "splits"]
    assert list(json.loads((birds / "out/index.json").read_text())) == keys


def test_images_without_a_file_lose_nothing_unless_asked(tmp_path: Path) -> None:
    spec = "figures:source,count=3,side=32"
    drawn = formats.read(spec).images
    pack(spec, tmp_path / "png")
    pack(spec, tmp_path / "jpeg", quality=90)
    for row in range(3):
        png, jpeg = (formats.read(f"packed:{tmp_path / name}").images for name in ("png", "jpeg"))
        np.testing.assert_array_equal(png.read(row), drawn.read(row))
        assert jpeg.encoded(row)[:2] == b"\xff\xd8"
        assert 0 < np.abs(jpeg.read(row).astype(int) - drawn.read(row)).mean() < 8


def test_scaling_takes_the_labels_along(birds: Path) -> None:
    """A dot that is painted at a keypoint is there after scaling; what is small enough keeps its file."""
    x, y = np.meshgrid(np.arange(200), np.arange(120))
    dot = np.exp(-((x - 150) ** 2 + (y - 40) ** 2) / 128)
    Image.fromarray(np.repeat((dot * 255).astype(np.uint8)[..., None], 3, 2)).save(birds / "photos/photo00.jpg")
    document = json.loads((birds / "birds.json").read_text())
    document["annotations"][0] |= {"keypoints": [150, 40, 2, 7, 7, 0, 0, 0, 1], "bbox": [99.5, -0.5, 100, 60]}
    (birds / "birds.json").write_text(json.dumps(document))
    pack("coco:birds.json", "out", image_side=80)
    data, source = formats.read("packed:out"), formats.read("coco:birds.json")
    assert [data.images.size(i) for i in range(2)] == [(80, 48), (52, 40)]
    grey = data.images.read(0)[..., 0].astype(float)
    y, x = np.mgrid[:48, :80]
    found = np.array([(grey * x).sum(), (grey * y).sum()]) / grey.sum()
    np.testing.assert_allclose(found, data.keypoints[0, 0], atol=0.1)
    np.testing.assert_allclose(data.keypoints[0], [[59.7, 15.7], [0, 0], [-0.3, -0.3]], atol=1e-5)
    np.testing.assert_allclose(data.boxes[0], [39.5, -0.5, 79.5, 23.5], atol=1e-5)
    np.testing.assert_array_equal(data.keypoints[1:], source.keypoints[1:])
    assert data.images.encoded(1) == source.images.encoded(1)
    assert data.note == "1 images were scaled down to a longer side of 80."


def test_one_image_that_cannot_be_read_is_packed_as_it_is_and_told(birds: Path) -> None:
    (birds / "photos/photo02.jpg").write_bytes(b"no image")
    result = pack("coco:birds.json", "out")
    assert len(result.unreadable) == 1
    assert "photo02.jpg" in result.unreadable[0]
    images = formats.read("packed:out").images
    for look in (images.read, images.size):
        with pytest.raises(DataError, match=r"photos/photo02\.jpg"):
            look(2)
    assert images.read(3).shape == (40, 52, 3)


def test_many_images_that_cannot_be_read_stop_it(birds: Path) -> None:
    for name in ("photo01.jpg", "photo02.jpg"):
        (birds / "photos" / name).write_bytes(b"no image")
    with pytest.raises(DataError, match="2 of 4 images do not decode, at most 1 may be skipped"):
        pack("coco:birds.json", "out")
    assert sorted(path.name for path in birds.iterdir()) == ["birds.json", "photos"], "nothing half-written"


def test_an_image_that_has_no_file_and_no_pixels_stays_empty(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: object, index: int) -> np.ndarray:
        if index == 1:
            raise DataError("frame 1 is damaged")
        return np.zeros((8, 9, 3), np.uint8)

    monkeypatch.setattr("poseshift.data.synth.pictures.ProceduralImages.read", read)
    result = pack("figures:source,count=3", "out")
    assert result.unreadable == ["figures/source/train/000001\tframe 1 is damaged"]
    images = formats.read("packed:out").images
    with pytest.raises(DataError, match="'figures/source/train/000001' was unreadable when it was packed"):
        images.read(1)
    assert images.size(2) == (9, 8)


def test_nothing_is_overwritten(birds: Path) -> None:
    pack("coco:birds.json", "out")
    before = {path: path.read_bytes() for path in (birds / "out").rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="'out' exists already and is never overwritten"):
        pack("figures:source,count=2", "out")
    assert {path: path.read_bytes() for path in (birds / "out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("when", ["data.packing._shard_rows", "data.packing.write_table", "apps.pack.Index"])
def test_what_fails_half_way_leaves_nothing(birds: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"poseshift.{when}", full)
    with pytest.raises(DataError, match=r"'deep/out' cannot be written \(No space left on device\); make room"):
        pack("coco:birds.json", "deep/out")
    assert sorted(path.name for path in birds.iterdir()) == ["birds.json", "photos"]


def test_a_folder_that_was_made_meanwhile_is_left_alone(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(**entries: Any) -> Index:
        (birds / "out").mkdir()
        return Index(**entries)

    monkeypatch.setattr(module, "Index", meanwhile)
    with pytest.raises(DataError, match="'out' exists already"):
        pack("coco:birds.json", "out")
    assert not list((birds / "out").iterdir())


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--image-side", "3"), 2, "--image-side 3: expected at least 8 pixels"),
        (("--quality", "101"), 2, "--quality 101: expected 1 to 100, or leave it out for PNG"),
        (("--shard-size", "0"), 2, "--shard-size 0: expected at least 1 MiB"),
        (("--split", "../x"), 2, "--split '../x' cannot name a file"),
        (("--split", "val"), 3, "split 'val' chooses a file in a folder"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[str, ...],
    code: int,
    text: str,
    birds: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tiny.call(monkeypatch, "pack", "coco:birds.json", "out", *words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("poseshift: ")
    assert text in line
    assert not (birds / "out").exists()


def test_at_the_command_line(birds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (birds / "photos/photo02.jpg").write_bytes(b"no image")
    assert tiny.call(monkeypatch, "pack", "coco:birds.json", "out") == 0
    found = capsys.readouterr()
    line, hint = found.out.splitlines()
    assert line.startswith("out: 4 images, 4 instances in 1 shard, ")
    assert hint == "next: poseshift check packed:out"
    assert found.err.splitlines()[0] == "1 images cannot be read; training passes over them:"
    assert "photo02.jpg" in found.err.splitlines()[1]
    assert tiny.call(monkeypatch, "check", "packed:out") == 0
    out = capsys.readouterr().out
    assert "4 instances, 4 labelled, 4 with a box" in out
    assert "unreadable: 1 images" in out


def test_a_shift_in_pixels_is_left_out_once_images_are_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = replace(formats.read("figures:source,count=2,side=32"), reference_shift=1.0)
    monkeypatch.setattr(formats, "read", lambda spec, *, split=None: data)
    assert pack("any", tmp_path / "same").index.splits["train"].reference_shift == 1.0
    scaled = pack("any", tmp_path / "small", image_side=16).index.splits["train"]
    assert scaled.reference_shift == 0.0
    assert "has no meaning" in scaled.note


def test_training_and_test_data_together_are_not_called_train(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = lsp.write(tmp_path / "in")
    assert list(pack(f"lsp:{path}", tmp_path / "both").index.splits) == ["whole"]
    named = pack(f"lsp:{path}", tmp_path / "named", splits=("all",))
    assert list(named.index.splits) == ["whole"], "no tool of Hugging Face reads a split called all"
    assert [file.name for file in (named.path / "data").iterdir()] == ["whole-00000-of-00001.parquet"]
    assert list(pack(f"lsp:{path}", tmp_path / "one", splits=["train"]).index.splits) == ["train"]
