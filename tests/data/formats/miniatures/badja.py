"""A small BADJA: a video of DAVIS, one of the extra videos, and one whose frames are not given out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

VIDEOS = {
    "dog-agility": ("DAVIS/JPEGImages/Full-Resolution/dog-agility", "jpg", 2),
    "rs_dog": ("extra_videos/rs_dog/rgb", "png", 1),
    "tiger": ("extra_videos/tiger/rgb", "png", 2),
}


def frame(path: str) -> dict[str, Any]:
    """Joint ``i`` at x = 2·i, y = i, in the file's order; every third is not visible."""
    return {
        "segmentation_path": path.replace("rgb", "segmentations"),
        "image_path": path,
        "visibility": [i % 3 != 0 for i in range(37)],
        "joints": [[i, 2 * i] for i in range(37)],
    }


def write(root: Path) -> str:
    """Writes the data under ``root``; returns what stands after ``badja:``."""
    (root / "joint_annotations").mkdir()
    for video, (folder, suffix, count) in VIDEOS.items():
        paths = [f"{folder}/{i:05d}.{suffix}" for i in range(count)]
        (root / f"joint_annotations/{video}.json").write_text(json.dumps([frame(path) for path in paths]))
        if video != "tiger":
            (root / folder).mkdir(parents=True)
            for path in paths:
                Image.new("RGB", (80, 44)).save(root / path)
    return str(root)
