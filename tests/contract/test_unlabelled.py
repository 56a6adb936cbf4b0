"""Whoever reads without labels sees none: files whose keypoints were changed read as the originals do.

Each miniature data set is read by :func:`read_unlabelled`; then every keypoint value in its files becomes NaN, is put
in another order, or is deleted, and the result must be the same. The names of keypoints may stand in the labels
themselves (Label Studio), and vanish with them; nothing else may.
"""

from __future__ import annotations

import csv
import inspect
import json
import math
import pickle
import pkgutil
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from tests.contract.test_formats_fuzz import MINIATURES, miniature

from poseshift.data import parquet
from poseshift.data.formats import FORMATS, read, read_unlabelled
from poseshift.data.packed import TEXTS
from poseshift.data.published import ENORMOUS
from poseshift.errors import DataError
from poseshift.types import Annotations

Kind = Literal["NaN", "shuffled", "deleted", "infinite", "enormous", "large", "negative"]
KINDS: tuple[Kind, ...] = ("NaN", "shuffled", "deleted")
NUMBERS: dict[Kind, float] = {
    "NaN": math.nan,
    "infinite": math.inf,
    "enormous": 1e39,
    "large": 1e30,
    "negative": -7.0,
}
"""What a coordinate becomes; 1e39 is a double that no float32 holds."""
LABELLESS = {"images", "video"}
NAMES_IN_LABELS = {"label_studio"}


def writers() -> list[tuple[str, str]]:
    """``(format, function)`` of every ``write…(root)`` among the miniatures of formats with labels."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(MINIATURES)]))
    return [
        (name, function)
        for name in names
        for function, value in vars(miniature(name)).items()
        if function.startswith("write") and name not in LABELLESS
        if all(p.default is not p.empty for p in list(inspect.signature(value).parameters.values())[1:])
    ]


def changed(values: np.ndarray, kind: Kind) -> np.ndarray:
    """Other numbers of the same shape; deleted ones are zeros, where an array cannot have fewer."""
    if kind in NUMBERS:
        return np.full(values.shape, NUMBERS[kind])
    return np.zeros(values.shape) if kind == "deleted" else values.ravel()[::-1].reshape(values.shape).copy()


def nested(values: Any, kind: Kind) -> Any:
    return changed(np.array(values, np.float64), kind).tolist()


def walk(tree: Any, keys: tuple[str, ...], kind: Kind) -> None:
    """Changes what lies under ``keys``, but for names."""
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        walk(child, keys, kind)
    for key in [key for key in keys if isinstance(tree, dict) and tree.get(key)]:
        if isinstance(tree[key][0], str):
            continue
        if kind == "deleted":
            del tree[key]
        else:
            tree[key] = nested(tree[key], kind)


def in_json(*keys: str) -> Callable[[Path, Kind], None]:
    def change(root: Path, kind: Kind) -> None:
        for file in root.rglob("*.json"):
            content = json.loads(file.read_bytes())
            walk(content, keys, kind)
            file.write_text(json.dumps(content))

    return change


def in_mat(name: str, key: str) -> Callable[[Path, Kind], None]:
    def change(root: Path, kind: Kind) -> None:
        for file in root.rglob(name):
            savemat(file, {key: changed(np.asarray(loadmat(file)[key], np.float64), kind)})

    return change


def freihand(root: Path, kind: Kind) -> None:
    for file in root.glob("*_xyz.json"):
        content = json.loads(file.read_bytes())
        file.unlink() if kind == "deleted" else file.write_text(json.dumps(nested(content, kind)))


def human36m(root: Path, kind: Kind) -> None:
    in_json("keypoint2d")(root, kind)
    for file in (root / "annotations").glob("*_joint_3d.json"):
        content = json.loads(file.read_bytes())
        moved = {f: nested(joints, kind) for f, joints in content["2"]["1"].items()}
        file.unlink() if kind == "deleted" else file.write_text(json.dumps({"2": {"1": moved}}))


def mpii(root: Path, kind: Kind) -> None:
    in_json("joints", "joints_vis")(root, kind)
    if list(root.glob("*.mat")):
        numbers = {name: lambda p, value=value: {**p, "x": value} for name, value in NUMBERS.items()}
        other = {**numbers, "shuffled": lambda p: {**p, "id": (p["id"] + 3) % 16}}
        points = [[other[kind](point) for point in rows] if kind in other else [] for rows in miniature("mpii").POINTS]
        miniature("mpii").official(root, points)


def rhd(root: Path, kind: Kind) -> None:
    for file in root.rglob("*.pickle"):
        content = pickle.loads(file.read_bytes())  # noqa: S301 - written by the miniature
        for row in content.values():
            row["uv_vis"] = changed(row["uv_vis"], kind)
            if kind == "deleted":
                del row["uv_vis"]
        file.write_bytes(pickle.dumps(content))


def synthetic_animal(root: Path, kind: Kind) -> None:
    for file in root.rglob("*_kpts.npy"):
        file.unlink() if kind == "deleted" else np.save(file, changed(np.load(file), kind))


def tigdog(root: Path, kind: Kind) -> None:
    for file in (root / "landmarks").rglob("*.mat"):
        rows = miniature("tigdog").landmarks(3, 1)
        rows[..., :2] = changed(rows[..., :2], kind)
        rows[..., 2] = kind in NUMBERS
        miniature("tigdog").write_shot(root, file.parent.name, int(file.stem), rows[: 0 if kind == "deleted" else None])


def cells_of(cells: list[str], kind: Kind, *, gone: bool = True) -> list[str]:
    """Other text of numbers; deleted cells are gone or empty."""
    if kind in NUMBERS:
        return [str(NUMBERS[kind])] * len(cells)
    return cells[::-1] if kind == "shuffled" else [] if gone else [""] * len(cells)


def yolo_pose(root: Path, kind: Kind) -> None:
    for file in root.rglob("labels/**/*.txt"):
        lines = [line.split() for line in file.read_text().splitlines()]
        file.write_text("".join(f"{' '.join([*cells[:5], *cells_of(cells[5:], kind)])}\n" for cells in lines))


def tables(root: Path, kind: Kind) -> None:
    for file in root.rglob("*.h5"):
        with h5py.File(file, "r+") as content:
            node = content["df_with_missing/table"]
            node["values_block_0"] = changed(node["values_block_0"], kind)
    for file in root.rglob("*.csv"):
        rows = list(csv.reader(file.read_text().splitlines()))
        head = next(i for i, row in enumerate(rows) if row[0] == "coords") + 1
        first = next(i for i in range(1, len(rows[0])) if rows[0][i])
        text = [*rows[:head], *([*row[:first], *cells_of(row[first:], kind, gone=False)] for row in rows[head:])]
        file.write_text("".join(",".join(row) + "\n" for row in text))


def sleap(root: Path, kind: Kind) -> None:
    import h5py

    for file in root.glob("*.slp"):
        with h5py.File(file, "r+") as content:
            points, frames = content["points"][()], content["frames"][()]
            points["x"], points["y"] = changed(points["x"], kind), changed(points["y"], kind)
            points["visible"] = kind != "deleted"
            if kind == "deleted":
                frames["instance_id_end"] = frames["instance_id_start"]
            content["points"][()], content["frames"][()] = points, frames


def cvat_xml(text: str, kind: Kind) -> str:
    if kind == "deleted":
        return re.sub(r"<skeleton.*?</skeleton>", "", text, flags=re.DOTALL)
    places = re.findall(r'points="([^"]*)"', text)[::-1]
    text = re.sub(r'outside="\d" occluded="\d"', 'outside="0" occluded="1"', text)
    number = NUMBERS.get(kind)
    return re.sub(
        r'points="[^"]*"', lambda _: f'points="{places.pop(0) if number is None else f"{number},{number}"}"', text
    )


def cvat(root: Path, kind: Kind) -> None:
    for file in root.glob("*.xml"):
        file.write_text(cvat_xml(file.read_text(), kind))
    for file in root.glob("*.zip"):
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                if name.endswith(".xml"):
                    members[name] = cvat_xml(content.decode(), kind).encode()
                if name.endswith(".json"):
                    document = json.loads(content)
                    walk(document, ("keypoints",), kind)
                    members[name] = json.dumps(document).encode()
                archive.writestr(name, members[name])


def label_studio(root: Path, kind: Kind) -> None:
    file = root / "export.json"
    tasks = json.loads(file.read_bytes())
    for task in tasks:
        for entry in task["annotations"]:
            regions = entry["result"]
            for region in (region for region in regions if region["type"] == "keypointlabels"):
                region["value"] |= dict(zip("xy", nested([region["value"][k] for k in "xy"], kind), strict=True))
            if kind == "deleted":
                entry["result"] = [region for region in regions if region["type"] == "rectanglelabels"]
    file.write_text(json.dumps(tasks))


def packed(root: Path, kind: Kind) -> None:
    """In the table of instances; its row groups and what the index notes of it stay true."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = root / "packed"
    index = json.loads((folder / "index.json").read_bytes())
    for split in index["splits"].values():
        file = split["table"]["file"]
        table = pq.read_table(folder / file)
        for column, name in enumerate(table.column_names):
            if re.search("_[xyv]$", name):
                values = table.column(name).to_numpy()
                values = values if kind in NUMBERS and name.endswith("_v") else changed(values, kind)
                field = table.schema.field(name)
                with np.errstate(over="ignore"):
                    values = values.astype(field.type.to_pandas_dtype())
                table = table.set_column(column, field, pa.array(values))
        with parquet.writer(folder / file, table.schema, dictionaries=TEXTS) as out:
            for start, count in zip(np.cumsum([0, *split["table"]["rows"]]), split["table"]["rows"], strict=False):
                out.write_table(table.slice(start, count))
        split["table"] = parquet.note(folder, file).model_dump()
    (folder / "index.json").write_text(json.dumps(index))


CHANGES: dict[str, Callable[[Path, Kind], None]] = {
    **{name: in_json("keypoints") for name in ("coco", "ap10k", "animalpose")},
    "badja": in_json("joints", "visibility"),
    "h3d": in_json("keypoint2d"),
    "lsp": in_mat("joints.mat", "joints"),
    "lspet": in_mat("joints.mat", "joints"),
    "surreal": in_mat("*_info.mat", "joints2D"),
    "deeplabcut": tables,
    "lightning_pose": tables,
    "freihand": freihand,
    "human36m": human36m,
    "mpii": mpii,
    "rhd": rhd,
    "synthetic_animal": synthetic_animal,
    "tigdog": tigdog,
    "yolo_pose": yolo_pose,
    "sleap": sleap,
    "cvat": cvat,
    "label_studio": label_studio,
    "packed": packed,
}
"""How the keypoints in the files of each format are changed."""


def seen(spec: str, split: str | None) -> Annotations | str:
    """What reading gives, or the first words of what it says."""
    try:
        return read_unlabelled(spec, split=split)
    except DataError as error:
        return str(error)[:40]


def same(one: Annotations | str, other: Annotations | str, *, names: bool) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    keys = [[data.images.key(i) for i in data.image_index.tolist()] for data in (one, other)]
    assert keys[0] == keys[1]
    np.testing.assert_array_equal(one.boxes, other.boxes)
    for column in ("groups", "categories"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist()
    for data in (one, other):
        assert not data.visible.any()
        assert not data.keypoints.any()
    if names:
        assert one.skeleton == other.skeleton
        assert len(one.skeleton) > 1


def test_every_format_of_files_is_tried() -> None:
    assert set(CHANGES) == {name for name, _ in writers()}
    assert set(FORMATS) - set(CHANGES) == LABELLESS | {"figures", "quadrupeds"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "function"), writers())
def test_no_keypoint_of_a_file_changes_what_is_read_without_labels(
    name: str, function: str, kind: Kind, tmp_path: Path
) -> None:
    spec = f"{name}:{getattr(miniature(name), function)(tmp_path)}"
    splits = [None, *FORMATS[name].SPLITS]
    before, labelled = {split: seen(spec, split) for split in splits}, read(spec)
    assert isinstance(before[None], Annotations), before[None]
    CHANGES[name](tmp_path, kind)
    for split in splits:
        same(before[split], seen(spec, split), names=not (kind == "deleted" and name in NAMES_IN_LABELS))
    try:
        after = read(spec)
    except DataError:
        return
    assert labelled.keypoints.shape != after.keypoints.shape or not np.array_equal(labelled.keypoints, after.keypoints)


@pytest.mark.parametrize(("name", "function"), writers())
def test_without_labels_at_least_the_labelled_images_are_there(name: str, function: str, tmp_path: Path) -> None:
    spec = f"{name}:{getattr(miniature(name), function)(tmp_path)}"
    labelled, bare = read(spec), read_unlabelled(spec)
    there = [{data.images.key(i) for i in data.image_index.tolist()} for data in (labelled, bare)]
    assert there[0] <= there[1]
    assert bare.skeleton == labelled.skeleton


@pytest.mark.parametrize(("name", "function"), writers())
def test_an_image_is_of_the_same_group_with_labels_and_without(name: str, function: str, tmp_path: Path) -> None:
    """Else a split by group would not keep labelled test images out of an unlabelled target."""
    spec = f"{name}:{getattr(miniature(name), function)(tmp_path)}"
    labelled, bare = (
        {data.images.key(i): str(group) for i, group in zip(data.image_index.tolist(), data.groups, strict=True)}
        for data in (read(spec), read_unlabelled(spec))
    )
    assert {key: bare[key] for key in labelled} == labelled


def read_or_refusal(spec: str) -> Annotations | str:
    """What is read with every warning of numpy's an error, or the line that refuses it."""
    try:
        with np.errstate(all="raise", under="ignore"):
            return read(spec)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize(("name", "function"), writers())
def test_numbers_that_cannot_be_are_refused_or_not_labelled(
    name: str, function: str, kind: Kind, tmp_path: Path
) -> None:
    """Nothing that is not finite or beyond any image comes out of a reader, and what refuses it names a file."""
    spec = f"{name}:{getattr(miniature(name), function)(tmp_path)}"
    CHANGES[name](tmp_path, kind)
    found = read_or_refusal(spec)
    if isinstance(found, str):
        assert len(found.splitlines()) == 1
        assert str(tmp_path) in found
        return
    assert (np.abs(found.keypoints) < ENORMOUS).all()
    assert not (np.abs(found.boxes) >= ENORMOUS).any()
