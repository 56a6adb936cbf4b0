from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poseshift.data.formats import coco, read, read_unlabelled, write
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import COCO17, from_names
from poseshift.errors import DataError, FormatError
from poseshift.types import Annotations

NAMES = ["nose", "left_eye", "right_eye"]
Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    return {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 9,
                "category_id": 3,
                "bbox": [10, 20, 30, 40],
                "keypoints": [1, 2, 2, 3, 4, 1, 9, 9, 0],
            },
            {"id": 2, "image_id": 7, "category_id": 3, "keypoints": [5.5, 6, 2, 0, 0, 0, 0, 0, 0], "iscrowd": 0},
            {"id": 3, "image_id": 7, "category_id": 3, "keypoints": [0] * 9},
            {"id": 4, "image_id": 7, "category_id": 3, "keypoints": [1, 1, 2] * 3, "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "bird", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}],
    }


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write_it(document: Any, name: str = "labels.json", images: str = ".") -> str:
        for image in ("a.png", "b.png"):
            (tmp_path / images).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (33, 21)).save(tmp_path / images / image)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(document if isinstance(document, str) else json.dumps(document))
        return str(tmp_path / name)

    return write_it


def test_columns_are_what_the_file_says(document: Document, save: Callable[..., str]) -> None:
    data = read(f"coco:{save(document)}")
    assert len(data) == 2
    assert [data[i].key for i in range(2)] == ["b.png", "a.png"]
    np.testing.assert_array_equal(data.keypoints[0], [[1, 2], [3, 4], [0, 0]])
    np.testing.assert_array_equal(data.visible, [[2, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(data.boxes[0], [10, 20, 40, 60])
    assert np.isnan(data.boxes[1]).all()
    assert data.groups.tolist() == ["9", "7"]
    assert data.categories.tolist() == ["bird", "bird"]
    assert data.note == "Left out: 1 crowds, 1 instances without a labelled keypoint."
    assert data.skeleton.name == "bird"
    assert data.skeleton.edges == ((0, 1), (0, 2))
    assert data.skeleton.flip_pairs == ((1, 2),)
    assert dict(data.skeleton.groups) == {"nose": (0,), "eye": (1, 2)}
    assert data.images.read(0).shape == (21, 33, 3)


def test_edges_that_count_from_zero_are_seen(document: Document, save: Callable[..., str]) -> None:
    document["categories"][0]["skeleton"] = [[0, 1], [1, 2]]
    assert coco.read(save(document)).skeleton.edges == ((0, 1), (1, 2))


def test_sigmas_and_known_skeletons_are_kept(document: Document, save: Callable[..., str]) -> None:
    document["categories"][0]["sigmas"] = [0.1, 0.2, 0.3]
    assert coco.read(save(document)).skeleton.sigmas == (0.1, 0.2, 0.3)
    document["categories"][0] = {"id": 3, "name": "person", "keypoints": list(COCO17.keypoints)}
    document["annotations"] = [{"id": 1, "image_id": 7, "category_id": 3, "keypoints": [4, 5, 2] * 17}]
    assert coco.read(save(document)).skeleton is COCO17


@pytest.mark.parametrize("where", [".", "images", "data", "labels", "images/labels"])
def test_images_are_found_beside_the_file(document: Document, save: Callable[..., str], where: str) -> None:
    assert coco.read(save(document, images=where)).images.read(1).shape == (21, 33, 3)


def test_images_are_found_in_cocos_own_layout(document: Document, save: Callable[..., str], tmp_path: Path) -> None:
    save(document, "annotations/person_keypoints_val2017.json", "val2017")
    save("{}", "annotations/instances_val2017.json", "elsewhere")
    data = coco.read(str(tmp_path), split="val")
    assert data.images.read(0).shape == (21, 33, 3)
    assert data.name == "person_keypoints_val2017"


def test_images_folder_after_at(document: Document, save: Callable[..., str], tmp_path: Path) -> None:
    path = save(document, images="far/away@home")
    with pytest.raises(DataError, match=r"2 of 2 images have no file, the first is image 7, 'a\.png'.*@FOLDER"):
        coco.read(path)
    (tmp_path / "far" / "away@home").rename(tmp_path / "far" / "away")
    for folder in ("far/away", str(tmp_path / "far/away")):
        assert coco.read(f"{path}@{folder}").images.read(0).shape == (21, 33, 3)
    with pytest.raises(DataError, match="found no such folder"):
        coco.read(f"{path}@nowhere")


def test_a_folder_needs_exactly_one_file(document: Document, save: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one \*\.json.*found none"):
        coco.read(str(tmp_path))
    save(document)
    assert len(coco.read(str(tmp_path))) == 2
    save(document, "more.json")
    with pytest.raises(DataError, match=r"found \['labels\.json', 'more\.json'\]"):
        coco.read(str(tmp_path))
    with pytest.raises(DataError, match=r"annotations/\*_train\*\.json.*found none"):
        coco.read(str(tmp_path), split="train")


def test_a_missing_path_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for a file or folder .*gone\.json"):
        coco.read(str(tmp_path / "gone.json"))


def first(document: Document, **changes: Any) -> None:
    document["annotations"][0].update(changes)


def test_a_name_in_another_case_is_found_where_it_is_clear(
    document: Document, save: Callable[..., str], tmp_path: Path
) -> None:
    document["images"][1]["file_name"] = "B.PNG"
    found = coco.read(save(document))
    assert found.images.paths == ("a.png", "b.png")
    assert found.images.read(1).shape == (21, 33, 3)
    (tmp_path / "b.PNG").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 2 images have no file, the first is image 9, 'B\.PNG'"):
        coco.read(str(tmp_path / "labels.json"))


BROKEN: dict[str, tuple[Callable[[Document], Any], type[DataError], str]] = {
    "nan": (
        lambda d: first(d, keypoints=[1, float("nan"), 2] * 3),
        FormatError,
        r"annotation 1 has a labelled.*finite",
    ),
    "null": (lambda d: first(d, keypoints=[1, None, 2] * 3), FormatError, r"annotation 1 has a labelled.*not finite"),
    "infinite": (lambda d: first(d, keypoints=[1, 1e999, 2] * 3), FormatError, r"annotation 1 has a labelled"),
    "too large": (lambda d: first(d, keypoints=[1, 1e300, 2] * 3), FormatError, r"annotation 1 has a labelled"),
    "far": (lambda d: first(d, keypoints=[1, -1e6, 2] * 3), FormatError, r"annotation 1 has a labelled.*enormous"),
    "count": (lambda d: first(d, keypoints=[1, 2, 2]), FormatError, r"annotation 1 has not 3 keypoints"),
    "no list": (lambda d: first(d, keypoints="many"), FormatError, r"annotation 1 has not 3 keypoints|numbers"),
    "text": (lambda d: first(d, keypoints=["a", 2, 2] * 3), FormatError, "must be numbers"),
    "visibility": (lambda d: first(d, keypoints=[1, 2, 3] * 3), FormatError, "annotation 1 has a visibility other"),
    "bbox": (lambda d: first(d, bbox=[1, 2, 3]), FormatError, "'bbox' must be"),
    "NaN in a bbox": (
        lambda d: first(d, bbox=[1, 2, float("nan"), 4]),
        FormatError,
        r"1 has a bbox that is not finite",
    ),
    "null in a bbox": (lambda d: first(d, bbox=[1, None, 3, 4]), FormatError, r"1 has a bbox that is not finite"),
    "huge bbox": (lambda d: first(d, bbox=[1, 2, 1e300, 4]), FormatError, r"1 has a bbox that is not finite"),
    "no image": (lambda d: first(d, image_id=8), DataError, "annotation 1 is of image 8, which is not in 'images'"),
    "image id": (lambda d: first(d, image_id=[8]), FormatError, r"annotation 1 has 'image_id' \[8\]"),
    "category": (lambda d: first(d, category_id=4), FormatError, r"category 4 is used but not listed.*\[3\]"),
    "ids repeat": (lambda d: d["images"][0].update(id=9), FormatError, "image ids repeat"),
    "no file name": (lambda d: d["images"][0].pop("file_name"), DataError, "image 7 has no file_name"),
    "no file": (lambda d: d["images"][0].update(file_name="c.png"), DataError, r"1 of 2 images.*image 7, 'c\.png'"),
    "traversal": (lambda d: d["images"][0].update(file_name="../c.png"), DataError, "leaves the data root"),
    "absolute": (lambda d: d["images"][0].update(file_name="/etc/c.png"), DataError, "leaves the data root"),
    "windows": (lambda d: d["images"][0].update(file_name="..\\c.png"), DataError, "leaves the data root"),
    "bare": (lambda d: d.update(annotations=d["annotations"][2:]), DataError, "no instance with a labelled keypoint"),
    "no list of images": (lambda d: d.pop("images"), FormatError, "no list 'images'"),
    "no names": (lambda d: d["categories"][0].pop("keypoints"), FormatError, "no category names its keypoints"),
    "edges": (lambda d: d["categories"][0].update(skeleton=[[1, 2, 3]]), FormatError, "pairs of indices"),
    "edge range": (lambda d: d["categories"][0].update(skeleton=[[1, 4]]), DataError, r"outside 0\.\.2"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(document: Document, save: Callable[..., str], kind: str) -> None:
    damage, error, message = BROKEN[kind]
    damage(document)
    with pytest.raises(error, match=message) as caught:
        coco.read(save(document))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"images": 3}', '{"images": [3]}'])
def test_what_is_no_coco_is_refused(save: Callable[..., str], text: str) -> None:
    with pytest.raises(FormatError, match=r"labels\.json"):
        coco.read(save(text))


def test_nan_is_fine_where_nothing_is_labelled(document: Document, save: Callable[..., str]) -> None:
    first(document, keypoints=[1, 2, 2, float("nan"), float("nan"), 0, 3, 4, 2])
    data = coco.read(save(document))
    np.testing.assert_array_equal(data.keypoints[0, 1], [0, 0])


def test_categories_must_share_their_keypoints(document: Document, save: Callable[..., str]) -> None:
    document["categories"].append({"id": 5, "name": "fish", "keypoints": ["fin"]})
    assert len(coco.read(save(document))) == 2
    document["annotations"].append({"id": 5, "image_id": 7, "category_id": 5, "keypoints": [1, 1, 2]})
    with pytest.raises(FormatError, match=r"different keypoints .*bird.*fish.*filter"):
        coco.read(save(document))
    document["categories"][1]["keypoints"] = NAMES
    document["annotations"][-1]["keypoints"] = [1, 1, 2] * 3
    data = coco.read(save(document))
    assert data.categories.tolist() == ["bird", "bird", "fish"]


def equal(a: Annotations, b: Annotations) -> None:
    for column in ("image_index", "keypoints", "visible", "boxes", "groups", "categories"):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column), err_msg=column)
    assert [a.images.key(i) for i in range(len(a.images))] == [b.images.key(i) for i in range(len(b.images))]
    assert a.skeleton == replace(b.skeleton, name=a.skeleton.name)


def test_reading_what_was_written_changes_nothing(document: Document, save: Callable[..., str], tmp_path: Path) -> None:
    data = coco.read(save(document))
    write(data, f"coco:{tmp_path / 'again.json'}")
    equal(data, coco.read(str(tmp_path / "again.json")))
    written = json.loads((tmp_path / "again.json").read_text())
    assert (written["images"][0]["width"], written["images"][0]["height"]) == (33, 21)
    assert written["annotations"][0]["num_keypoints"] == 2
    with pytest.raises(DataError, match="exists already"):
        coco.write(data, tmp_path / "again.json")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_what_is_not_labelled_is_written_as_zeros(document: Document, save: Callable[..., str], tmp_path: Path) -> None:
    data = coco.read(save(document))
    points = np.where(data.visible[..., None] > 0, data.keypoints, np.nan).astype(np.float32)
    coco.write(replace(data, keypoints=points), tmp_path / "again.json")
    equal(data, coco.read(str(tmp_path / "again.json")))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), k=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_any_instances_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, n: int, k: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    rng = np.random.default_rng(seed)
    for name in ("x.png", "y.png"):
        Image.new("RGB", (9, 5)).save(folder / name)
    visible = rng.integers(0, 3, (n, k)).astype(np.uint8)
    visible[:, rng.integers(k)] = 2
    low = rng.normal(0, 1000, (n, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + rng.uniform(0.1, 500, (n, 2)).astype(np.float32)], axis=1)
    boxes[rng.random(n) < 0.3] = np.nan
    data = Annotations(
        name="trip",
        images=ImageFiles(root=folder, paths=("x.png", "y.png")),
        image_index=rng.integers(0, 2, n),
        skeleton=from_names("s", [f"k{i}" for i in range(k)], edges=[(i, i + 1) for i in range(k - 1)]),
        keypoints=(rng.normal(0, 1000, (n, k, 2)) * (visible > 0)[..., None]).astype(np.float32),
        visible=visible,
        boxes=boxes,
        groups=np.array([f"group {i}" for i in rng.integers(0, 3, n)]),
        categories=np.array(["cat", "dög"])[rng.integers(0, 2, n)],
    )
    coco.write(data, folder / "labels.json")
    equal(data, coco.read(str(folder / "labels.json")))


def test_a_hundred_thousand_instances_open_in_seconds(tmp_path: Path) -> None:
    n = 100_000
    triple = [[float(i), i + 0.5, 2] for i in range(17)]
    keypoints = json.dumps([value for row in triple for value in row])
    row = '{{"id":{0},"image_id":{1},"category_id":1,"bbox":[1,2,3,4],"keypoints":' + keypoints + "}}"
    images = ",".join(f'{{"id":{i},"file_name":"{i}.jpg"}}' for i in range(1000))
    names = json.dumps(list(COCO17.keypoints))
    (tmp_path / "labels.json").write_text(
        f'{{"images":[{images}],"annotations":[{",".join(row.format(i, i % 1000) for i in range(n))}],'
        f'"categories":[{{"id":1,"name":"person","keypoints":{names}}}]}}'
    )
    for i in range(1000):
        (tmp_path / f"{i}.jpg").touch()
    start = time.process_time()
    data = coco.read(str(tmp_path / "labels.json"))
    seconds = time.process_time() - start
    assert len(data) == n
    np.testing.assert_array_equal(data.keypoints[-1, 3], [3, 3.5])
    assert seconds < 15


SAMPLES = {
    "coco_style_animalpose/test_animalpose.json": ("animalpose", 20),
    "coco_style_ap10k/test_ap10k.json": ("ap10k", 17),
    "coco_style_coco/test_coco.json": ("coco", 17),
    "coco_style_coco/test_coco_wholebody.json": ("coco", 17),
    "coco_style_freihand/test_freihand.json": ("freihand", 21),
    "coco_style_horse10/test_horse10.json": ("horse10", 22),
    "coco_style_mpii/test_mpii_trb.json": ("mpii", 40),
    "coco_style_rhd/test_rhd.json": ("rhd", 21),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_real_samples(shared_data: Path, sample: str) -> None:
    path = shared_data / "samples" / sample
    data = coco.read(str(path))
    content = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    expected = []
    for row in content["annotations"]:
        points = np.array(row["keypoints"], float).reshape(-1, 3)
        if not row.get("iscrowd") and (points[:, 2] > 0).any():
            expected.append((names[row["image_id"]], points, row.get("bbox")))
    assert len(data) == len(expected) > 0
    assert len(data.skeleton) == SAMPLES[sample][1]
    for record, (name, points, box) in zip(data, expected, strict=True):
        assert record.key == name
        assert int((record.visible > 0).sum()) == int((points[:, 2] > 0).sum())
        labelled = points[:, 2] > 0
        np.testing.assert_allclose(record.keypoints[labelled], points[labelled, :2], rtol=1e-6)
        if box:
            np.testing.assert_allclose(record.box, [box[0], box[1], box[0] + box[2], box[1] + box[3]], rtol=1e-5)
        else:
            assert np.isnan(record.box).all()
        height, width = data.images.read(record.image).shape[:2]
        assert record.keypoints[..., 0].max() < width * 1.2
        assert record.keypoints[..., 1].max() < height * 1.2


def test_real_samples_in_folders_need_them_named(shared_data: Path) -> None:
    path = shared_data / "samples/coco_style_h36m/h36m_coco.json"
    with pytest.raises(DataError, match=r"4 of 4 images have no file.*h36m_coco\.json@FOLDER"):
        coco.read(str(path))


def test_as_a_target_no_label_is_looked_at(document: Document, save: Callable[..., str]) -> None:
    """Every instance but crowds is kept, a NaN among its labels is not even found; the names stay for matching."""
    document["annotations"][0]["keypoints"] = [float("nan")] * 5
    data = read_unlabelled(f"coco:{save(document)}")
    assert len(data) == 3
    assert data.skeleton.keypoints == tuple(NAMES)
    assert not data.visible.any()
    for category in document["categories"]:
        del category["keypoints"]
    assert len(read_unlabelled(f"coco:{save(document)}").skeleton) == 0
