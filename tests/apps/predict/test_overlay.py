import errno
from pathlib import Path

import numpy as np
import pytest
from tests.apps.predict.films import LSP, VARIABLE, Greys, film, picture

from poseshift.apps.predict import Asked, estimate, overlay
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.inputs import open_inputs
from poseshift.apps.predict.overlay import COLOURS, Painter
from poseshift.data.video_index import index_video
from poseshift.data.videos import VideoFrames
from poseshift.errors import DataError, UsageError

av = pytest.importorskip("av")


def made(video: Path, out: Path) -> VideoFrames:
    estimate(Greys(), Asked(open_inputs([video]), overlay=out), Looks(batch_size=4))
    return VideoFrames.whole({out: index_video(out)})


@pytest.mark.parametrize("encoder", overlay.ENCODERS)
def test_frames_are_shown_when_the_source_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    if encoder not in av.codecs_available:
        pytest.skip(f"this PyAV has no {encoder}")
    monkeypatch.setattr(overlay, "ENCODERS", (encoder,))
    video = film(tmp_path / "a.mp4")
    frames = made(video, tmp_path / "out.mp4")
    assert len(frames) == len(VARIABLE)
    np.testing.assert_allclose(frames.index_of(0).seconds, index_video(video).seconds, atol=1e-4)
    for number in (0, 5, 11):  # keypoints lie in the left half of a crop, so the right of the frame is as it was
        assert abs(float(frames.read(number)[:, 48:].mean()) - picture(number)[:, 48:].mean()) < 6
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        lasts = VARIABLE[-1] + VARIABLE[-1] - VARIABLE[-2]
        assert float(stream.duration * stream.time_base) == pytest.approx(lasts / 100, abs=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_a_turned_film_is_drawn_upright(tmp_path: Path) -> None:
    frames = made(film(tmp_path / "a.mp4", range(3), degrees=90), tmp_path / "out.mp4")
    found = frames.read(1)
    assert found.shape == (64, 48, 3)
    assert found[-12:, :8].mean() < 40  # the dark quarter is now at the bottom left
    assert found[:12, -8:].mean() > 45


def test_a_skeleton_is_drawn_where_it_is(tmp_path: Path) -> None:
    points = np.array([[(10 + 6 * k, 12 + 5 * k) for k in range(14)]], np.float32)
    grey = np.full((90, 100, 3), 128, np.uint8)
    painter = Painter(LSP)
    drawn = painter.draw(grey, points, np.ones((1, 14), np.float32), np.array([90.0], np.float32))
    assert (grey == 128).all()
    for (x, y), name in zip(points[0], LSP.keypoints, strict=True):
        side = next((word for word in ("left", "right") if word in name), "")
        assert drawn[round(y), round(x)].tolist() == list(COLOURS[side])
    faint = painter.draw(grey, points, np.zeros((1, 14), np.float32), np.array([90.0], np.float32))
    assert 0 < np.abs(faint.astype(int) - 128).max() < np.abs(drawn.astype(int) - 128).max() / 2
    nothing = painter.draw(grey, points[:0], np.zeros((0, 14), np.float32), np.zeros(0, np.float32))
    np.testing.assert_array_equal(nothing, grey)


def test_frames_without_a_box_are_in_the_film(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", range(6))
    (tmp_path / "boxes.csv").write_text("file,frame,x,y,width,height\na.mp4,2,10,10,20,20\n")
    asked = Asked(open_inputs([video]), overlay=tmp_path / "out.mp4", boxes=tmp_path / "boxes.csv")
    result = estimate(Greys(), asked, Looks())
    assert len(result.instances) == 1
    assert len(index_video(tmp_path / "out.mp4")) == 6


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = film(tmp_path / "a.mp4")

    def full(self: object, number: int, shown: object) -> None:
        if number == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(overlay.Film, "add", full)
    with pytest.raises(DataError, match=r"out\.mp4' cannot be written \(No space left on device\)"):
        made(video, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_it_is_of_one_video_and_never_in_the_place_of_an_input(tmp_path: Path) -> None:
    videos = [film(tmp_path / name, range(2)) for name in ("a.mp4", "b.mp4")]
    before = videos[0].read_bytes()
    link = tmp_path / "link.mp4"
    link.symlink_to(videos[0])
    inputs = open_inputs(videos[:1])
    for out, words in (
        (videos[0], "is one of the inputs"),
        (link, "is one of the inputs"),
        (tmp_path / "o.avi", r"cannot write \.avi; give a name in \.mp4"),
    ):
        with pytest.raises(UsageError, match=words):
            Asked(inputs, overlay=out)
    with pytest.raises(UsageError, match=r"is drawn of one video, but 2 files were given, 2 of them videos"):
        Asked(open_inputs(videos), overlay=tmp_path / "o.mp4")
    assert videos[0].read_bytes() == before
