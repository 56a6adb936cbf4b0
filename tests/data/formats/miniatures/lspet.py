"""A miniature of LSP Extended: three images; some joints are not marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def joints() -> np.ndarray:
    table = np.random.default_rng(0).uniform(1, 40, (14, 3, 3))
    table[:, 2] = np.random.default_rng(1).random((14, 3)) < 0.7
    return table


def write(root: Path, where: str = "images", suffix: str = "jpg") -> str:
    (root / where).mkdir(exist_ok=True)
    savemat(root / "joints.mat", {"joints": joints()})
    for number in range(1, 4):
        Image.new("RGB", (40, 30 + number)).save(root / where / f"im{number:05d}.{suffix}")
    return str(root)
