"""``poseshift convert``: every readable format to every writable one, what is said, what a failure leaves."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import tiny
from tests.data.formats import miniatures

from poseshift.apps.convert import Converted, convert
from poseshift.data import formats
from poseshift.data.formats import FORMATS, Writable
from poseshift.data.images import ImageFiles
from poseshift.data.layouts import file_of, new_names
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations

WRITABLE = tuple(name for name, module in FORMATS.items() if isinstance(module, Writable))
FIGURES = "figures:plain,count=3,side=32"
UNLABELLED = {"images", "video"}


def readable() -> list[tuple[str, str]]:
    """``(format, function)`` of every miniature ``write…(root)``, and the procedural domains."""
    found = []
    for info in pkgutil.iter_modules(miniatures.__path__):
        module = importlib.import_module(f"{miniatures.__name__}.{info.name}")
        for name, value in vars(module).items():
            if name.startswith("write") and list(inspect.signature(value).parameters) == ["root"]:
                found.append((info.name, name))
    return [*found, ("figures", ""), ("quadrupeds", "")]


def miniature(root: Path, name: str, function: str) -> str:
    """What to convert."""
    if not function:
        return f"{name}:plain,count=3,side=32"
    return f"{name}:{getattr(importlib.import_module(f'{miniatures.__name__}.{name}'), function)(root)}"


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def same_images(before: Annotations, after: Annotations, done: Converted) -> dict[int, int]:
    """Image of ``before`` of each image of ``after``, by name; their pixels must be the same."""
    name, _, path = done.data.partition(":")
    layout = FORMATS[name].LAYOUT  # type: ignore[attr-defined]
    chosen = np.arange(len(before.images)) if layout.empty else np.unique(before.image_index)
    root = layout.places(Path(path))[1]
    new = {(root / path).resolve(): int(i) for i, path in zip(chosen, new_names(before, chosen, layout), strict=True)}
    files = [file_of(after.images, image) for image in range(len(after.images))]
    images = {image: new[file.resolve()] for image, file in enumerate(files) if file is not None}
    assert len(images) == len(files)
    for image, original in images.items():
        np.testing.assert_array_equal(after.images.read(image), before.images.read(original))
    return images


def labelled(data: Annotations) -> Annotations:
    return data.select((data.visible > 0).any(axis=1))


@pytest.mark.parametrize(("name", "function"), readable())
def test_every_format_to_every_other(name: str, function: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = miniature(tmp_path / "in", name, function)
    before = formats.read(source)
    for target in WRITABLE:
        out = tmp_path / f"ö ut/{target}"
        if name in UNLABELLED:
            with pytest.raises(DataError, match="has no labelled keypoint, so there is nothing to convert"):
                convert(source, f"{target}:{out}")
            assert not out.parent.exists()
            continue
        done = convert(source, f"{target}:{out}")
        after = formats.read(done.data)
        images = same_images(before, after, done)
        assert (done.images, done.instances) == (len(images), len(labelled(after)))
        assert not [path for path in everything(out) if "draft" in path]
        compare(before, after, images, done, target)


def compare(before: Annotations, after: Annotations, images: dict[int, int], done: Converted, target: str) -> None:
    """Each instance stands in its image, each of its keypoints where it was; what does not is said."""
    lost = " ".join(done.lost)
    kept = labelled(before)
    if target == "lightning_pose":
        assert len(after) == len(np.unique(kept.image_index))
        assert ("instances beside one" in lost) == (len(after) < len(kept))
    else:
        assert len(labelled(after)) == len(kept)
    size = max(max(before.images.read(int(i)).shape) for i in np.unique(kept.image_index))
    for record, image in zip(after, after.image_index.tolist(), strict=True):
        rows = kept.select(kept.image_index == images[image])
        known = record.visible > 0
        if not known.any():
            continue
        near = np.abs(rows.keypoints - record.keypoints).max(axis=2, initial=0)
        there = (rows.visible > 0) if "outside" not in lost else (rows.visible > 0) & known
        fits = ((there == known) & ((near <= size * 1e-6) | ~known)).all(axis=1)
        assert fits.any(), f"{record.key}: {record.keypoints.tolist()} is none of {rows.keypoints.tolist()}"
        if "occlusion" not in lost:
            assert (rows.visible[fits][:, known] == record.visible[known]).all(axis=1).any()
    for column in ("categories", "groups"):
        same = len(np.unique(getattr(labelled(after), column))) == len(np.unique(getattr(kept, column)))
        assert same or column in lost or "instances" in lost, f"{column}: {lost}"
    boxed = np.isfinite(kept.boxes).all(axis=1).any()
    assert ("boxes (" in lost) == (boxed and target in ("deeplabcut", "lightning_pose", "sleap"))


def test_there_and_back_through_each_format(tmp_path: Path) -> None:
    first = formats.read(convert("figures:hard,count=4,side=40", f"coco:{tmp_path / 'first'}").data)
    for target in WRITABLE:
        there = convert(f"coco:{tmp_path / 'first'}", f"{target}:{tmp_path / target}")
        back = formats.read(convert(there.data, f"coco:{tmp_path / target}-back").data)
        flags = (first.visible > 0) * 2 if target not in ("coco", "yolo_pose") else first.visible
        assert np.array_equal(back.visible, flags) or "outside" in " ".join(there.lost)
        both = (back.visible > 0) & (first.visible > 0)
        np.testing.assert_allclose(back.keypoints[both], first.keypoints[both], rtol=0, atol=1e-5)
        for image in range(4):
            np.testing.assert_array_equal(back.images.read(image), first.images.read(image))


def two_people(root: Path) -> str:
    """Four images, two instances in the first, one in the second and third; the one of the third leaves its image."""
    for i in range(4):
        Image.new("RGB", (30, 20), (40 * i, 0, 0)).save(root / f"{i}.png")
    rows = [
        {"image_id": 0, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 1], "bbox": [0, 0, 5, 5], "group": "a"},
        {"image_id": 0, "category_id": 2, "keypoints": [5, 6, 2, 0, 0, 0], "group": "a"},
        {"image_id": 1, "category_id": 1, "keypoints": [7, 8, 2, 9, 9, 2], "group": "a"},
        {"image_id": 2, "category_id": 1, "keypoints": [9, 9, 2, 30, 9, 2], "group": "b"},
    ]
    names = {"keypoints": ["left_eye", "tail"], "skeleton": [[1, 2]]}
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(4)],
        "annotations": [{"id": i, **row} for i, row in enumerate(rows)],
        "categories": [{"id": 1, "name": "dog", **names}, {"id": 2, "name": "cat", **names}],
    }
    (root / "people.json").write_text(json.dumps(content))
    return f"coco:{root / 'people.json'}"


SAID = {
    "coco": ([], []),
    "deeplabcut": (
        ["occlusion, visible now (1)", "boxes (1)", "edges (1)", "images without a labelled instance (1)"],
        [],
    ),
    "lightning_pose": (
        [
            *("instances beside one with as many keypoints, for an image has one (1)", "occlusion, visible now (1)"),
            *("boxes (1)", "edges (1)", "images without a labelled instance (1)", "categories (dog)"),
        ],
        [],
    ),
    "sleap": (["occlusion, visible now (1)", "boxes (1)", "images without a labelled instance (1)"], []),
    "yolo_pose": (
        ["keypoints outside of their image (1)", "edges (1)", "groups (2, now 3)"],
        ["boxes around the keypoints (3)"],
    ),
}


@pytest.mark.parametrize("target", WRITABLE)
def test_what_is_lost_is_said(target: str, tmp_path: Path) -> None:
    done = convert(two_people(tmp_path), f"{target}:{tmp_path / 'out'}")
    assert (list(done.lost), list(done.added)) == SAID[target]
    assert (done.instances, done.images) == {
        "lightning_pose": (3, 3), "deeplabcut": (4, 3), "sleap": (4, 3)
    }.get(target, (4, 4))  # fmt: skip


def test_the_instance_with_most_keypoints_is_kept(tmp_path: Path) -> None:
    done = convert(two_people(tmp_path), f"lightning_pose:{tmp_path / 'out'}")
    data = formats.read(done.data)
    assert data.keypoints[:, 0].tolist() == [[1, 2], [7, 8], [9, 9]]
    assert data.groups.tolist() == ["a", "a", "b"]


def test_a_file_a_folder_and_their_images(tmp_path: Path) -> None:
    source = two_people(tmp_path)
    assert convert(source, f"coco:{tmp_path / 'a/train.json'}").data == f"coco:{tmp_path / 'a/train.json'}"
    assert everything(tmp_path / "a") == ["images", *(f"images/{i}.png" for i in range(4)), "train.json"]
    assert convert(source, f"lightning_pose:{tmp_path / 'b'}").data == f"lightning_pose:{tmp_path}/b/CollectedData.csv"
    convert(source, f"deeplabcut:{tmp_path / 'c'}")
    files = [path for path in everything(tmp_path / "c") if "." in path]
    assert files == [
        *("labeled-data/a/0.png", "labeled-data/a/1.png", "labeled-data/a/CollectedData_poseshift.csv"),
        *("labeled-data/b/2.png", "labeled-data/b/CollectedData_poseshift.csv"),
    ]
    assert convert(source, f"deeplabcut:{tmp_path / 'd/one.csv'}").instances == 4
    assert (tmp_path / "d/one.csv").read_text().splitlines()[1].startswith("individuals,dog,dog,dog,dog,cat")


def test_an_instance_with_a_box_alone_stays_where_the_format_has_boxes(tmp_path: Path) -> None:
    convert(two_people(tmp_path), f"yolo_pose:{tmp_path / 'yolo'}")
    file = tmp_path / "yolo/labels/1.txt"
    file.write_text(" ".join(file.read_text().split()[:5] + ["0"] * 6) + "\n")
    said = "instances without a labelled keypoint (1)"
    source = f"yolo_pose:{tmp_path / 'yolo'}"
    for target in WRITABLE:
        done = convert(source, f"{target}:{tmp_path / target}")
        assert (said in done.lost) == (target not in ("coco", "yolo_pose"))
        assert done.instances == (2 if target == "lightning_pose" else 3)
    assert len(json.loads((tmp_path / "coco/labels.json").read_text())["annotations"]) == 4
    assert len(formats.read(f"yolo_pose:{tmp_path / 'yolo_pose'}")) == 4


def test_links_are_the_same_files(tmp_path: Path) -> None:
    done = convert(two_people(tmp_path), f"coco:{tmp_path / 'out'}", images="link")
    assert done.images == 4
    assert (tmp_path / "out/images/1.png").samefile(tmp_path / "1.png")


@pytest.mark.parametrize("target", [*(f"{name}:" for name in WRITABLE), "deeplabcut:one.csv", "yolo_pose:in"])
def test_images_are_kept_where_they_are(target: str, tmp_path: Path) -> None:
    (tmp_path / "in/labeled-data/video 1").mkdir(parents=True)
    folder = tmp_path / ("in/labeled-data/video 1" if target == "deeplabcut:" else "in")
    source = two_people(folder)
    before = everything(tmp_path)
    name, _, file = target.partition(":")
    out = tmp_path / (file or ("in" if name == "deeplabcut" else ""))
    if name == "yolo_pose":
        with pytest.raises(DataError, match="/images', as the format wants; use --images copy"):
            convert(source, f"{name}:{out}", images="keep")
        assert everything(tmp_path) == before
        return
    done = convert(source, f"{name}:{out}", images="keep")
    data = formats.read(done.data)
    assert data.images.read(2)[0, 0].tolist() == [80, 0, 0]
    new = set(everything(tmp_path)) - set(before)
    assert len(new) == 1, new


def test_yolo_keeps_images_in_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    done = convert(two_people(tmp_path / "images"), f"yolo_pose:{tmp_path}", images="keep")
    assert formats.read(done.data).images.read(2)[0, 0].tolist() == [80, 0, 0]
    assert {"data.yaml", "train.txt", "labels", "labels/0.txt"} < set(everything(tmp_path))


@pytest.mark.parametrize(
    ("source", "target", "images", "error", "message"),
    [
        (FIGURES, "pascal:out", "copy", UsageError, "unknown format 'pascal'; expected FORMAT:PATH with FORMAT one of"),
        ("pascal:x", "coco:out", "copy", UsageError, "unknown format 'pascal'"),
        (FIGURES, "lsp:out", "copy", UsageError, "'lsp' is only read.*one of coco, deeplabcut, lightning_pose, sleap"),
        (FIGURES, "coco:", "copy", UsageError, "'coco:' names no file or folder to write; give coco:PATH"),
        (FIGURES, "coco:out", "move", UsageError, "--images 'move': expected one of copy, link, keep"),
        (FIGURES, "coco:out", "keep", DataError, "'figures/plain/train/000000' is no file of its own"),
        (FIGURES, "sleap:out/a.pkg.slp", "copy", UsageError, "packages with embedded images are only read"),
        ("coco:in/people.json", "coco:out", "keep", DataError, "lies outside of 'out', the folder of the new labels"),
        ("coco:in/people.json", "coco:in/people.json", "copy", DataError, "people.json' exists already"),
        ("coco:in/people.json", "coco:full", "copy", DataError, "full/images' exists already"),
        ("coco:in/people.json", "yolo_pose:half", "copy", DataError, "half/data.yaml' exists already"),
        ("coco:in/people.json", "yolo_pose:in/0.png", "copy", DataError, "in/0.png' cannot be written"),
        ("coco:gone", "coco:out", "copy", DataError, "looked for a file or folder 'gone'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    source: str,
    target: str,
    images: str,
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    two_people(tmp_path / "in")
    for path in ("full/images/mine.png", "half/data.yaml"):
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(error, match=message) as caught:
        convert(source, target, images=images)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("target", WRITABLE)
@pytest.mark.parametrize("free", [100, 700])
def test_a_full_disk_leaves_nothing(target: str, free: int, tmp_path: Path) -> None:
    """With 100 bytes an image fails, with 700 the labels do (SLEAP's images too: they are no larger)."""
    (tmp_path / "in").mkdir()
    source = two_people(tmp_path / "in")
    data = formats.read(source)
    many = data.select(np.tile(np.arange(4), 3) if target not in ("deeplabcut", "lightning_pose") else [0, 2, 3])
    names = tuple(f"left_{'x' * 90}_{i}" for i in range(8))
    skeleton = replace(data.skeleton, keypoints=names, flip_pairs=(), edges=(), groups={})
    columns = {"keypoints": np.tile(many.keypoints, (1, 4, 1)), "visible": np.tile(many.visible, (1, 4))}
    formats.write(replace(many, skeleton=skeleton, **columns), f"coco:{tmp_path / 'in/large.json'}")
    before = everything(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        with pytest.raises(DataError) as caught:
            convert(f"coco:{tmp_path / 'in/large.json'}", f"{target}:{tmp_path / 'new/out'}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert "make room" in str(caught.value)
    assert everything(tmp_path) == before


def test_a_frame_that_does_not_decode_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = miniature(tmp_path / "in", "cvat", "write")
    content = bytearray((tmp_path / "in/export.zip").read_bytes())
    content[content.index(b"images/deep/b.png") + 30] ^= 255
    (tmp_path / "in/export.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"member 'images/deep/b\.png' is damaged"):
        convert(source, f"coco:{tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_without_sleap_io_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(UsageError, match=r"pip install 'poseshift\[sleap\]'"):
        convert(FIGURES, f"sleap:{tmp_path / 'out'}")
    assert everything(tmp_path) == []


def test_a_split_of_the_source(tmp_path: Path) -> None:
    data = formats.read(convert(FIGURES, f"coco:{tmp_path / 'out'}", split="test").data)
    assert data[0].key == "images/figures/plain/test/000000.png"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    two_people(tmp_path)
    assert tiny.call(monkeypatch, "convert", "coco:people.json", "yolo_pose:out") == 0
    assert capsys.readouterr().out == (
        "4 instances in 4 images: yolo_pose:out\n"
        "lost: keypoints outside of their image (1), edges (1), groups (2, now 3)\n"
        "added: boxes around the keypoints (3)\n"
    )
    assert tiny.call(monkeypatch, "convert", "coco:people.json", "yolo_pose:out") == 3
    assert capsys.readouterr().err == (
        "poseshift: 'out/images' exists already and is never overwritten; give another name or remove it\n"
    )
    assert tiny.call(monkeypatch, "convert", "coco:people.json", "mpii:out") == 2
    assert tiny.call(monkeypatch, "convert", "--help") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in WRITABLE)
    assert isinstance(formats.read("yolo_pose:out").images, ImageFiles)
