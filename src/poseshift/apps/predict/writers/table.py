"""A plain csv with a line for each instance: the file, and x, y and score of each keypoint.

Where there are videos, ``frame`` and ``time`` (seconds from the first frame on) follow the file; where boxes name
individuals, ``id``. What does not decode has ``nan``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result

SUFFIXES = (".csv",)


def check(out: Path, inputs: Inputs, *, several: bool) -> None:
    """Any inputs can be written."""


def write(result: Result, file: Path) -> None:
    """Writes a csv."""
    videos, named = bool(result.inputs.videos), bool((result.individuals != "").any())
    head = ["file", *(("frame", "time") if videos else ()), *(("id",) if named else ())]
    parts = [f"{name}_{part}" for name in result.skeleton.keypoints for part in ("x", "y", "score")]
    files, frames, seconds = result.inputs.moments(result.instances.image_index)
    values = result.triples.reshape(len(files), -1)
    with file.open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream)
        out.writerow([*head, *parts])
        for row, number in enumerate(files.tolist()):
            line = [str(result.inputs.files[number])]
            if videos:
                line += ["", ""] if frames[row] < 0 else [str(frames[row]), f"{seconds[row]:.6f}"]
            if named:
                line.append(str(result.individuals[row]))
            out.writerow([*line, *(f"{value:.3f}" for value in values[row].tolist())])
