"""Predictions that tests write: of a video of six frames, of images, of two individuals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests import tiny
from tests.apps.predict.films import VARIABLE, Greys, film

from poseshift.apps.predict import Asked, estimate
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.inputs import open_inputs
from poseshift.apps.predict.result import Result
from poseshift.types import FloatArray

BOXES = """file,frame,x,y,width,height,id
a.mp4,0,4,4,30,20,left one
a.mp4,0,30,20,30,20,"other, one"
a.mp4,2,30,20,30,20,"other, one"
"""


class Moves(Greys):
    """As :class:`Greys`, with numbers that differ from frame to frame and are not round."""

    def __call__(self, crops: np.ndarray, /) -> tuple[FloatArray, FloatArray]:
        points, scores = super().__call__(crops)
        return points + np.pi * scores[..., None], scores


def of_video(folder: Path, **asked: object) -> Result:
    """Six frames at unequal times."""
    return estimate(Moves(), Asked(open_inputs([film(folder / "a.mp4", VARIABLE[:6])]), **asked), Looks())


def of_two(folder: Path, **asked: object) -> Result:
    """Two individuals in six frames: both in the first, one in the third."""
    (folder / "boxes.csv").write_text(BOXES)
    return of_video(folder, boxes=folder / "boxes.csv", **asked)


def of_images(folder: Path, **asked: object) -> Result:
    """Three images, the second of which does not decode."""
    photos = tiny.photos(folder / "photos", 3)
    photos[1].write_bytes(photos[1].read_bytes()[: photos[1].stat().st_size * 9 // 10])
    return estimate(Moves(), Asked(open_inputs(photos), **asked), Looks())
