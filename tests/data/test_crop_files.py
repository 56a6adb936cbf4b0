from __future__ import annotations

import logging
import os
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.data.test_crops import SIZE, annotations

from poseshift.data import crop_files
from poseshift.data.augment_config import NONE
from poseshift.data.crop_files import CropFile, crop_file
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.loaders import Batches, Share, Views
from poseshift.engine.setup import data_of


def test_rows_come_back_and_others_are_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    file = CropFile(5, 7)
    crop = torch.randint(0, 256, (3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    file[3] = crop
    file[0] = crop.flip(1)
    assert torch.equal(file[3], crop)
    assert torch.equal(file[0], crop.flip(1))
    assert not file[1].any()
    assert not list(tmp_path.iterdir()), "it has no name that a killed process could leave"


def test_another_process_sees_what_is_written_later() -> None:
    file = CropFile(2, 4)
    other: CropFile = ForkingPickler.loads(ForkingPickler.dumps(file))
    file[1] = torch.full((3, 4, 4), 9, dtype=torch.uint8)
    assert other[1].unique().tolist() == [9]
    descriptor = other._descriptor
    del other
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(("limit", "made"), [(0, False), (3 * 4 * 4 * 3 - 1, False), (3 * 4 * 4 * 3, True)])
def test_a_limit(limit: int, made: bool) -> None:
    assert (crop_file(3, 4, limit=limit) is not None) == made


def test_a_small_disk_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(crop_files.shutil, "disk_usage", lambda folder: _Usage(free=200))
    with caplog.at_level(logging.WARNING):
        assert crop_file(3, 4, limit=10**6) is None
    assert "decoded each time; set TMPDIR to a larger disk" in caplog.text
    assert "\n" not in caplog.records[0].message


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_crops_beyond_memory_are_decoded_once(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    plain = Crops(data, CropConfig(), size=SIZE, margin=3)
    kept = Crops(data, CropConfig(), size=SIZE, margin=3, cache_bytes=100, disk_bytes=10**6)
    assert isinstance(kept.cache, CropFile)
    for row in range(4):
        assert torch.equal(kept[row].crop, plain[row].crop)
    for path in tmp_path.iterdir():
        path.unlink()
    assert kept[2].crop.any()


def test_a_full_disk_means_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    data = annotations(tmp_path)
    kept = Crops(data, CropConfig(), size=SIZE, disk_bytes=10**6)
    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.WARNING):
        shown = [kept[0].crop, kept[0].crop, kept[1].crop]
    assert torch.equal(shown[0], Crops(data, CropConfig(), size=SIZE)[0].crop)
    assert torch.equal(shown[0], shown[1])
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
def test_workers_share_one_file(tmp_path: Path) -> None:
    crops = Crops(annotations(tmp_path), CropConfig(), size=SIZE, disk_bytes=10**6)
    views, share = Views(source=NONE, student=NONE, teacher=NONE), Share.of(2)
    batches = Batches(
        source=None, target=crops, views=views, share=share, seed=0, device=torch.device("cpu"), workers=2,
        on_failed=lambda *failed: None,
    )()  # fmt: skip
    for _ in range(3):
        next(batches)
    assert crops.filled is not None
    assert crops.filled.tolist() == [True] * 4
    plain = Crops(crops.annotations, CropConfig(), size=SIZE)
    assert all(torch.equal(crops.cache[row], plain[row].crop) for row in range(4))  # type: ignore[index]


def test_a_run_beyond_its_memory_has_a_file_and_the_same_crops() -> None:
    small = data_of(tiny.settings(change={"cache_mib": 0}))
    none = data_of(tiny.settings(change={"cache_mib": 0, "disk_cache_mib": 0}))
    assert small.source is not None
    assert none.source is not None
    assert isinstance(small.source.cache, CropFile)
    assert none.source.cache is None
    assert torch.equal(small.source[3].crop, none.source[3].crop)
