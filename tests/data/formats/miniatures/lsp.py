"""Three images with 14 joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def write(root: Path) -> str:
    (root / "images").mkdir()
    joints = np.random.default_rng(0).uniform(1, 20, (3, 14, 3))
    joints[2] = joints[2] > 15
    for number in range(1, 4):
        Image.new("RGB", (30, 20 + number), (90, 120, 30)).save(root / f"images/im{number:04d}.jpg")
    savemat(root / "joints.mat", {"joints": joints}, do_compression=True)
    return str(root)
