"""DeepLabCut projects (Mathis et al., Nature Neuroscience 2018; Lauer et al., Nature Methods 2022).

``PATH`` is a project folder (``config.yaml`` and ``labeled-data/<video>/CollectedData_<scorer>.csv`` or ``.h5``), a
folder with one such file, or the file itself. Where both lie side by side the csv is read, since both hold the same
numbers.

The csv has three header rows (scorer, bodyparts, coords) or, with several animals, four (scorer, individuals,
bodyparts, coords); the image's path is one column or three. The HDF5 file is what pandas writes: its *fixed* layout
holds the header as plain arrays; its *table* layout, which older versions of DeepLabCut wrote, holds it as a pickle of
texts, which :mod:`poseshift.data.pickles` interprets and nothing unpickles. Joints are those of the files, in their
order of appearance; unique bodyparts of a project of several animals belong to the individual ``single``.
``skeleton`` of ``config.yaml`` gives the edges.

Empty or NaN is not labelled; everything else becomes visibility 2, for the format has no flag of occlusion.
DeepLabCut's labelling tools show images with whole numbers at the centres of pixels and count them from 0, so
coordinates are taken as they are. An image is looked for under the project as its path says, else beside the file by
the path's last parts, since projects are moved and renamed. Groups are the folders of the videos, categories the
individuals (``animal`` where there is one). There are no boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data import pickles
from poseshift.data.drafts import draft
from poseshift.data.images import ImageFiles
from poseshift.data.layouts import Layout
from poseshift.data.skeletons import known_or_new
from poseshift.data.table_writing import SCORER, individuals, write_csv
from poseshift.data.tables import Table, as_annotations, columns_of, image_files, instances, read_csv
from poseshift.data.texts import image_path, read_yaml
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

SPLITS: tuple[str, ...] = ("all",)
LAYOUT = Layout(suffix=".csv", folder="labeled-data", by_group=True, empty=False)
_KEYS = ("df_with_missing", "keypoints")  # DeepLabCut's, and that of its plugin for napari
_MAX_CELLS = 500_000_000


def _one_per_folder(files: Sequence[Path], scorer: object) -> list[Path]:
    """One file of labels per folder: the configured scorer's where there are several, the csv before the HDF5."""
    chosen = []
    for folder in dict.fromkeys(file.parent for file in files):
        here = [file for file in files if file.parent == folder]
        stems = {file.stem for file in here}
        if len(stems) > 1 and f"CollectedData_{scorer}" in stems:
            here = [file for file in here if file.stem == f"CollectedData_{scorer}"]
        elif len(stems) > 1:
            raise DataError(
                f"deeplabcut: {str(folder)!r} holds labels of several scorers, {sorted(stems)}; give one file, "
                "or name the scorer in config.yaml"
            )
        chosen.append(min(here, key=lambda file: file.suffix != ".csv"))
    return chosen


def _files(path: Path, config: dict[str, Any]) -> list[Path]:
    """The files of labels that ``path`` means, sorted."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"deeplabcut: looked for a folder or file {str(path)!r} and found none; give deeplabcut:FOLDER")
    for pattern in ("labeled-data/*/CollectedData*", "CollectedData*"):
        found = sorted(file for file in path.glob(pattern) if file.suffix in (".csv", ".h5"))
        if found:
            return _one_per_folder(found, config.get("scorer"))
    raise DataError(
        f"deeplabcut: looked for labeled-data/*/CollectedData_*.csv in {str(path)!r} and found none; "
        "give the project's folder, or the file itself"
    )


def _root(path: Path) -> Path:
    """The folder of the project: a file of labels lies two folders below it."""
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    single = path.is_file() or (not (folder / "labeled-data").is_dir() and any(folder.glob("CollectedData*")))
    return folder.parent.parent if single else folder


def _strings(file: Path, node: Any, level: str) -> list[str]:
    """The texts of an array of fixed-length strings; whatever else is a pickle."""
    if node.dtype.kind != "S" or node.size > _MAX_CELLS:
        raise FormatError(
            f"{str(file)!r}: {level} of its header is stored as a pickle, which is never opened; give the csv "
            f"beside it: deeplabcut:{file.with_suffix('.csv').name}"
        )
    return [value.decode("utf-8") for value in node[()].tolist()]


def _axis(file: Path, group: Any, key: str) -> list[list[str]]:
    """The levels of an axis of pandas' fixed layout, each as long as the axis: one for a plain index."""
    if key in group:
        return [_strings(file, group[key], key)]
    levels = []
    for number in range(int(group.attrs[f"{key}_nlevels"])):
        names = np.array(_strings(file, group[f"{key}_level{number}"], f"{key}_level{number}"))
        label = f"{key}_label{number}" if f"{key}_label{number}" in group else f"{key}_code{number}"
        codes = group[label][()].astype(np.int64)
        if codes.min(initial=0) < 0:
            raise FormatError(f"{str(file)!r}: {label} of its header leaves a name out; give the csv beside it")
        levels.append(names[codes].tolist())
    return levels


def _fixed(file: Path, group: Any) -> Table:
    """The table of a group in pandas' fixed layout: axis 0 the header, axis 1 the lines, one block of values."""
    levels, lines = _axis(file, group, "axis0"), _axis(file, group, "axis1")
    if int(group.attrs["nblocks"]) != 1 or len(levels) not in (3, 4):
        raise FormatError(
            f"{str(file)!r}: {int(group.attrs['nblocks'])} blocks and {len(levels)} header levels, expected one block "
            "of numbers and 3 or 4 levels; give the csv beside it"
        )
    node = group["block0_values"]
    shape = len(lines[0]), len(levels[0])
    if node.shape != shape or node.dtype.kind != "f" or shape[0] * shape[1] > _MAX_CELLS:
        raise FormatError(
            f"{str(file)!r}: block0_values is {node.dtype} of shape {node.shape}, expected numbers of shape {shape}; "
            "give the csv beside it"
        )
    values: npt.NDArray[np.float64] = node[()].astype(np.float64)
    # A block has its own order of columns.
    found = {column: i for i, column in enumerate(zip(*_axis(file, group, "block0_items"), strict=True))}
    order = [found[column] for column in zip(*levels, strict=True)]
    paths = tuple(image_path("/".join(parts)) for parts in zip(*lines, strict=True))
    return Table(file=file, columns=columns_of(file, levels), paths=paths, values=values[:, order])


def _in_rows(file: Path, node: Any) -> Table:
    """The table of pandas' table layout: the path and one block of numbers a row, the header a pickle of texts."""
    names, paths, block = node.dtype.names, node.dtype.fields["index"][0], node.dtype.fields["values_block_0"][0]
    if set(names) != {"index", "values_block_0"} or paths.kind != "S" or block.base.kind != "f":
        raise FormatError(
            f"{str(file)!r}: its table has columns {list(names)}, expected one of paths and one of numbers; give the "
            "csv beside it"
        )
    header = pickles.loads(bytes(node.attrs["values_block_0_kind"]), f"the header of {file}")
    rows = header if isinstance(header, list) else []
    texts = all(isinstance(one, tuple) and all(isinstance(part, str) for part in one) for one in rows)
    if not texts or {len(one) for one in rows} not in ({3}, {4}) or block.shape != (len(rows),):
        raise FormatError(
            f"{str(file)!r}: its header is {str(header)[:80]!r} for numbers of shape {block.shape}, expected 3 or 4 "
            "names a column; give the csv beside it"
        )
    if node.size * len(rows) > _MAX_CELLS:
        raise FormatError(f"{str(file)!r}: {node.size} rows of {len(rows)} numbers are no labels; give the csv")
    content = node[()]
    lines = tuple(image_path(path.decode("utf-8")) for path in content["index"].tolist())
    values: npt.NDArray[np.float64] = content["values_block_0"].astype(np.float64)
    levels = [[one[level] for one in rows] for level in range(len(rows[0]))]
    return Table(file=file, columns=columns_of(file, levels), paths=lines, values=values)


def _read_h5(file: Path) -> Table:
    """Read pandas' HDF5; nothing is unpickled."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"{str(file)!r} needs h5py: pip install 'poseshift[hdf5]', or give the csv beside it"
        ) from error
    try:
        with h5py.File(file, "r") as content:
            key = next((key for key in _KEYS if key in content), next(iter(content), ""))
            if not key:
                raise FormatError(f"{str(file)!r} is empty; expected a group {_KEYS[0]!r}: give the csv beside it")
            group = content[key]
            return _in_rows(file, group["table"]) if "table" in group else _fixed(file, group)
    except FormatError:
        raise
    except Exception as error:  # h5py raises almost anything on a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(
            f"{str(file)!r} is no HDF5 of labels as pandas writes it ({reason}); give the csv beside it"
        ) from error


def _edges(file: Path, config: dict[str, Any], bodyparts: tuple[str, ...]) -> list[tuple[int, int]]:
    """Pairs of indices from ``skeleton``; pairs with a bodypart that is not in the files are left out."""
    pairs = config.get("skeleton") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise FormatError(f"{str(file)!r}: 'skeleton' must be a list of pairs of bodyparts; found {str(pairs)[:80]}")
    place = {name: i for i, name in enumerate(bodyparts)}
    named = [(str(first), str(second)) for first, second in pairs]
    return [(place[first], place[second]) for first, second in named if first in place and second in place]


def _images(root: Path, tables: Sequence[Table], *, allow_outside: bool) -> ImageFiles:
    """The images of all tables under one root: the folder of the project, or that of the one file."""
    several = len(tables) > 1
    found = []
    for table in tables:
        folder = table.file.parent
        near = [] if several else [(folder, 0), (folder.parent, 2), (folder, 1)]
        found.append(image_files(table.file, table.paths, [(root, 0), *near], allow_outside=allow_outside))
    paths = tuple(path for images in found for path in images.paths)
    if len(set(paths)) != len(paths):
        again = Counter(paths).most_common(1)[0][0]
        raise FormatError(f"deeplabcut: {again!r} is labelled in more than one file of {str(root)!r}; keep one")
    return ImageFiles(root=found[0].root, paths=paths, allow_outside=allow_outside)


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read a DeepLabCut project, or one of its files of labels.

    Args:
        path: See above.
        split: ``all`` or None; a project's own shuffles are no part of its labels.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it each line, so each image, is one instance: points alone would tell individuals apart.

    Raises:
        UsageError: Unknown split, or an HDF5 file without h5py.
        DataError: A file or an image is missing, or nothing is labelled.
        FormatError: A file is not what DeepLabCut writes; the message names the line or the image.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"deeplabcut has no split {split!r}; expected one of {', '.join(SPLITS)}")
    given = Path(path)
    root = _root(given)
    settings = root / "config.yaml"
    config = read_yaml(settings) if settings.is_file() else {}
    files = _files(given, config)
    tables = [read_csv(file) if file.suffix != ".h5" else _read_h5(file) for file in files]
    found = instances(tables, labelled=labelled)
    title = given.stem if given.is_file() else given.absolute().name
    edges = _edges(settings, config, found.bodyparts)
    return as_annotations(
        title,
        _images(root, tables, allow_outside=allow_outside),
        found,
        known_or_new(title, found.bodyparts, edges=edges),
        category="animal",
        note="DeepLabCut counts pixels from 0 at their centres: coordinates are taken as they are.",
        labelled=labelled,
    )


def write(annotations: Annotations, path: Path | str) -> None:
    """Write labels for DeepLabCut; image files are named by their keys and not copied.

    A ``path`` that ends in ``.csv`` becomes one file. Any other is the folder of a project, and each folder
    ``labeled-data/VIDEO`` that images lie in gets its ``CollectedData_poseshift.csv``. DeepLabCut's own
    ``convertcsv2h5`` makes from these what it trains from; its ``config.yaml`` is not written. Where an image has
    several instances, the files have individuals: the categories, or numbers where these repeat.

    Occlusion, boxes, edges and images without an instance are no part of the files and are lost; so are categories
    where there are no individuals.

    Raises:
        DataError: A file exists already, the disk refuses, or an image of a project lies elsewhere than in
            ``labeled-data/VIDEO``.
    """
    root, (names, which) = Path(path), individuals(annotations)
    if root.suffix.lower() == LAYOUT.suffix:
        with draft(root) as temporary:
            write_csv(annotations, temporary, names, which)
        return
    keys = [annotations.images.key(image) for image in annotations.image_index.tolist()]
    parts = [key.split("/") for key in keys]
    if lost := [key for key, part in zip(keys, parts, strict=True) if len(part) != 3 or part[0] != LAYOUT.folder]:
        raise DataError(
            f"deeplabcut: image {lost[0]!r} does not lie in labeled-data/VIDEO, as those of a project do; move the "
            "images there, or write one file: deeplabcut:FILE.csv"
        )
    videos = np.array([part[1] for part in parts])
    with ExitStack() as stack:
        for video in np.unique(videos).tolist():
            rows = np.flatnonzero(videos == video)
            target = root / LAYOUT.folder / video / f"CollectedData_{SCORER}.csv"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_csv(annotations.select(rows), stack.enter_context(draft(target)), names, which[rows])
