"""One image of each common kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write(root: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    for suffix in ("jpg", "png", "bmp", "tif", "webp"):
        Image.fromarray(pixels).save(root / f"a.{suffix}")
    return str(root)
