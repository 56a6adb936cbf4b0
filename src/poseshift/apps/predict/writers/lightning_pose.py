"""Lightning Pose's csv of predictions: three header rows (scorer, bodyparts, coords), a line a frame or image.

Lines of a video begin with the number of the frame, those of images with their file. There is one instance an image.
"""

from __future__ import annotations

from pathlib import Path

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result
from poseshift.apps.predict.writers import lines
from poseshift.errors import UsageError

SUFFIXES = (".csv",)


def check(out: Path, inputs: Inputs, *, several: bool) -> None:
    """Refuses several videos, or one among images, and several instances an image."""
    lines.refuse_mixed(out, inputs, "Lightning Pose")
    if several:
        raise UsageError(
            f"{out}: Lightning Pose has one instance an image, the boxes have several; write --format deeplabcut"
        )


def write(result: Result, file: Path) -> None:
    """Writes a csv."""
    lines.write_csv(lines.lines_of(result), file)
