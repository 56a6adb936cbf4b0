"""Predictions as DeepLabCut and Lightning Pose lay them out: a line for each image, columns for each individual."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result
from poseshift.data.table_writing import SCORER, individuals
from poseshift.errors import UsageError

COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """A table of ``L`` lines.

    Attributes:
        labels: ``L``: numbers of frames, or files of images.
        columns: Names of scorer, individual (empty where there is one without a name), bodypart and coordinate.
        values: ``L×C``; NaN where there is no prediction.
    """

    labels: tuple[int, ...] | tuple[str, ...]
    columns: tuple[tuple[str, str, str, str], ...]
    values: npt.NDArray[np.float32]

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """The header: names of its rows, and what stands in each column."""
        scorers, names, parts, coords = zip(*self.columns, strict=True)
        middle = {"individuals": names} if any(names) else {}
        return {"scorer": scorers, **middle, "bodyparts": parts, "coords": coords}


def refuse_mixed(out: Path, inputs: Inputs, name: str) -> None:
    """Raises :class:`UsageError` where the lines would be neither the frames of one video nor images."""
    if inputs.videos and inputs.video is None:
        raise UsageError(
            f"{out}: {name} has one file a video, but {len(inputs.videos)} videos and "
            f"{len(inputs.files) - len(inputs.videos)} images were given; predict them one by one, or write a .parquet "
            "or --format table"
        )


def lines_of(result: Result) -> Lines:
    """Every image as a line, be it without a prediction."""
    names, which = _individuals(result)
    count, parts = len(result.inputs), result.skeleton.keypoints
    cells = np.full((count, len(names), len(parts), 3), np.nan, np.float32)
    cells[result.instances.image_index, which] = result.triples
    columns = tuple((SCORER, name, part, coord) for name in names for part in parts for coord in COORDS)
    labels = tuple(range(count)) if result.inputs.videos else tuple(map(str, result.inputs.files))
    return Lines(labels=labels, columns=columns, values=cells.reshape(count, -1))


def _individuals(result: Result) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of individuals, and which each instance is: those of the boxes' file where it names every one."""
    given = result.individuals
    if not len(given) or (given == "").any():
        return individuals(result.instances)
    names = tuple(dict.fromkeys(given.tolist()))
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number[name] for name in given.tolist()], np.int64)


def write_csv(lines: Lines, file: Path) -> None:
    """Writes a csv with the header on top; an empty cell where there is no prediction."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        for name, row in lines.levels.items():
            table.writerow([name, *row])
        for label, values in zip(lines.labels, lines.values, strict=True):
            table.writerow([label, *("" if value != value else f"{value:.3f}" for value in values.tolist())])
