from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.formats.miniatures import label_studio as miniature

from poseshift.data.formats import label_studio
from poseshift.errors import DataError, FormatError, UsageError


def test_points_boxes_and_instances(tmp_path: Path) -> None:
    data = label_studio.read(miniature.write(tmp_path))
    assert data.skeleton.keypoints == ("nose", "left_ear", "right_ear")
    assert data.skeleton.flip_pairs == ((1, 2),)
    assert data.categories.tolist() == ["mouse", "rat", "instance"]
    assert data.visible.tolist() == [[2, 2, 0], [2, 0, 0], [2, 0, 2]]
    np.testing.assert_allclose(data.keypoints[0], [[19.5, 4.5], [-0.5, -0.5], [0, 0]])
    np.testing.assert_allclose(data.keypoints[1, 0], [39.5, 19.5])
    np.testing.assert_allclose(data.keypoints[2], [[9.5, 9.5], [0, 0], [4.5, 0.5]])
    np.testing.assert_allclose(data.boxes[0], [3.5, 3.5, 23.5, 15.5])
    assert np.isnan(data.boxes[2]).all()
    assert data.groups.tolist() == ["images/a.png", "images/a.png", "images/deep/b c.png"]
    assert data.images.read(1)[0, 0, 0] == 77
    assert len(data.images) == 2


def test_the_same_points_as_another_reader(tmp_path: Path) -> None:
    """sleap-io leaves the corner where it is; ours is half a pixel up and left of that."""
    from sleap_io.io.labelstudio import infer_nodes, parse_tasks

    tasks = miniature.tasks()[:2]
    for i, task in enumerate(tasks):
        task["annotations"] = task["annotations"][-1:]
        task["meta"] = {"video": {"filename": "a.mp4", "frame_idx": i, "shape": [2, 20, 40, 3]}}
        for region in task["annotations"][0]["result"]:
            if "parentID" in region:
                relation = {"type": "relation", "from_id": region["id"], "to_id": region["parentID"]}
                task["annotations"][0]["result"] = [*task["annotations"][0]["result"], relation]
        task["annotations"][0]["result"] = [r for r in task["annotations"][0]["result"] if r.get("id") != "r3"]
    skeleton = infer_nodes(tasks)
    data = label_studio.read(miniature.write(tmp_path))
    order = [skeleton.node_names.index(name) for name in data.skeleton.keypoints]
    expected = np.stack([i.numpy()[order] for frame in parse_tasks(tasks, skeleton) for i in frame.instances])
    ours = np.where(data.visible[..., None] > 0, data.keypoints + 0.5, np.nan)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_images_in_a_named_folder_and_missing_ones(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    (tmp_path / "images").rename(tmp_path / "other")
    with pytest.raises(
        DataError, match=r"image of task 7, '3/0123abcd-a\.png', is not in .*label_studio:export\.json@FOLD"
    ):
        label_studio.read(path)
    assert label_studio.read(f"{path}@other").images.key(0) == "a.png"
    with pytest.raises(DataError, match="no such folder"):
        label_studio.read(f"{path}@nowhere")
    with pytest.raises(UsageError, match="no split 'train'"):
        label_studio.read(path, split="train")
    with pytest.raises(DataError, match="looked for a file"):
        label_studio.read(str(tmp_path / "gone.json"))


@pytest.mark.parametrize(
    "place", ["/data/local-files/?d=../a.png", "../a.png", "..\\a.png", "/data/upload/../../a.png"]
)
def test_images_that_leave_are_refused(tmp_path: Path, place: str) -> None:
    path, tasks = miniature.write(tmp_path), miniature.tasks()
    tasks[0]["data"]["image"] = place
    Path(path).write_text(json.dumps(tasks))
    with pytest.raises(DataError, match="leaves the data root"):
        label_studio.read(path)


def test_a_rotated_rectangle_is_enclosed(tmp_path: Path) -> None:
    path, tasks = miniature.write(tmp_path), miniature.tasks()
    tasks[0]["annotations"][1]["result"][0]["value"]["rotation"] = 90
    Path(path).write_text(json.dumps(tasks))
    np.testing.assert_allclose(label_studio.read(path).boxes[0], [4 - 12 - 0.5, 3.5, 3.5, 4 + 20 - 0.5], atol=1e-5)


def result(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda tasks: change(tasks[0]["annotations"][1]["result"])


BROKEN: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "twice": (result(lambda r: r.append({**r[3], "id": "z"})), "task 7 has two points 'nose' in one rectangle"),
    "loose": (lambda t: t[1]["annotations"][0]["result"].append(t[1]["annotations"][0]["result"][1]), "one rectangle"),
    "nan": (result(lambda r: r[3]["value"].update(x=float("nan"))), "region with 'nan'"),
    "huge": (result(lambda r: r[3]["value"].update(x=1e30)), r"region with '1e\+30'"),
    "text": (result(lambda r: r[3]["value"].update(x="12")), "region with '12'"),
    "size": (result(lambda r: r[3].update(original_width=0)), "not above 0"),
    "unsized": (result(lambda r: r[3].pop("original_width")), "region with 'None'"),
    "value": (result(lambda r: r[3].update(value=[])), "without a label"),
    "unlabelled": (result(lambda r: r[3]["value"].update(keypointlabels=[])), "without a label"),
    "rotated": (result(lambda r: r[3].update(image_rotation=90)), "shows its image rotated"),
    "box": (result(lambda r: r[0]["value"].pop("width")), "region with 'None'"),
    "results": (lambda t: t[0]["annotations"][1].update(result=[3]), "no list 'result'"),
    "annotations": (lambda t: t[0].update(annotations=3), "no list 'annotations'"),
    "data": (lambda t: t[0].update(data={"a": 3}), "names no image"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_tasks_are_named(tmp_path: Path, kind: str) -> None:
    path, tasks = miniature.write(tmp_path), miniature.tasks()
    damage, message = BROKEN[kind]
    damage(tasks)
    Path(path).write_text(json.dumps(tasks))
    with pytest.raises(FormatError, match=message):
        label_studio.read(path)


@pytest.mark.parametrize("content", [b"{}", b"[1]", b"[", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_export(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.json"):
        label_studio.read(str(tmp_path / "a.json"))
    (tmp_path / "a.json").write_bytes(b"[]")
    with pytest.raises(DataError, match="no task has a point"):
        label_studio.read(str(tmp_path / "a.json"))
