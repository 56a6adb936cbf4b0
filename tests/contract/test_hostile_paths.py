"""Labels that name no honest path for an image: every reader that takes names from text refuses them in one line.

The first name of an image in each text file of a miniature becomes a path that leaves the root, on this system or on
another, or that no file system holds.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.contract.test_formats_fuzz import miniature, writers

from poseshift.data.formats import read
from poseshift.data.images import SUFFIXES
from poseshift.data.layouts import file_of
from poseshift.errors import DataError

NAMED = (
    *("animalpose-write", "ap10k-write", "coco-write", "cvat-write_xml", "deeplabcut-write", "h3d-write"),
    *("human36m-write", "human36m-write_cropped", "label_studio-write", "lightning_pose-write", "mpii-write"),
)
"""Miniatures whose text names images; others number them, or name them in compiled files."""
PATHS = {
    "above": "../../secret.png",
    "absolute": "/etc/secret.png",
    "drive": r"C:\secret.png",
    "above with backslashes": r"..\..\secret.png",
    "control": "a\x01secret.png",
    "long": f"secret{'x' * 5000}.png",
    "no text": "secret\udcff.png",
}


def planted(root: Path, path: str) -> bool:
    """Puts ``path`` in the place of the first image that each text file names; whether any does."""
    images = "|".join(re.escape(file.name) for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)
    changed = False
    for file in sorted(root.rglob("*")) if images else ():
        if file.suffix in (".json", ".csv", ".xml", ".yaml", ".txt"):
            text, inside = file.read_text(), json.dumps(path)[1:-1] if file.suffix == ".json" else path
            other = re.sub(rf"[^\"'<>,\s]*(?:{images})", lambda _: inside, text, count=1)  # noqa: B023
            file.write_bytes(other.encode("utf-8", "surrogatepass"))
            changed |= other != text
    return changed


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("which", NAMED)
def test_a_path_that_leaves_the_root_is_refused_in_one_line(which: str, kind: str, tmp_path: Path) -> None:
    (name, function), root = which.split("-"), tmp_path / "inner/most"
    root.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    spec = f"{name}:{getattr(miniature(name), function)(root)}"
    assert planted(root, PATHS[kind])
    with pytest.raises(DataError) as caught:
        read(spec)
    assert len(str(caught.value).splitlines()) == 1
    assert str(root) in str(caught.value) or "secret" in str(caught.value)


def test_every_reader_of_names_is_tried(tmp_path: Path) -> None:
    found: set[str] = set()
    for number, (name, function) in enumerate(writers()):
        root = tmp_path / str(number)
        root.mkdir()
        spec = f"{name}:{getattr(miniature(name), function)(root)}"
        if not planted(root, "../../secret.png"):
            continue
        found.add(f"{name}-{function}")
        if (
            f"{name}-{function}" not in NAMED
        ):  # what is named otherwise may be left out, but nothing outside may be read
            images = read(spec).images
            files = [file_of(images, image) for image in range(len(images))]
            assert all(file is None or root in file.resolve().parents for file in files), name
    assert found >= set(NAMED)
