"""A dog and a sheep with 20 keypoints, with the index of the published split."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image


def write(root: Path) -> str:
    (root / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (30, 44), (90, 120, 30)).save(root / "images" / name)
    rows = [
        {
            "image_id": image,
            "category_id": kind,
            "bbox": [1, 2, 21, 32],
            "keypoints": [[i, 2 * i, i % 2] for i in range(20)],
        }
        for image, kind in ((4, 1), (11, 2))
    ]
    content = {
        "images": {"4": "a.jpg", "11": "b.jpg"},
        "annotations": rows,
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "sheep"}],
    }
    (root / "keypoints.json").write_text(json.dumps(content), encoding="utf-8")
    index = {"dog": {"train": [0], "test": [], "test_image_disjoint": []}}
    index["sheep"] = {"train": [1], "test": [], "test_image_disjoint": []}
    (root / "split_annotation_index.json").write_text(json.dumps(index), encoding="utf-8")
    return str(root)
