from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.data.formats.miniatures import video as miniature

from poseshift.data import formats
from poseshift.data.frames import previous
from poseshift.data.videos import VideoFrames
from poseshift.types import Annotations, Skeleton


def annotations(frames: list[list[int]], images: list[int]) -> Annotations:
    """Instances in ``images`` of videos with these frames; no file is opened."""
    count = len(images)
    return Annotations(
        name="film",
        images=VideoFrames(
            root=Path("."),
            paths=tuple(f"{n}.mp4" for n in range(len(frames))),
            frames=tuple(np.array(one, np.int64) for one in frames),
        ),
        image_index=np.array(images, np.int64),
        skeleton=Skeleton(name="none", keypoints=()),
        keypoints=np.zeros((count, 0, 2), np.float32),
        visible=np.zeros((count, 0), np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.full(count, ""),
        categories=np.full(count, ""),
    )


def test_frames_of_a_video_follow_each_other_and_videos_do_not() -> None:
    found = annotations([[0, 5, 10], [], [7], [1, 2]], [0, 1, 2, 3, 4, 5])
    assert previous(found).tolist() == [-1, 0, 1, -1, -1, 4]


def test_rows_are_numbered_as_they_stand_and_time_is_that_of_the_video() -> None:
    found = annotations([[0, 5, 10, 15]], [3, 0, 2])
    assert previous(found).tolist() == [2, -1, 1], "frame 1 is not among them: 10 follows 0"


def test_several_subjects_in_a_frame_have_no_neighbours() -> None:
    found = annotations([[0, 1, 2, 3]], [0, 1, 1, 2, 3])
    assert previous(found).tolist() == [-1, -1, -1, -1, 3]


def test_images_that_are_no_frames_have_none() -> None:
    assert previous(formats.read(tiny.TARGET)).tolist() == [-1] * 12
    assert previous(annotations([[]], [])).tolist() == []


def test_videos_as_they_are_read(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for name, count in (("a", 4), ("b", 3)):
        miniature.film(tmp_path / f"{name}.mp4", [50] * count)
    found = formats.read_unlabelled(f"video:{tmp_path}@all")
    assert previous(found).tolist() == [-1, 0, 1, 2, -1, 4, 5]
    assert previous(found.select([1, 2, 5, 6])).tolist() == [-1, 0, -1, 2]
