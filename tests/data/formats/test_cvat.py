from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.miniatures import cvat as miniature

from poseshift.data.formats import cvat
from poseshift.errors import DataError, FormatError, UsageError


@pytest.mark.parametrize("kind", ["write", "write_xml", "write_coco"])
def test_three_layouts_say_the_same(tmp_path: Path, kind: str) -> None:
    data = cvat.read(getattr(miniature, kind)(tmp_path))
    assert data.skeleton.keypoints == ("nose", "left_ear", "right_ear")
    assert (data.skeleton.edges, data.skeleton.flip_pairs) == (((0, 1),), ((1, 2),))
    assert data.visible.tolist() == [[2, 0, 1], [2, 2, 2]]
    np.testing.assert_array_equal(data.keypoints[0], [[0.5, 1.5], [0, 0], [3.5, 5]])
    np.testing.assert_array_equal(data.keypoints[1, 1], [31.5, 23.5])
    assert data.categories.tolist() == ["mouse", "mouse"]
    assert [record.key for record in data] == ["a.png", "deep/b.png"]
    for images in (data.images, pickle.loads(pickle.dumps(data.images))):  # noqa: S301
        for number, value in enumerate((50, 90)):
            np.testing.assert_array_equal(images.read(number), miniature.image(value))
    if kind == "write_coco":
        np.testing.assert_array_equal(data.boxes[0], [0.5, 1.5, 10.5, 13.5])
    else:
        assert np.isnan(data.boxes).all()


def test_images_beside_the_zip_and_elsewhere(tmp_path: Path) -> None:
    path = miniature.pack(tmp_path / "e.zip", members={"readme.txt": b"x"})
    with pytest.raises(
        DataError, match=r"2 of 2 images have no file, the first is 'a\.png'; looked in .*cvat:e\.zip@F"
    ):
        cvat.read(path)
    (tmp_path / "pictures").mkdir()
    miniature.write_xml(tmp_path / "pictures")
    data = cvat.read(f"{path}@{tmp_path / 'pictures/images'}")
    np.testing.assert_array_equal(data.images.read(1), miniature.image(90))
    with pytest.raises(DataError, match="no such folder"):
        cvat.read(f"{path}@nowhere")


def test_plain_points_are_one_instance_each(tmp_path: Path) -> None:
    image = '<image id="0" name="a.png"><points label="hand" occluded="0" points="1.5,2;3,4"/></image>'
    data = cvat.read(miniature.pack(tmp_path / "e.zip", xml=f"<annotations>{image}</annotations>"))
    assert data.skeleton.keypoints == ("1", "2")
    assert data.categories.tolist() == ["hand"]
    np.testing.assert_array_equal(data.keypoints[0], [[1, 1.5], [2.5, 3.5]])


def xml(body: str) -> str:
    return f'<annotations><image id="0" name="a.png"><skeleton label="m">{body}</skeleton></image></annotations>'


BROKEN = {
    "doctype": '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>',
    "bomb": '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><annotations>&d;</annotations>',
    "external": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotations>&b;</annotations>',
    "root": "<html></html>",
    "cut": miniature.XML[:-40],
    "empty": "<annotations></annotations>",
    "track": '<annotations><track label="x"></track></annotations>',
    "pair": xml('<points label="a" points="1"/>'),
    "words": xml('<points label="a" points="one,two"/>'),
    "nan": xml('<points label="a" points="nan,2"/>'),
    "far": xml('<points label="a" points="1e30,2"/>'),
    "name": "<annotations><image id='0'></image></annotations>",
    "alone": '<annotations><points label="a" points="1,2"/></annotations>',
    "deep": "<annotations>" + "<a>" * 99,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_xml_is_refused(tmp_path: Path, kind: str) -> None:
    path = miniature.pack(tmp_path / "e.zip", xml=BROKEN[kind])
    with pytest.raises(FormatError, match=r"e\.zip/annotations\.xml'.*export the task as CVAT for images") as caught:
        cvat.read(path)
    assert "\n" not in str(caught.value)


def test_labels_with_other_points_and_points_that_no_label_has(tmp_path: Path) -> None:
    text = miniature.XML.replace('label="nose"', 'label="snout"')
    with pytest.raises(FormatError, match=r"'a\.png' has a point 'snout', known are \['nose'"):
        cvat.read(miniature.pack(tmp_path / "e.zip", xml=text))


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "C:\\a.png", "images/../../a.png"])
def test_members_and_images_that_leave_are_refused(tmp_path: Path, name: str) -> None:
    path = miniature.pack(tmp_path / "e.zip", members={name: miniature.png(1)})
    with pytest.raises(DataError, match="leaves the data root"):
        cvat.read(path)
    text = miniature.XML.replace('name="a.png"', f'name="{name}"')
    with pytest.raises(DataError, match="leaves the data root"):
        cvat.read(miniature.pack(tmp_path / "f.zip", xml=text))


def test_files_that_are_missing_or_no_export(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for a file .*gone\.zip"):
        cvat.read(str(tmp_path / "gone.zip"))
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="no zip"):
        cvat.read(str(tmp_path / "no.zip"))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(DataError, match="found neither; export COCO Keypoints"):
        cvat.read(str(tmp_path / "other.zip"))
    with pytest.raises(UsageError, match="no split 'train'"):
        cvat.read(miniature.write(tmp_path), split="train")
    assert len(cvat.read(miniature.write_coco(tmp_path), split="default")) == 2


def test_an_error_of_the_json_inside_names_the_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("annotations/person_keypoints_default.json", "{")
    with pytest.raises(FormatError, match=r"e\.zip/annotations/person_keypoints_default\.json' is no JSON"):
        cvat.read(str(tmp_path / "e.zip"))
