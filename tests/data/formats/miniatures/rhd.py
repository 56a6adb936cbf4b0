"""A miniature of RHD: three training images and one evaluation image."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def hand(x: float, y: float, size: float, visible: int = 21) -> np.ndarray:
    """21×3 in the order of the files: the joints lie on a diagonal, numbered from the wrist, tips first in a finger."""
    steps = np.linspace(0, size, 21)
    flags = (np.arange(21) < visible).astype(float)
    return np.stack([x + steps, y + steps * 0.9, flags], axis=1)


def entry(left: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    camera = np.array([[299.0, 0, 160], [0, 299, 160], [0, 0, 1]])
    return {"uv_vis": np.concatenate([left, right]), "xyz": np.ones((42, 3)), "K": camera}


CONTENT = {
    "training": {
        0: entry(hand(10, 20, 100), hand(200, 200, 60)),  # both
        1: entry(hand(100, 100, 80, visible=16), hand(200, 200, 20)),  # one with too few joints, one too small
        7: entry(hand(100, 100, 80), hand(110, 100, 80)),  # over each other
    },
    "evaluation": {3: entry(hand(300, 300, 20, visible=0), hand(20, 40, 120, visible=17))},  # the right one
}


def write(root: Path, protocol: int = 2) -> str:
    for folder, content in CONTENT.items():
        (root / folder / "color").mkdir(parents=True, exist_ok=True)
        (root / folder / f"anno_{folder}.pickle").write_bytes(pickle.dumps(content, protocol))
        for number in content:
            Image.new("RGB", (320, 320), (number, 80, 0)).save(root / folder / "color" / f"{number:05d}.png")
    return str(root)
