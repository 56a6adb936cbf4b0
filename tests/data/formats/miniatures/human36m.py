"""A miniature of Human3.6M: two subjects, seven frames of one action, in both layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CAMERAS: dict[str, Any] = {
    "1": {"R": np.eye(3).tolist(), "t": [0, 0, 1000], "f": [500, 400], "c": [50, 60]},
    "2": {"R": [[0, -1, 0], [1, 0, 0], [0, 0, 1]], "t": [10, 20, 2000], "f": [500, 500], "c": [51.5, 60]},
}


def joints(frame: int) -> np.ndarray:
    """17×3 in the world."""
    steps = np.arange(17.0)
    return np.stack([4 * steps + frame, 40 - 3 * steps, 5 * steps], axis=1)


def write(root: Path, subjects: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 11), frames: int = 7) -> str:
    folder = root / "annotations"
    folder.mkdir(exist_ok=True)
    for subject in subjects:
        below = f"s_{subject:02d}"
        (root / "images" / below).mkdir(parents=True, exist_ok=True)
        rows = []
        for frame in range(frames):
            name = f"{below}/{frame}.jpg"
            Image.new("RGB", (100, 110)).save(root / "images" / name)
            place = {"action_idx": 2, "subaction_idx": 1, "frame_idx": frame, "cam_idx": 1 + frame % 2}
            rows.append({"id": frame, "file_name": name, **place})
        world = {"2": {"1": {str(frame): joints(frame).tolist() for frame in range(frames)}}}
        for part, content in (("data", {"images": rows}), ("camera", CAMERAS), ("joint_3d", world)):
            (folder / f"Human36M_subject{subject}_{part}.json").write_text(json.dumps(content))
    return str(root)


def write_cropped(root: Path, subjects: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 11)) -> str:
    (root / "annotations").mkdir(exist_ok=True)
    for subject in subjects:
        rows = []
        for i in range(3):
            name = f"s_{subject:02d}/{i}.jpg"
            (root / "crop_images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (512, 512)).save(root / "crop_images" / name)
            rows.append({"name": name, "keypoint2d": [[j + i, 20.5 * j] for j in range(16)]})
        (root / f"annotations/keypoints2d_{subject}.json").write_text(json.dumps(rows))
    return str(root)
