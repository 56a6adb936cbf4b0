"""DeepLabCut's csv and HDF5 of predictions: a line a frame or image, columns of x, y and likelihood.

Three header rows (scorer, bodyparts, coords), four where boxes name individuals or an image has several. Lines of a
video begin with the number of the frame, those of images with their file. The HDF5 file has the key
``df_with_missing``, in what pandas calls the fixed format: ``pandas.read_hdf`` gives the same table as the csv.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.result import Result
from poseshift.apps.predict.writers import lines
from poseshift.apps.predict.writers.lines import Lines
from poseshift.errors import UsageError

SUFFIXES = (".csv", ".h5")
KEY = "df_with_missing"


def check(out: Path, inputs: Inputs, *, several: bool) -> None:
    """Refuses several videos, or one among images, and HDF5 without h5py."""
    lines.refuse_mixed(out, inputs, "DeepLabCut")
    if out.suffix == ".h5":
        _h5py()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UsageError("an .h5 file needs h5py: pip install 'poseshift[hdf5]', or write a .csv") from error
    return h5py


def write(result: Result, file: Path) -> None:
    """Writes an HDF5 file under a name that ends in .h5, else a csv."""
    if file.suffix == ".h5":
        _write_h5(lines.lines_of(result), file)
    else:
        lines.write_csv(lines.lines_of(result), file)


def _write_h5(table: Lines, file: Path) -> None:
    with _h5py().File(file, "w") as content:
        _note(content, {"CLASS": "GROUP", "PYTABLES_FORMAT_VERSION": "2.1", "TITLE": "", "VERSION": "1.0"})
        group = content.create_group(KEY)
        _note(group, {"CLASS": "GROUP", "TITLE": "", "VERSION": "1.0", "pandas_type": "frame", "encoding": "UTF-8"})
        _note(group, {"errors": "strict", "ndim": 2, "nblocks": 1, "axis1_variety": "regular"})
        for axis in ("axis0", "block0_items"):
            _write_header(group, axis, table.levels)
        texts = bool(table.labels) and isinstance(table.labels[0], str)
        labels = np.char.encode(np.array(table.labels, np.str_), "utf-8") if texts else np.array(table.labels, np.int64)
        _array(group, "axis1", labels, kind="string" if texts else "integer")
        _array(group, "block0_values", table.values.astype(np.float64))


def _write_header(group: Any, axis: str, levels: Mapping[str, tuple[str, ...]]) -> None:
    """An index of several levels: the names of each, and which of them every column has."""
    _note(group, {f"{axis}_variety": "multi", f"{axis}_nlevels": len(levels)})
    for number, (name, column) in enumerate(levels.items()):
        names = list(dict.fromkeys(column))
        texts = np.char.encode(np.array(names, np.str_), "utf-8")
        _array(
            group, f"{axis}_level{number}", texts, kind="string", name=name, nan_rep="", **{f"{axis}_name{name}": name}
        )
        codes = np.array([names.index(one) for one in column], np.int32)
        _array(group, f"{axis}_label{number}", codes)


def _array(group: Any, key: str, values: Any, **notes: str) -> None:
    node = group.create_dataset(key, data=values)
    _note(node, {"CLASS": "ARRAY", "FLAVOR": "numpy", "TITLE": "", "VERSION": "2.4", **notes})
    node.attrs["transposed"] = np.uint8(1)


def _note(node: Any, notes: Mapping[str, str | int]) -> None:
    """Attributes as PyTables has them, which takes a text for bytes where it is not marked as UTF-8."""
    h5py = _h5py()
    for key, value in notes.items():
        if isinstance(value, str) and value:
            node.attrs.create(key, value.encode(), dtype=h5py.string_dtype("utf-8", len(value.encode())))
        else:
            node.attrs[key] = value if isinstance(value, int) else h5py.Empty("S1")
