"""A small AP-10K: a split of its three files with two species."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = [
    *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw"),
    *("right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip"),
    *("right_knee", "right_back_paw"),
]
PARTS = {"train": [(1, 8), (2, 27)], "val": [(3, 8)], "test": [(4, 27)]}
SPECIES = {8: "dog", 27: "king cheetah"}


def instance(number: int, species: int) -> dict[str, Any]:
    """Keypoint ``i`` at (i + number, 2·i), the fourth not labelled, the fifth occluded."""
    triples = [[i + number, 2 * i, {3: 0, 4: 1}.get(i, 2)] for i in range(17)]
    triples[3] = [0, 0, 0]
    flat = [value for triple in triples for value in triple]
    box = [1, 2, 20, 30]
    return {"id": 10 + number, "image_id": number, "category_id": species, "bbox": box, "iscrowd": 0, "keypoints": flat}


def document(instances: list[tuple[int, int]]) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": 40, "height": 44} for i, _ in instances],
        "annotations": [instance(i, species) for i, species in instances],
        "categories": [
            {"id": i, "name": name, "supercategory": "x", "keypoints": NAMES, "skeleton": [[1, 2]]}
            for i, name in SPECIES.items()
        ],
    }


def write(root: Path) -> str:
    """Writes the data under ``root``; returns what stands after ``ap10k:``."""
    (root / "annotations").mkdir()
    (root / "data").mkdir()
    for part, instances in PARTS.items():
        (root / f"annotations/ap10k-{part}-split1.json").write_text(json.dumps(document(instances)))
        for i, _ in instances:
            Image.new("RGB", (40, 44), (i, 0, 0)).save(root / f"data/{i:012d}.jpg")
    return str(root)
