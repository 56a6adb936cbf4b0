"""A DeepLabCut project of two videos: two mice and a corner of the box, seen in three frames."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

CONFIG = """\
Task: mice
scorer: Ann
multianimalproject: true
skeleton:
- [nose, tail]
- [nose, unknown]
"""
HEADER = """\
scorer,,,Ann,Ann,Ann,Ann,Ann,Ann,Ann,Ann,Ann,Ann
individuals,,,one,one,one,one,two,two,two,two,single,single
bodyparts,,,nose,nose,tail,tail,nose,nose,tail,tail,corner,corner
coords,,,x,y,x,y,x,y,x,y,x,y
"""
LINES = {
    "a": ["img1.png,1.5,2,3,4.25,,,,,20,21", "img2.png,,,5,6,7,8,9,10,,"],
    "b": ["img1.png,,,,,11,12,,,,"],
}


def write(root: Path) -> str:
    """Write the project under ``root``; its path."""
    (root / "config.yaml").write_text(CONFIG)
    for video, lines in LINES.items():
        folder = root / "labeled-data" / video
        folder.mkdir(parents=True)
        text = HEADER + "".join(f"labeled-data,{video},{line}\n" for line in lines)
        (folder / "CollectedData_Ann.csv").write_text(text)
        for line in lines:
            Image.new("RGB", (32, 24)).save(folder / line.split(",")[0])
    return str(root)


def write_rows(root: Path) -> str:
    """The same labels as pandas' ``to_hdf(format="table")`` writes them; the path of the project."""
    write(root)
    names = [line.split(",")[3:] for line in HEADER.splitlines()]
    header = pickle.dumps(list(zip(*names, strict=True)), protocol=0)
    for file in root.rglob("*.csv"):
        rows = [line.split(",") for line in file.read_text().splitlines()[4:]]
        kind = np.dtype([("index", "S40"), ("values_block_0", "<f8", (len(names[0]),))])
        numbers = [("/".join(row[:3]).encode(), [float(cell or "nan") for cell in row[3:]]) for row in rows]
        with h5py.File(file.with_suffix(".h5"), "w") as content:
            node = content.create_dataset("df_with_missing/table", data=np.array(numbers, kind))
            node.attrs["values_block_0_kind"] = np.bytes_(header)
        file.unlink()
    return str(root)
