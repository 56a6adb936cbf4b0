"""Two images, three instances of three points, one of them without a labelled one."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image


def write(root: Path) -> str:
    (root / "images").mkdir()
    for name, size in (("a.jpg", (30, 20)), ("b.png", (24, 32))):
        Image.new("RGB", size, (90, 120, 30)).save(root / "images" / name)
    points = ([1, 2, 2, 3.5, 4, 1, 0, 0, 0], [5, 6, 2, 7, 8, 2, 9, 10, 2], [0] * 9)
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "width": 30, "height": 20}, {"id": 4, "file_name": "b.png"}],
        "annotations": [
            {"id": i, "image_id": 3 + i % 2, "category_id": 1, "bbox": [1, 2, 10, 12], "keypoints": row, "iscrowd": 0}
            for i, row in enumerate(points)
        ],
        "categories": [
            {"id": 1, "name": "cat", "keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]}
        ],
    }
    (root / "labels.json").write_text(json.dumps(content), encoding="utf-8")
    return str(root / "labels.json")
