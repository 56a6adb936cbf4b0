"""A small SyntheticAnimal: two horses and a tiger as arrays, split by a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from poseshift.data.formats.synthetic_animal import VERTICES

NAMES = ("0_Horse_walk_0.10_250.00_0.00_0.00", "1_Horse_walk_0.10_250.00_40.00_10.00")


def vertices(animal: str, seed: int) -> np.ndarray:
    """Noise inside the picture, with joint ``i`` at (10·i + 20, 400 - 10·i)."""
    array = np.random.default_rng(seed).uniform((50, 60, 0), (600, 420, 1), (3299, 3))
    array[:, 2] = array[:, 2] > 0.5
    for i, vertex in enumerate(VERTICES[animal]):
        array[vertex] = 10 * i + 20, 400 - 10 * i, i % 2
    return array


def write_animal(root: Path, animal: str, names: tuple[str, ...] = NAMES) -> None:
    folder = root / "synthetic_animal" / f"{animal}_combineds5r5_texture"
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        Image.new("RGB", (640, 480), (60 * i, 90, 120)).save(folder / f"{name}.png_img.png")
        np.save(folder / f"{name}.png_kpts.npy", vertices(animal, i))


def write(root: Path) -> str:
    """Writes the data under ``root``; returns what stands after ``synthetic_animal:``."""
    write_animal(root, "horse")
    write_animal(root, "tiger", NAMES[:1])
    splits = {"horse": {"train": [1], "valid": [0]}, "tiger": {"train": [0], "valid": []}}
    (root / "synthetic_animal.json").write_text(json.dumps(splits))
    return str(root)


def whole(root: Path) -> str:
    """As :func:`write`, with hounds and sheep: for commands that name these."""
    write(root)
    splits = json.loads((root / "synthetic_animal.json").read_text())
    for animal in ("hound", "sheep"):
        write_animal(root, animal)
        splits[animal] = {"train": [0, 1], "valid": []}
    (root / "synthetic_animal.json").write_text(json.dumps(splits))
    return str(root)
