"""A Parquet file with a row for each instance.

Columns: ``file``, ``frame`` and ``time`` (seconds from the first frame on; none for an image), ``id`` of the
individual, the box ``box_x0`` to ``box_y1``, ``x``, ``y`` and ``score`` of each keypoint. The metadata ``poseshift``
is a JSON object with ``skeleton``, ``keypoints`` and ``calibrated``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result
from poseshift.data.parquet import pyarrow_module

SUFFIXES = (".parquet",)


def check(out: Path, inputs: Inputs, *, several: bool) -> None:
    """Raises :class:`UsageError` without pyarrow."""
    pyarrow_module()


def write(result: Result, file: Path) -> None:
    """Writes a Parquet file."""
    arrow, values = pyarrow_module(), result.triples
    files, frames, seconds = result.inputs.moments(result.instances.image_index)
    paths = [str(path) for path in result.inputs.files]
    columns: dict[str, Any] = {
        "file": arrow.DictionaryArray.from_arrays(files.astype(np.int32), paths),
        "frame": arrow.array(frames, mask=frames < 0),
        "time": arrow.array(seconds, mask=frames < 0),
        "id": arrow.array(result.individuals.tolist(), mask=result.individuals == ""),
    }
    for number, name in enumerate(("box_x0", "box_y0", "box_x1", "box_y1")):
        columns[name] = np.ascontiguousarray(result.instances.boxes[:, number])
    for number, keypoint in enumerate(result.skeleton.keypoints):
        for place, part in enumerate(("x", "y", "score")):
            columns[f"{keypoint}_{part}"] = np.ascontiguousarray(values[:, number, place])
    about = {
        "skeleton": result.skeleton.name,
        "keypoints": result.skeleton.keypoints,
        "calibrated": result.predictions.calibrated,
    }
    table = arrow.table(columns).replace_schema_metadata({"poseshift": json.dumps(about)})
    arrow.parquet.write_table(table, file)
