"""A miniature of MPII: the JSON layout, or the official file, with four people in three images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat


def person(image: str, shift: float, missing: int = -1) -> dict[str, Any]:
    joints = [[1 + shift + j, 2.0 + 2 * j] for j in range(16)]
    flags = [int(j != missing) for j in range(16)]
    return {"image": image, "joints": joints, "joints_vis": flags, "center": [21.0, 31.0], "scale": 0.2}


PEOPLE = {
    "train": [person("a.jpg", 0), person("b.jpg", 3, missing=6), person("b.jpg", 5)],
    "valid": [person("c.jpg", 9)],
    "test": [{"image": "c.jpg", "center": [1, 2], "scale": 0.1}],
}


def pictures(root: Path) -> None:
    (root / "images").mkdir(exist_ok=True)
    for name in "abc":
        Image.new("RGB", (60, 70)).save(root / "images" / f"{name}.jpg")


def write(root: Path) -> str:
    pictures(root)
    (root / "annot").mkdir(exist_ok=True)
    for name, people in PEOPLE.items():
        (root / "annot" / f"{name}.json").write_text(json.dumps(people))
    return str(root)


def _array(rows: list[Any]) -> np.ndarray:
    """A MATLAB cell-like struct array of dicts with the same keys."""
    keys = list(rows[0])
    table = np.empty((1, len(rows)), [(key, object) for key in keys])
    for i, row in enumerate(rows):
        for key in keys:
            table[0, i][key] = row[key]
    return table


FLAGS = ["1", "0", 1.0, 0.0, np.zeros((0, 0))]
POINTS = [
    [{"x": 5.0 + i, "y": 7.0, "id": float(15 - i), "is_visible": FLAGS[i]} for i in range(5)],
    [{"x": 2.0, "y": 3.0, "id": 0.0}],
]


def official(root: Path, points: list[list[dict[str, Any]]]) -> str:
    """One person in a.jpg with flags of all kinds; two in b.jpg, the second without a position; c.jpg is for tests."""
    place = {"objpos": {"x": 21.0, "y": 31.0}, "scale": 0.2}
    labels = [{"point": _array(rows)} if rows else np.zeros((0, 0)) for rows in points]
    first = _array([{**place, "annopoints": labels[0]}])
    nobody = {"objpos": np.zeros((0, 0)), "scale": np.zeros((0, 0)), "annopoints": np.zeros((0, 0))}
    second = _array([{**place, "annopoints": labels[1]}, nobody])
    rows = [
        {"image": {"name": "a.jpg"}, "annorect": first},
        {"image": {"name": "b.jpg"}, "annorect": second},
        {"image": {"name": "c.jpg"}, "annorect": _array([place])},
    ]
    release = {"annolist": _array(rows), "img_train": np.array([[1.0, 1.0, 0.0]])}
    savemat(root / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    return str(root)


def write_official(root: Path) -> str:
    pictures(root)
    return official(root, POINTS)
