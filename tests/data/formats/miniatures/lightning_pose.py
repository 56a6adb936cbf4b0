"""A Lightning Pose project of two videos, three frames and two points."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

TEXT = """\
scorer,Ann,Ann,Ann,Ann
bodyparts,paw_left,paw_left,paw_right,paw_right
coords,x,y,x,y
labeled-data/a/img1.png,1.5,2,3,4.25
labeled-data/a/img2.png,,,5,6
labeled-data/b/img1.png,7,8,,
"""


def write(root: Path) -> str:
    """Write the project under ``root``; its path."""
    (root / "CollectedData.csv").write_text(TEXT)
    for name in ("a/img1.png", "a/img2.png", "b/img1.png"):
        file = root / "labeled-data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 24)).save(file)
    return str(root)
