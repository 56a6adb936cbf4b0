"""Three tasks: two mice in rectangles (by parent and by relation), points without a rectangle, and no points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def region(kind: str, label: str, key: str, **value: float) -> dict[str, Any]:
    size = {"original_width": 40, "original_height": 20, "image_rotation": 0}
    return {"id": key, "type": kind, **size, "value": {**value, kind: [label]}}


def tasks() -> list[dict[str, Any]]:
    first = [
        region("rectanglelabels", "mouse", "r1", x=10, y=20, width=50, height=60, rotation=0),
        region("rectanglelabels", "rat", "r2", x=0, y=0, width=100, height=100),
        region("rectanglelabels", "rat", "r3", x=0, y=0, width=100, height=100),
        {**region("keypointlabels", "nose", "a", x=50, y=25, width=1), "parentID": "r1"},
        {**region("keypointlabels", "left_ear", "b", x=0, y=0, width=1), "parentID": "r1"},
        region("keypointlabels", "nose", "c", x=100, y=100, width=1),
        {"type": "relation", "from_id": "c", "to_id": "r2", "direction": "right"},
    ]
    second = [
        region("keypointlabels", "right_ear", "d", x=12.5, y=5),
        region("keypointlabels", "nose", "e", x=25, y=50),
    ]
    other = [region("keypointlabels", "nose", "f", x=1, y=1)]
    cancelled = {"was_cancelled": True, "result": other}
    return [
        {"id": 7, "data": {"image": "/data/upload/3/0123abcd-a.png"}, "annotations": [cancelled, {"result": first}]},
        {
            "id": 8,
            "data": {"text": "x", "img": "/data/local-files/?d=deep/b%20c.png"},
            "annotations": [{"result": second}],
        },
        {"id": 9, "data": {"image": "https://x.y/z/gone.png"}, "annotations": []},
    ]


def write(root: Path) -> str:
    (root / "images/deep").mkdir(parents=True)
    Image.new("RGB", (40, 20), (9, 9, 9)).save(root / "images/a.png")
    Image.new("RGB", (40, 20), (77, 77, 77)).save(root / "images/deep/b c.png")
    (root / "export.json").write_text(json.dumps(tasks()), encoding="utf-8")
    return str(root / "export.json")
