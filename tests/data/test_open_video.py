from pathlib import Path

import numpy as np
import pytest
from tests.apps.predict.films import film, picture

from poseshift.data.open_video import ForwardVideo, OpenVideo
from poseshift.data.video_index import index_video
from poseshift.errors import DataError


def shown(path: Path, *, threads: int = 1) -> dict[int, float]:
    """The mean of each frame that decodes."""
    index, found = index_video(path), {}
    video = ForwardVideo(path, index, threads=threads)
    for number in range(len(index)):
        try:
            found[number] = float(video.take(number)()[-8:, -8:].mean())
        except DataError:
            continue
    video.close()
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_frames_in_passing_are_those_that_are_looked_up(tmp_path: Path, threads: int) -> None:
    path = film(tmp_path / "a.mp4")
    index = index_video(path)
    forward, anywhere = ForwardVideo(path, index, threads=threads), OpenVideo(path, index)
    loads = {number: forward.take(number) for number in (0, 3, 4, 11)}
    assert forward.take(11)().shape == (48, 64, 3)
    for number, load in loads.items():
        np.testing.assert_array_equal(load(), anywhere.read(number))
        assert np.abs(load().astype(int) - picture(number)).mean() < 6
    forward.close()
    anywhere.close()


def test_a_frame_that_is_missing_costs_itself_alone(tmp_path: Path) -> None:
    """The packet of frame 7 is broken: what is before it and behind the next keyframe is as it was."""
    path = film(tmp_path / "a.mkv", range(12))
    whole = shown(path)
    assert list(whole) == list(range(12))
    import av

    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    content[places[7] + 12 : places[7] + 40] = b"\xff" * 28
    path.write_bytes(content)
    found = shown(path)
    for number in (*range(7), 10, 11):
        assert found[number] == pytest.approx(whole[number], abs=1)


def test_what_lies_behind_the_end_of_a_broken_file_is_missing(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", range(12))
    index = index_video(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    video = ForwardVideo(path, index)
    lost = []
    for number in range(12):
        try:
            video.take(number)()
        except DataError:
            lost.append(number)
    assert lost == list(range(lost[0], 12))
    assert 3 < lost[0] < 12
