"""Two images in a zip: two skeletons of three points, one of them with a point outside and one occluded."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SVG = (
    '<line data-type="edge" data-node-from="1" data-node-to="2"></line>'
    '<circle data-node-id="1" data-label-name="nose"></circle>'
    '<circle data-node-id="2" data-label-name="left_ear"></circle>'
    '<circle data-node-id="3" data-label-name="right_ear"></circle>'
)
XML = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>mice</name><labels>
    <label><name>mouse</name><type>skeleton</type><svg>{SVG.replace("<", "&lt;").replace(">", "&gt;")}</svg></label>
    <label><name>nose</name><type>points</type><parent>mouse</parent></label>
    <label><name>left_ear</name><type>points</type><parent>mouse</parent></label>
    <label><name>right_ear</name><type>points</type><parent>mouse</parent></label>
  </labels></task></meta>
  <image id="0" name="a.png" width="32" height="24">
    <skeleton label="mouse" source="manual" z_order="0">
      <points label="right_ear" source="manual" outside="0" occluded="1" points="4.00,5.50"></points>
      <points label="nose" source="manual" outside="0" occluded="0" points="1.00,2.00"></points>
      <points label="left_ear" source="manual" outside="1" occluded="0" points="9.00,9.00"></points>
    </skeleton>
    <box label="cage" occluded="0" xtl="1" ytl="1" xbr="3" ybr="3"></box>
  </image>
  <image id="1" name="deep/b.png" width="32" height="24">
    <skeleton label="mouse" source="manual" z_order="0">
      <points label="nose" outside="0" occluded="0" points="7.00,8.00"></points>
      <points label="left_ear" outside="0" occluded="0" points="32.00,24.00"></points>
      <points label="right_ear" outside="0" occluded="0" points="3.00,3.00"></points>
    </skeleton>
  </image>
</annotations>
"""


def image(value: int) -> np.ndarray:
    return np.full((24, 32, 3), value, np.uint8)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image(value)).save(buffer, "PNG")
    return buffer.getvalue()


def coco() -> dict[str, Any]:
    rows = [
        {"id": 1, "image_id": 5, "category_id": 1, "bbox": [1, 2, 10, 12], "keypoints": [1, 2, 2, 0, 0, 0, 4, 5.5, 1]},
        {"id": 2, "image_id": 6, "category_id": 1, "bbox": [3, 3, 29, 21], "keypoints": [7, 8, 2, 32, 24, 2, 3, 3, 2]},
    ]
    category = {"id": 1, "name": "mouse", "keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2]]}
    images = [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "deep/b.png"}]
    return {"images": images, "annotations": rows, "categories": [category]}


def pack(path: Path, *, xml: str | None = XML, members: dict[str, bytes] | None = None) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if xml is None:
            archive.writestr("annotations/person_keypoints_default.json", json.dumps(coco()))
        else:
            archive.writestr("annotations.xml", xml)
        for name, content in (members or {"images/a.png": png(50), "images/deep/b.png": png(90)}).items():
            archive.writestr(name, content)
    return str(path)


def write(root: Path) -> str:
    return pack(root / "export.zip")


def write_xml(root: Path) -> str:
    (root / "images/deep").mkdir(parents=True)
    (root / "images/a.png").write_bytes(png(50))
    (root / "images/deep/b.png").write_bytes(png(90))
    (root / "annotations.xml").write_text(XML, encoding="utf-8")
    return str(root / "annotations.xml")


def write_coco(root: Path) -> str:
    return pack(root / "keypoints.zip", xml=None)
