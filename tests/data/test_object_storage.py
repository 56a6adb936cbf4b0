"""Packed data in object storage: a real S3 server on loopback, spoken to by s3fs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny

from poseshift.apps.pack import pack
from poseshift.data import parquet
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.formats import read
from poseshift.data.loaders import Order, Share
from poseshift.engine.train import train
from poseshift.errors import DataError
from poseshift.types import Annotations

moto = pytest.importorskip("moto.server", reason="moto's server is not installed")
s3fs = pytest.importorskip("s3fs")
pytest.importorskip("pyarrow")
COUNT = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image in each row group."""
    out = tmp_path_factory.mktemp("packed") / "out"
    pack(f"figures:source,count={COUNT},side=24", out, group_bytes=1)
    return out


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """The same in a bucket of a server that stops with the tests."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        system = s3fs.S3FileSystem(skip_instance_cache=True)
        system.mkdir("pictures")
        system.put(str(folder), "pictures/packed", recursive=True)
        yield "s3://pictures/packed"
    server.stop()


@pytest.fixture
def found(url: str) -> Annotations:
    return read(f"packed:{url}")


def test_it_is_what_lies_on_the_disk(found: Annotations, folder: Path) -> None:
    expected = read(f"packed:{folder}")
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    assert len(found) == COUNT
    for row in (0, 17, COUNT - 1):
        np.testing.assert_array_equal(found.images.read(row), expected.images.read(row))


def test_each_process_fetches_row_groups_of_its_own_once(found: Annotations, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    read_group = parquet.read_group

    def counting(root, noted, metadata, group, columns, *rest):
        fetched.append(f"{noted.file}/{group}")
        return read_group(root, noted, metadata, group, columns, *rest)

    monkeypatch.setattr(parquet, "read_group", counting)
    seen = []
    for rank in range(2):
        crops = Crops(read(f"packed:{found.images.root.path}"), CropConfig(boxes="whole"), size=16, cache_bytes=0)
        share = Share.of(8, rank=rank, processes=2)
        order = Order(len(crops), share, seed=1, stream="target", units=crops.units)
        fetched.clear()
        for step in range(COUNT // 8):
            for row in order.at(step):
                crops[row]
        assert len(fetched) == len(set(fetched)) == COUNT // 2
        seen.append(set(fetched))
    assert not seen[0] & seen[1]


def test_training_from_it_is_training_from_the_disk(url: str, folder: Path, tmp_path: Path) -> None:
    options = {"steps": 3, "cache_mib": 0}
    runs = [
        train(
            tiny.settings("source_only", {**options, "source": {"data": f"packed:{place}"}}),
            tmp_path / name,
            quiet=True,
        )
        for name, place in (("disk", folder), ("bucket", url))
    ]
    one, other = (tiny.weights(run, "predictor") for run in runs)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_is_not_there_is_named(url: str) -> None:
    with pytest.raises(DataError, match=r"s3://pictures/nothing/index.json"):
        read("packed:s3://pictures/nothing")
