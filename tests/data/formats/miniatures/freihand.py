"""A miniature of FreiHAND: three poses in four versions each, and the labels of one evaluation image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CAMERA = np.array([[100.0, 0, 112], [0, 100, 112], [0, 0, 1]])


def joints(pose: int) -> np.ndarray:
    """21×3; joint ``j`` of pose ``p`` is projected to (112 + j + p, 112 - 2 j)."""
    steps = np.arange(21)
    return np.stack([(steps + pose) / 50, -steps / 25, np.full(21, 2.0)], axis=1)


def write(root: Path, poses: int = 3) -> str:
    for part, count, images in (("training", poses, 4 * poses), ("evaluation", 1, 1)):
        (root / part / "rgb").mkdir(parents=True, exist_ok=True)
        (root / f"{part}_K.json").write_text(json.dumps([CAMERA.tolist()] * count))
        (root / f"{part}_xyz.json").write_text(json.dumps([joints(i).tolist() for i in range(count)]))
        for i in range(images):
            Image.new("RGB", (224, 220), (i, 0, 0)).save(root / part / "rgb" / f"{i:08d}.jpg")
    return str(root)
