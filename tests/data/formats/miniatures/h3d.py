"""A miniature of the processed Hand-3D-Studio: twelve images, two of them with an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def rows() -> list[dict[str, Any]]:
    return [
        {
            "name": f"part{1 + i % 5}/{i}.jpg",
            "keypoint2d": [[i + j, 2.5 * j] for j in range(21)],
            "keypoint3d": [[0.0, 0.0, 1.0]] * 21,
            "intrinsic_matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            "without_object": int(i not in (3, 4)),
        }
        for i in range(12)
    ]


def write(root: Path) -> str:
    (root / "annotation.json").write_text(json.dumps(rows()))
    for row in rows():
        (root / row["name"]).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 64)).save(root / row["name"])
    return str(root)
