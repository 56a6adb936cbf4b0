"""COCO results: a list with an object for each instance that has a prediction.

Each has ``image_id``, ``category_id``, ``keypoints`` (x, y, score one after another), ``score`` (their mean),
``file_name`` and ``calibrated``; a frame of a video also ``frame_id`` and ``time`` in seconds from the first frame on,
an individual its ``track_id``. Ids are those of the boxes' file; without one, images are numbered from 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result

SUFFIXES = (".json",)


def check(out: Path, inputs: Inputs, *, several: bool) -> None:
    """Any inputs can be written."""


def write(result: Result, file: Path) -> None:
    """Writes a json, one instance a line."""
    rows = np.flatnonzero(np.isfinite(result.triples).all(axis=(1, 2))).tolist()
    with file.open("w", encoding="utf-8") as stream:
        stream.write("[")
        for place, one in enumerate(_instances(result, rows)):
            stream.write((",\n" if place else "\n") + json.dumps(one, allow_nan=False))
        stream.write("\n]\n")


def _instances(result: Result, rows: list[int]) -> Any:
    instances, found = result.instances, result.predictions
    files, frames, seconds = result.inputs.moments(instances.image_index)
    points = np.round(result.triples.astype(np.float64), 3)
    for row in rows:
        one: dict[str, Any] = {
            "image_id": identity(str(instances.groups[row])),
            "file_name": str(result.inputs.files[files[row]]),
            "category_id": identity(str(instances.categories[row])),
            "keypoints": points[row].ravel().tolist(),
            "score": round(float(found.scores[row].mean()), 5),
            "calibrated": found.calibrated,
        }
        if frames[row] >= 0:
            one |= {"frame_id": int(frames[row]), "time": round(float(seconds[row]), 6)}
        if result.individuals[row]:
            one["track_id"] = identity(str(result.individuals[row]))
        yield one


def identity(text: str) -> int | str:
    """An id as it stood in the file: a number where the text is how that number is written."""
    return int(text) if text.isdecimal() and str(int(text)) == text else text
