"""YOLO pose labels of two parts, three images (one without labels) and two keypoints."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

YAML = """\
path: .
train: images/train
val: [images/val]
kpt_shape: [2, 3]
flip_idx: [1, 0]
names: {0: cat, 1: dog}
kpt_names: {0: [left_ear, right_ear], 1: [left_ear, right_ear]}
"""
LABELS = {
    "train/a": "0 0.5 0.5 0.5 0.25 0.25 0.5 2 0.75 0.5 1\n1 0.25 0.25 0.5 0.5 0.125 0.125 2 0 0 0\n",
    "val/c": "1 0.5 0.5 1 1 0.5 0.25 2 0.5 0.75 2\n",
}


def write(root: Path) -> str:
    """Write the data set under ``root``; its path."""
    (root / "data.yaml").write_text(YAML)
    for name in ("train/a", "train/b", "val/c"):
        image = root / "images" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(image)
    for name, text in LABELS.items():
        label = root / "labels" / f"{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
    return str(root)
