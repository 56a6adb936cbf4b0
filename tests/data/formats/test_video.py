from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.miniatures import video as miniature

pytest.importorskip("av")


from poseshift.data.formats import video
from poseshift.data.splits import split_by_group
from poseshift.errors import DataError, PoseshiftError, UsageError

film = miniature.film


def numbers(data: object) -> list[tuple[str, int]]:
    keys = [record.key.split("#") for record in data]  # type: ignore[attr-defined]
    return [(name, int(number)) for name, number in keys]


def test_a_file_every_second_by_default(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", [50] * 25)
    data = video.read(str(tmp_path / "a.mp4"))
    assert numbers(data) == [("a.mp4", 0), ("a.mp4", 10), ("a.mp4", 20)]
    assert data.name == "a"
    assert len(data.skeleton) == 0
    assert np.isnan(data.boxes).all()
    assert data.images.read(2).shape == (48, 64, 3)


def test_every_so_many_seconds_and_all(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", [50] * 12)
    path = str(tmp_path / "a.mp4")
    assert [n for _, n in numbers(video.read(f"{path}@every=0.25"))] == [0, 2, 5, 7, 10]
    assert [n for _, n in numbers(video.read(f"{path}@every = .001"))] == list(range(12))
    assert len(video.read(f"{path}@every=1e9".replace("1e9", "999999999"))) == 1
    assert len(video.read(f"{path}@all")) == 12


def test_diverse_frames_are_one_of_each_scene(tmp_path: Path) -> None:
    scenes = [40] * 30 + [120] * 4 + [220] * 20 + [40] * 10
    film(tmp_path / "a.mp4", scenes)
    found = [n for _, n in numbers(video.read(f"{tmp_path / 'a.mp4'}@count=3"))]
    assert sorted(scenes[n] for n in found) == [40, 120, 220]
    assert [n for _, n in numbers(video.read(f"{tmp_path / 'a.mp4'}@count=3"))] == found
    assert len(video.read(f"{tmp_path / 'a.mp4'}@count=64")) == 64
    assert len(video.read(f"{tmp_path / 'a.mp4'}@count=500")) == 64
    assert len(video.read(f"{tmp_path / 'a.mp4'}@count=2,every=3")) == 2


def test_diverse_rows_cover_and_never_repeat() -> None:
    points = np.repeat(np.array([[0.0], [1.0], [9.0], [50.0]], np.float32), [50, 1, 20, 1], axis=0)
    assert [float(points[i, 0]) for i in video.diverse(points, 3)] == [0.0, 9.0, 50.0]
    same = np.zeros((6, 4), np.float32)
    assert len(set(video.diverse(same, 4))) == 4


def test_a_folder_in_natural_order_with_videos_as_groups(tmp_path: Path) -> None:
    for name in ("cam10.mp4", "cam2.mp4", "day/x.avi", ".hidden.mp4", ".cache/y.mp4"):
        film(tmp_path / name, [60] * 11)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "day/loop").symlink_to(tmp_path)
    (tmp_path / "zz_again.mp4").symlink_to(tmp_path / "cam2.mp4")
    data = video.read(str(tmp_path))
    expected = ["cam2.mp4"] * 2 + ["cam10.mp4"] * 2 + ["day/x.avi"] * 2
    assert data.groups.tolist() == expected
    parts = split_by_group(data, {"a": 0.5, "b": 0.5}, seed=0)
    assert not set(parts["a"].groups) & set(parts["b"].groups)
    assert {name for name, _ in numbers(video.read(f"{tmp_path}/**/cam*.mp4@all"))} == {"cam2.mp4", "cam10.mp4"}


def test_a_folder_whose_name_holds_an_at(tmp_path: Path) -> None:
    film(tmp_path / "me@home/a.mp4", [60] * 3)
    assert len(video.read(str(tmp_path / "me@home"))) == 1
    assert len(video.read(f"{tmp_path / 'me@home'}@all")) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("often", "unknown option 'often'.*every=SECONDS, count=N, all"),
        ("every=fast", "unknown option 'every=fast'"),
        ("every=0", "'every' must be above 0"),
        ("count=0", "'count' must be above 0"),
        ("all,count=3", "'all' leaves nothing to choose"),
    ],
)
def test_wrong_options(tmp_path: Path, options: str, message: str) -> None:
    film(tmp_path / "a.mp4", [60] * 3)
    with pytest.raises(UsageError, match=message):
        video.read(f"{tmp_path / 'a.mp4'}@{options}")


def test_what_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*gone\.mp4"):
        video.read(str(tmp_path / "gone.mp4"))
    with pytest.raises(DataError, match=r"holds no video; expected files that end in .*\.mp4"):
        video.read(str(tmp_path))
    with pytest.raises(DataError, match="holds no video"):
        video.read(str(tmp_path / "*.mp4"))
    with pytest.raises(UsageError, match="no split 'train'"):
        video.read(str(tmp_path), split="train")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.mp4' does not decode"):
        video.read(str(tmp_path))


def test_a_link_out_of_the_folder_is_refused_unless_allowed(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", [60] * 3)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="outside the data root"):
        video.read(str(tmp_path / "root"))
    assert len(video.read(str(tmp_path / "root"), allow_outside=True)) == 1


def test_any_damage_is_our_error(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    assert len(video.read(path)) == 7
    files = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    whole = {p: p.read_bytes() for p in files}
    rng = np.random.default_rng(0)
    for turn in range(60):
        victim = files[turn % len(files)]
        data = bytearray(whole[victim])
        for position in rng.integers(0, len(data), 6):
            data[position] ^= int(rng.integers(1, 256))
        victim.write_bytes(data[: int(rng.integers(1, 2 * len(data)))])
        try:
            found = video.read(path.replace("every=0.3", "count=3"))
            found.images.read(len(found) - 1)
        except PoseshiftError as error:
            assert "\n" not in str(error)  # noqa: PT017 (a damaged file may also read)
        victim.write_bytes(whole[victim])


def test_a_real_video(shared_data: Path) -> None:
    path = shared_data / "samples/sleap/clip.mp4"
    if not path.is_file():
        pytest.skip("no sample")
    data = video.read(f"{path}@every=5")
    assert [n for _, n in numbers(data)] == list(range(0, 1500, 125))
    assert data.groups.tolist() == ["clip.mp4"] * 12
