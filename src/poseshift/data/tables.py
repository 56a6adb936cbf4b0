"""Reading tables of keypoints as DeepLabCut and Lightning Pose write them: header rows above, one image per line.

The header rows are ``scorer``, ``bodyparts`` and ``coords``, with ``individuals`` in second place where there are
several animals; each line begins with the image's path, whole or in three columns (labeled-data, video, image). An
empty cell or NaN says that a point is not labelled.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.texts import check_image_paths, image_path, read_text
from poseshift.errors import DataError, FormatError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations, Skeleton

LIMIT = 1e6
"""No image is wider; a coordinate beyond it is a broken number."""
_HEADS = ("scorer", "bodyparts", "coords"), ("scorer", "individuals", "bodyparts", "coords")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as the file has it.

    Attributes:
        file: Where it was read.
        columns: ``(individual, bodypart, coordinate)`` of each column; the individual is empty where the file has one.
        paths: Image path of each of the ``R`` lines, with forward slashes.
        values: ``R×C``, float64; NaN where a cell is empty.
    """

    file: Path
    columns: tuple[tuple[str, str, str], ...]
    paths: tuple[str, ...]
    values: npt.NDArray[np.float64]


def columns_of(file: Path, levels: Sequence[Sequence[str]]) -> tuple[tuple[str, str, str], ...]:
    """``(individual, bodypart, coordinate)`` from the three or four header levels, the scorer's first.

    Raises:
        FormatError: There are more scorers than one.
    """
    scorers = list(dict.fromkeys(levels[0]))
    if len(scorers) != 1:
        raise FormatError(f"{str(file)!r}: its header names scorers {scorers}, expected one; split the file")
    individuals = levels[1] if len(levels) == 4 else [""] * len(levels[0])
    return tuple(zip(individuals, levels[-2], levels[-1], strict=True))


def _header(file: Path, lines: Iterable[list[str]]) -> list[list[str]]:
    """The header rows, down to the one that begins with ``coords``."""
    head: list[list[str]] = []
    for row in lines:
        head.append(row)
        if row[:1] == ["coords"] or len(head) == 4:
            break
    names = tuple(row[0][:20] if row else "" for row in head)
    if names not in _HEADS:
        raise FormatError(
            f"{str(file)!r}: its first lines begin with {list(names)}, expected {list(_HEADS[0])} or {list(_HEADS[1])}"
            "; give a file of labels as DeepLabCut or Lightning Pose writes it"
        )
    if len({len(row) for row in head}) != 1 or len(head[0]) < 2:
        raise FormatError(
            f"{str(file)!r}: header lines of {[len(row) for row in head]} cells, expected as many in each"
        )
    return head


def read_csv(file: Path) -> Table:
    """Read a table of labels; a column ``set``, with which Lightning Pose ends its predictions, is passed over.

    Raises:
        DataError: The file cannot be read.
        FormatError: It is not such a table; the message names the line.
    """
    lines = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    flat, paths = array("d"), []
    try:
        head = _header(file, lines)
        width = len(head[0])
        first = next((i for i in range(1, width) if head[0][i]), width)
        last = width - (head[0][-1] == "set")
        for row in lines:
            if not any(row):
                continue
            if len(row) != width:
                raise FormatError(
                    f"{str(file)!r}, line {lines.line_num}: {len(row)} cells, expected {width} as in the header; "
                    "correct it or write the file again"
                )
            paths.append(image_path("/".join(row[:first])))
            flat.extend([float(cell or "nan") for cell in row[first:last]])
    except (csv.Error, ValueError) as error:
        raise FormatError(
            f"{str(file)!r}, line {lines.line_num}: {error}; correct it or write the file again"
        ) from error
    columns = columns_of(file, [row[first:last] for row in head])
    values = np.array(flat, np.float64).reshape(len(paths), len(columns))
    return Table(file=file, columns=columns, paths=tuple(paths), values=values)


def _check_paths(table: Table) -> None:
    """Refuse no lines, lines that name no image, and images that are named twice."""
    file, paths = str(table.file), table.paths
    if not paths:
        raise DataError(f"{file!r} has a header and no line below it; label some images first")
    if paths[0].isdecimal():
        raise FormatError(
            f"{file!r}: its lines are numbered ({paths[0]!r}), as predictions on a video are; expected paths of images"
        )
    check_image_paths(table.file, paths)
    if len(set(paths)) != len(paths):
        again = next(path for path, count in Counter(paths).items() if count > 1)
        raise FormatError(f"{file!r} has more than one line for image {again!r}; keep one")


def _grid(table: Table, individuals: Sequence[str], bodyparts: Sequence[str]) -> npt.NDArray[np.intp]:
    """``I×K×2``: the column of each coordinate; the number of columns where the file has none."""
    count = len(table.columns)
    place = {name: i for i, name in enumerate(individuals)}, {name: i for i, name in enumerate(bodyparts)}
    grid = np.full((len(individuals), len(bodyparts), 2), count, np.intp)
    for column, (individual, bodypart, coordinate) in enumerate(table.columns):
        if coordinate not in ("x", "y", "likelihood"):
            raise FormatError(
                f"{str(table.file)!r}: {bodypart!r} has a column {coordinate!r}, expected x, y or likelihood; remove it"
            )
        if coordinate == "likelihood":
            continue
        cell = place[0][individual], place[1][bodypart], int(coordinate == "y")
        if grid[cell] != count:
            raise FormatError(
                f"{str(table.file)!r}: {individual} {bodypart!r} has two columns {coordinate!r}; keep one"
            )
        grid[cell] = column
    if lone := np.argwhere((grid == count).sum(axis=2) == 1).tolist():
        name = bodyparts[lone[0][1]]
        raise FormatError(f"{str(table.file)!r}: {name!r} has only one of the columns x and y; write the file again")
    return grid


def _points(table: Table, grid: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """``R×I×K×2`` coordinates, 0 where there are none, and ``R×I×K``: whether a point is labelled."""
    padded = np.concatenate([table.values, np.full((len(table.values), 1), np.nan)], axis=1)
    points = padded[:, grid]
    absent = np.isnan(points)
    half = absent.any(axis=-1) != absent.all(axis=-1)
    wrong = half | (np.abs(points) > LIMIT).any(axis=-1)
    if bad := np.argwhere(wrong)[:1].tolist():
        row, one, part = bad[0]
        individual, name, _ = table.columns[grid[one, part, 0]]
        found = [float(value) for value in points[row, one, part]]
        raise FormatError(
            f"{str(table.file)!r}: {f'{individual} {name}'.strip()!r} of {table.paths[row]!r} has x, y {found}, "
            "expected two numbers in pixels, or none; correct it"
        )
    return np.where(absent, 0, points).astype(np.float32), ~absent.any(axis=-1)


@dataclass(frozen=True, kw_only=True)
class Instances:
    """The labelled instances of some tables: which line (counted over all tables), which individual, its points."""

    bodyparts: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    individuals: npt.NDArray[np.str_]
    points: npt.NDArray[np.float32]
    labelled: npt.NDArray[np.bool_]


def instances(tables: Sequence[Table], *, labelled: bool = True) -> Instances:
    """The instances with a labelled point, of all tables, by line; bodyparts in the order of their first appearance.

    Without labels every line is one instance: only its points would tell whether an image shows an animal, and which.

    Raises:
        DataError: A table has no line, or nothing is labelled in any.
        FormatError: An image or a column is there twice, or a coordinate is no pixel.
    """
    bodyparts = tuple(dict.fromkeys(part for table in tables for _, part, _ in table.columns))
    rows, names, points, marks, before = [], [], [], [], 0
    for table in tables:
        _check_paths(table)
        individuals = tuple(dict.fromkeys(one for one, _, _ in table.columns))
        grid = _grid(table, individuals, bodyparts)
        if labelled:
            found, known = _points(table, grid)
            row, one = np.nonzero(known.any(axis=2))
        else:
            individuals, (row, one) = ("",), (np.arange(len(table.paths)), np.zeros(len(table.paths), np.int64))
            found = np.zeros((len(row), 1, len(bodyparts), 2), np.float32)
            known = np.zeros(found.shape[:3], np.bool_)
        rows.append(row + before)
        names.append(np.array(individuals)[one])
        points.append(found[row, one])
        marks.append(known[row, one])
        before += len(table.paths)
    if not sum(map(len, rows)):
        raise DataError(f"{str(tables[0].file)!r} has {before} images and no labelled point; use images:FOLDER instead")
    return Instances(
        bodyparts=bodyparts,
        rows=np.concatenate(rows),
        individuals=np.concatenate(names),
        points=np.concatenate(points),
        labelled=np.concatenate(marks),
    )


def as_annotations(
    name: str, images: ImageFiles, found: Instances, skeleton: Skeleton, *, category: str, note: str, labelled: bool
) -> Annotations:
    """Columns for the instances of tables: grouped by the folder that an image lies in, without boxes."""
    folders = np.array([path.rpartition("/")[0].rpartition("/")[2] for path in images.paths])
    bare = f"{len(images) - len(np.unique(found.rows))} of {len(images)} images have no label."
    return Annotations(
        name=name,
        images=images,
        image_index=found.rows.astype(np.int64),
        skeleton=skeleton,
        keypoints=found.points,
        visible=np.where(found.labelled, VISIBLE, NOT_LABELLED).astype(np.uint8),
        boxes=np.full((len(found.rows), 4), np.nan, np.float32),
        groups=folders[found.rows],
        categories=np.where(found.individuals == "", category, found.individuals),
        note=f"{note} No boxes: use boxes from_keypoints or whole. {bare}"
        if labelled
        else "Each line, so each image, is one instance, whatever its labels. No boxes: use boxes whole.",
    )


def image_files(
    file: Path, paths: tuple[str, ...], places: Sequence[tuple[Path, int]], *, allow_outside: bool
) -> ImageFiles:
    """The images of a table, in the first place that has any of the first twenty.

    Args:
        file: The table.
        paths: As the table has them.
        places: Folders to look in, each with how many last parts of a path to keep; 0 keeps it whole.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.

    Raises:
        DataError: A path leaves the root, or an image is missing.
    """
    ImageFiles(root=places[0][0], paths=paths, allow_outside=allow_outside)
    for root, parts in places:
        names = tuple("/".join(path.split("/")[-parts:]) for path in paths) if parts else paths
        missing = missing_files(root, names[:20])
        if len(missing) < len(names[:20]):
            break
    if missing := missing_files(root, names):
        looked = ", ".join(repr(str(folder)) for folder, _ in places)
        raise DataError(
            f"{str(file)!r}: {len(missing)} of {len(paths)} images have no file, the first is {paths[missing[0]]!r}; "
            f"looked in {looked}: put the images there, or drop their lines"
        )
    return ImageFiles(root=root, paths=names, allow_outside=allow_outside)
