"""``poseshift check``: every finding is found where it is, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import tiny
from tests.contract.test_formats_fuzz import miniature, writers

from poseshift import cli
from poseshift.apps.check import check, findings, text, write_page
from poseshift.data.skeletons import LSP
from poseshift.errors import UsageError
from poseshift.types import Annotations


def people(count: int = 40) -> Annotations:
    """Upright people, alike but for noise, in images of 100×80 (which are never read)."""
    at = {"head_top": (50, 8), "neck": (50, 16), "shoulder": (8, 20), "elbow": (12, 32), "wrist": (13, 44),
          "hip": (5, 44), "knee": (6, 58), "ankle": (6, 72)}  # fmt: skip
    shape = []
    for name in LSP.keypoints:
        x, y = at[name if name in at else name.split("_")[1]]
        shape.append((x, y) if name in at else (50 + (x if name.startswith("left") else -x), y))
    noise = np.random.default_rng(0).normal(0, 0.5, (count, 14, 2))
    return Annotations(
        name="people",
        images=None,  # type: ignore[arg-type]
        image_index=np.arange(count),
        skeleton=LSP,
        keypoints=(np.array(shape, np.float32) + noise).astype(np.float32),
        visible=np.full((count, 14), 2, np.uint8),
        boxes=np.tile(np.array([30, 2, 70, 78], np.float32), (count, 1)),
        groups=np.arange(count).astype(str),
        categories=np.full(count, "person"),
    )


SIZES = np.tile(np.array([100, 80], np.float32), (40, 1))


def test_nothing_to_find() -> None:
    data = people()
    assert len(findings.repeated(data)) == 0
    assert len(findings.boxes_outside(data, SIZES)) == 0
    assert len(findings.keypoints_outside(data, SIZES)) == 0
    assert findings.swapped(data) == {}


def test_exchanged_ankles_are_suspects() -> None:
    data = people()
    left, right = LSP.keypoints.index("left_ankle"), LSP.keypoints.index("right_ankle")
    keypoints = data.keypoints.copy()
    keypoints[[3, 17], left], keypoints[[3, 17], right] = data.keypoints[[3, 17], right], data.keypoints[[3, 17], left]
    found = findings.swapped(replace(data, keypoints=keypoints))
    assert list(found) == [(right, left)]
    np.testing.assert_array_equal(found[right, left], [3, 17])
    hidden = data.visible.copy()
    hidden[:, left] = 0
    assert findings.swapped(replace(data, keypoints=keypoints, visible=hidden)) == {}


def test_a_person_seen_from_behind_is_no_suspect() -> None:
    data = people()
    keypoints = data.keypoints.copy()
    keypoints[5] = data.keypoints[5, list(LSP.flip_index)]
    assert findings.swapped(replace(data, keypoints=keypoints)) == {}


def test_repeats_and_what_leaves_the_image() -> None:
    data = people()
    index, keypoints, boxes = data.image_index.copy(), data.keypoints.copy(), data.boxes.copy()
    index[9], keypoints[9] = index[4], keypoints[4]
    boxes[2, 2], boxes[6] = 102, np.nan
    keypoints[7, 0, 0], keypoints[8, 1, 1] = -3, 200
    visible = data.visible.copy()
    visible[8, 1] = 0
    changed = replace(data, image_index=index, keypoints=keypoints, boxes=boxes, visible=visible)
    np.testing.assert_array_equal(findings.repeated(changed), [9])
    np.testing.assert_array_equal(findings.boxes_outside(changed, SIZES), [2])
    np.testing.assert_array_equal(findings.keypoints_outside(changed, SIZES), [7])
    sizes = SIZES.copy()
    sizes[[2, 7]] = np.nan
    assert len(findings.boxes_outside(changed, sizes)) == 0, "nothing is said of an image whose size is not known"
    np.testing.assert_array_equal(findings.keypoints_outside(changed, sizes), [7], "negative is outside of any image")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    files = tiny.photos(tmp_path / "photos", 6, size=(40, 32))
    files[2].write_bytes(files[1].read_bytes())
    files[4].write_bytes(files[4].read_bytes()[:30])
    tiny.coco(tmp_path / "a.json", files, ["nose", "left_ear", "right_ear"])
    return tmp_path / "a.json"


def test_files(photos: Path) -> None:
    found = check(f"coco:{photos}")
    (broken,) = found.headers.unreadable
    assert broken.endswith("photo04.jpg")
    assert [[Path(name).name for name in names] for names in found.headers.same] == [["photo01.jpg", "photo02.jpg"]]
    facts = found.facts
    assert (facts["images"], facts["instances"], facts["keypoints"]) == (6, 6, ["nose", "left_ear", "right_ear"])
    assert facts["visible_per_keypoint"] == (found.annotations.visible == 2).sum(0).tolist()
    shown = text(found)
    assert "unreadable: 1 images" in shown
    assert "same file under several names: 1 (" in shown


def test_the_command(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out" / "check.html"
    monkeypatch.setattr("sys.argv", ["poseshift", "check", f"coco:{photos}", "--json", "--html", str(page)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    facts = json.loads(capsys.readouterr().out)
    wanted = {"images", "instances", "labelled_instances", "keypoints", "visible_per_keypoint"}
    assert wanted <= set(facts)
    html = page.read_text(encoding="utf-8")
    sample = html[html.index("<h3>An even sample") :]
    assert sample.count('<svg class="over"') == 5, "one picture an instance, but for the broken file"
    assert "http" not in html.replace("http://www.w3.org", ""), "the page needs no network"


def test_a_folder_without_labels_and_odd_names(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (12, 10)).save(tmp_path / "photos" / "<b>&.png")
    found = check(f"images:{tmp_path / 'photos'}")
    assert found.facts["labelled_instances"] == 0
    assert text(found).endswith("nothing to complain about")
    html = write_page(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>&.png" not in html, "names are escaped"
    with pytest.raises(UsageError, match="unknown format"):
        check("nothing:here")


@pytest.mark.parametrize(("name", "function"), writers())
def test_every_format_is_checked(name: str, function: str, tmp_path: Path) -> None:
    """Images in files, videos, archives and shards: their headers are read, and a page is written."""
    found = check(f"{name}:{getattr(miniature(name), function)(tmp_path)}")
    assert not found.headers.unreadable
    assert np.isfinite(found.headers.sizes[np.unique(found.annotations.image_index)]).all()
    assert write_page(found, tmp_path / "page.html").stat().st_size > 5000
