from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseshift.apps.pack import pack
from poseshift.data import formats, parquet
from poseshift.data.boxes import SizedImages
from poseshift.data.packed import KEPT, Keys, PackedImages
from poseshift.data.windows import UnitImages
from poseshift.errors import DataError
from poseshift.types import Images

pytest.importorskip("pyarrow")
COUNT = 2 * KEPT + 4


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PackedImages:
    """One image in each row group."""
    out = tmp_path_factory.mktemp("packed") / "out"
    pack(f"figures:source,count={COUNT},side=16", out, group_bytes=1)
    found = formats.read(f"packed:{out}").images
    assert isinstance(found, PackedImages)
    return found


def fresh(images: PackedImages) -> PackedImages:
    """The same images with nothing in memory."""
    return replace(images, _groups=type(images._groups)(), _footers=type(images._footers)())


def test_it_is_what_the_protocols_ask_for(images: PackedImages) -> None:
    assert isinstance(images, Images)
    assert isinstance(images, SizedImages)
    assert isinstance(images, UnitImages)


def test_a_window_is_kept_and_no_more(images: PackedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    images, fetched = fresh(images), []
    read_group = parquet.read_group

    def counting(root, noted, metadata, group, columns):
        fetched.append(group)
        assert columns == ["image.bytes"], "labels stay where they are"
        return read_group(root, noted, metadata, group, columns)

    monkeypatch.setattr(parquet, "read_group", counting)
    rng = np.random.default_rng(0)
    for index in [*range(KEPT), *rng.integers(0, KEPT, 50).tolist()]:
        images.read(index)
    assert fetched == list(range(KEPT))
    for index in range(COUNT):
        images.read(index)
    assert len(images._groups) == KEPT
    assert len(images._footers) == 1


def test_units_are_row_groups(images: PackedImages) -> None:
    assert images.units(np.array([3, 0, COUNT - 1])).tolist() == [3, 0, COUNT - 1]
    shard = images.shards[0].model_copy(update={"rows": (4, 1, 3)})
    other = replace(images, shards=(shard, shard))
    assert other.units(np.arange(16)).tolist() == [0] * 4 + [1] + [2] * 3 + [3] * 4 + [4] + [5] * 3


def test_it_travels_to_another_process_without_what_it_read(images: PackedImages) -> None:
    images.read(2)
    text = pickle.dumps(images)
    assert len(text) < len(pickle.dumps(images.keys)) + 20_000
    again = pickle.loads(text)  # noqa: S301 - what loader processes do
    assert not again._groups
    np.testing.assert_array_equal(again.read(2), images.read(2))
    assert (again.key(2), again.size(2), len(again)) == (images.key(2), images.size(2), COUNT)


@pytest.mark.parametrize("index", [-1, COUNT])
def test_there_are_no_other_images(images: PackedImages, index: int) -> None:
    with pytest.raises(IndexError):
        images.read(index)


def test_a_shard_that_was_exchanged_is_named(images: PackedImages, tmp_path: Path) -> None:
    noted = images.shards[0].model_copy(update={"footer_sha256": "0" * 64})
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet' is cut or damaged"):
        replace(fresh(images), shards=(noted,)).read(0)


def test_keys_cost_their_bytes() -> None:
    texts = ["a", "", "größer.png", "z"]
    keys = Keys(text="".join(texts).encode(), ends=np.cumsum([len(text.encode()) for text in texts]))
    assert [keys[index] for index in range(len(keys))] == texts
