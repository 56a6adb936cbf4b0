from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poseshift.data import video_index
from poseshift.data.video_index import index_video
from poseshift.data.videos import VideoFrames
from poseshift.errors import DataError
from poseshift.types import Images

av = pytest.importorskip("av")


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A grey level that tells the frame, and a corner of another one that tells which way is up."""
    image = np.full((height, width, 3), 40 + 15 * number, np.uint8)
    image[: height // 2, : width // 2] = 20
    return image


def video(
    path: Path, times: Sequence[int], *, codec: str = "mpeg4", gop: int = 5, bframes: int = 0, **turn: Any
) -> Path:
    """A file whose frame ``n`` is shown at ``times[n] / 100`` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, bframes
        if turn:
            stream.set_display_rotation(**turn)
        for number, moment in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number))
            frame.pts, frame.time_base = moment, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames(path: Path, count: int, **options: bool) -> VideoFrames:
    return VideoFrames(root=path.parent, paths=(path.name,), frames=(np.arange(count),), **options)


def number_in(image: np.ndarray) -> int:
    return round((float(image[-8:, -8:].mean()) - 40) / 15)


VARIABLE = [0, 1, 4, 5, 9, 30, 31, 32, 60, 61, 90, 120]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("bframes", [0, 2])
def test_frames_by_number_whatever_the_rate_and_the_order(tmp_path: Path, name: str, bframes: int) -> None:
    path = video(tmp_path / name, VARIABLE, bframes=bframes)
    index = index_video(path)
    np.testing.assert_allclose(index.seconds, np.array(VARIABLE) / 100, atol=2e-3)
    assert index.timed
    images = frames(path, len(VARIABLE))
    assert isinstance(images, Images)
    assert len(images) == 12
    forward = [images.read(i) for i in range(12)]
    assert [number_in(image) for image in forward] == list(range(12))
    assert forward[0].shape == (48, 64, 3)
    assert forward[0].dtype == np.uint8
    for i in [*range(11, -1, -1), 7, 7, 2, 11, 0, 10, 5]:
        np.testing.assert_array_equal(images.read(i), forward[i])
        np.testing.assert_array_equal(frames(path, 12).read(i), forward[i])
    assert images.size(3) == (64, 48)


def test_a_file_without_usable_times_is_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", range(12), bframes=2)
    index = index_video(path)
    assert (index.timed, len(index)) == (False, 12)
    images = frames(path, 12)
    assert [number_in(images.read(i)) for i in (11, 0, 7, 3, 4)] == [11, 0, 7, 3, 4]


def test_keys_name_file_and_frame(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(tmp_path / name, range(8))
    chosen = (np.array([1, 6]), np.zeros(0, np.int64), np.array([3]))
    images = VideoFrames(root=tmp_path, paths=("a.mp4", "a.mp4", "b.mp4"), frames=chosen)
    assert [images.key(i) for i in range(len(images))] == ["a.mp4#000001", "a.mp4#000006", "b.mp4#000003"]
    assert [number_in(images.read(i)) for i in (2, 1, 0)] == [3, 6, 1]
    for bad in (-1, 3):
        with pytest.raises(IndexError):
            images.read(bad)
    with pytest.raises(DataError, match="1 videos with frames of 0"):
        VideoFrames(root=tmp_path, paths=("a.mp4",), frames=())


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"degrees": 90}, lambda p: np.rot90(p, 1)),
        ({"degrees": -90}, lambda p: np.rot90(p, -1)),
        ({"degrees": 180}, lambda p: np.rot90(p, 2)),
        ({"degrees": 0, "hflip": True}, lambda p: p[:, ::-1]),
        ({"degrees": 0, "vflip": True}, lambda p: p[::-1]),
    ],
    ids=["left", "right", "over", "mirrored", "upside down"],
)
def test_a_display_matrix_is_honoured(tmp_path: Path, turn: dict[str, Any], expected: Any) -> None:
    images = frames(video(tmp_path / "a.mp4", range(3), **turn), 3)
    wanted = expected(picture(1))
    found = images.read(1)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).mean() < 6
    assert images.size(0) == wanted.shape[1::-1]


def test_it_pickles_and_forks_with_files_open(tmp_path: Path) -> None:
    images = frames(video(tmp_path / "a.mp4", range(12)), 12)
    images.read(2)
    again = pickle.loads(pickle.dumps(images))  # noqa: S301 (made in the line itself)
    assert number_in(again.read(5)) == 5
    child = os.fork()
    if child == 0:
        os._exit(0 if [number_in(images.read(i)) for i in (9, 1)] == [9, 1] else 1)
    assert [number_in(images.read(i)) for i in (3, 4, 11)] == [3, 4, 11]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_files_are_closed_again(tmp_path: Path) -> None:
    for number in range(12):
        video(tmp_path / f"{number}.mp4", range(2))
    names = tuple(f"{number}.mp4" for number in range(12))
    images = VideoFrames(root=tmp_path, paths=names, frames=(np.arange(2),) * 12)
    for _ in range(2):
        assert [number_in(images.read(i)) for i in range(24)] == [0, 1] * 12
    assert len(images._opened().files) == 8


def test_a_picture_that_is_changed_stays_whole_in_the_cache(tmp_path: Path) -> None:
    images = frames(video(tmp_path / "a.mp4", range(2)), 2)
    images.read(1)[:] = 0
    assert number_in(images.read(1)) == 1


def test_missing_frames_and_files_are_named(tmp_path: Path) -> None:
    images = frames(video(tmp_path / "a.mp4", range(5)), 9)
    with pytest.raises(DataError, match=r"a\.mp4' has no frame 7, its last is 4"):
        images.read(7)
    assert number_in(images.read(4)) == 4
    with pytest.raises(DataError, match=r"gone\.mp4' does not exist"):
        frames(tmp_path / "gone.mp4", 1).read(0)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    for content in (
        b"",
        b"no video at all" * 99,
        b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
        b"ffconcat version 1.0\nfile a\n",
    ):
        (tmp_path / "x.mp4").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.mp4' does not decode"):
            index_video(tmp_path / "x.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(DataError, match=r"sound\.mkv' has no video stream"):
        index_video(tmp_path / "sound.mkv")


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", range(12))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    images = frames(path, 12)
    assert number_in(images.read(0)) == 0
    with pytest.raises(DataError, match=r"a\.mkv.*frame 11"):
        images.read(11)
    moov_last = video(tmp_path / "b.mp4", range(12))
    moov_last.write_bytes(moov_last.read_bytes()[: moov_last.stat().st_size // 2])
    with pytest.raises(DataError, match=r"b\.mp4' has no video stream; give a whole"):
        frames(moov_last, 12).read(0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_any_damage_is_our_error(tmp_path: Path, name: str) -> None:
    whole = video(tmp_path / name, range(8)).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 8):
            data[position] ^= int(rng.integers(1, 256))
        (tmp_path / name).write_bytes(data[: int(rng.integers(1, 2 * len(data)))])
        images = frames(tmp_path / name, 8)
        for i in (0, 6, 2):
            try:
                assert images.read(i).ndim == 3
            except DataError as error:
                assert "\n" not in str(error)  # noqa: PT017 (a damaged file may also read)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video(tmp_path / "a.mp4", range(2))
    monkeypatch.setattr(video_index, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DataError, match=r"a\.mp4.*64×48.*scale it down"):
        index_video(path)


@pytest.mark.parametrize("path", ["../x.mp4", "/etc/x.mp4", "C:/x.mp4", "..\\x.mp4"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"leaves the data root.*allow_outside"):
        VideoFrames(root=tmp_path, paths=(path,), frames=(np.arange(1),))


def test_a_link_out_of_the_root_is_refused_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    video(tmp_path / "a.mp4", range(2))
    (tmp_path / "root/link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="outside the data root"):
        frames(tmp_path / "root/link.mp4", 2).read(0)
    assert number_in(frames(tmp_path / "root/link.mp4", 2, allow_outside=True).read(1)) == 1


def test_a_name_is_never_taken_for_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "b.mp4", range(2)).rename(tmp_path / "http:b.mp4")
    assert len(index_video(Path("http:b.mp4"))) == 2


SAMPLES = {
    "deeplabcut_openfield/videos/m3v1mp4.mp4": (2330, (480, 640)),
    "lightning_pose_mirror_mouse/data/mirror-mouse-example/videos/test_vid.mp4": (994, (406, 396)),
    "sleap/clip.mp4": (1500, (1024, 1024)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_real_videos_read_the_same_in_any_order(shared_data: Path, name: str) -> None:
    path = shared_data / "samples" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    count, shape = SAMPLES[name]
    index = index_video(path)
    assert len(index) == count
    assert index.timed
    assert index.keys[0] == 0
    # By a decoder of its own, from the start: the frames around the second and third keyframe, and some others.
    wanted = {int(index.keys[k]) + d for k in (1, 2) for d in (-2, -1, 0, 1)} | {0, 7, int(index.keys[2]) - 30}
    expected = {}
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                expected[number] = frame.to_ndarray(format="rgb24")
            if number >= max(wanted):
                break
    images = frames(path, count)
    for number in np.random.default_rng(0).permutation(sorted(wanted)).tolist():
        found = images.read(number)
        assert found.shape == (*shape, 3)
        np.testing.assert_array_equal(found, expected[number], err_msg=f"frame {number}")
    assert images.read(count - 1).shape == (*shape, 3)
