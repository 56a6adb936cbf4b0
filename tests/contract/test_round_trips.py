"""Every format that can be written: what is read is what was written, to the rounding of its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poseshift.data import formats
from poseshift.data.formats import FORMATS, Writable
from poseshift.data.images import ImageFiles, leaves_root
from poseshift.data.layouts import file_of, new_names, put_images
from poseshift.data.skeletons import from_names
from poseshift.types import Annotations

WRITABLE = tuple(name for name, module in FORMATS.items() if isinstance(module, Writable))
SIZES = ((31, 17), (16, 40), (31, 17), (23, 24))
EXACT = {"coco", "deeplabcut", "lightning_pose", "sleap"}
ATOL = 4e-6
"""One step of float32 at 40, the longest side: YOLO's shares have ten digits and are multiplied by the side."""
FLAGS = {"coco", "yolo_pose"}
"""Formats with a flag of occlusion."""

LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\")
TEXTS = st.text(LETTERS, min_size=1, max_size=8)
FOLDERS = TEXTS.filter(lambda text: not leaves_root(text))
"""``A:`` is a drive, and ``..`` leads outside: no image is read there."""


def points(draw: st.DrawFn, size: tuple[int, int]) -> list[list[float]]:
    """Points ``K×2`` in an image, its edges and what lies around it."""
    axis = [st.floats(-0.5, side - 0.5, width=32) | st.floats(-40, 90, width=32) for side in size]
    return draw(st.lists(st.tuples(*axis), min_size=4, max_size=4))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Annotations, tuple[str, ...]]:
    """One to five instances in up to four images, and the names of these; not labelled points hold NaN."""
    names = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    paths = draw(st.lists(st.tuples(FOLDERS, TEXTS), min_size=4, max_size=4, unique=True))
    index = sorted(draw(st.lists(st.integers(0, 3), min_size=1, max_size=5)))
    n, k = len(index), len(names)
    keypoints = np.array([points(draw, SIZES[image])[:k] for image in index], np.float32)
    visible = np.array(draw(st.lists(st.lists(st.integers(0, 2), min_size=k, max_size=k), min_size=n, max_size=n)))
    visible[:, draw(st.integers(0, k - 1))] = 2
    low = np.array([[draw(st.floats(0, side - 2, width=32)) for side in SIZES[image]] for image in index], np.float32)
    boxes = np.concatenate([low, low + np.float32(1.25)], axis=1)
    boxes[draw(st.lists(st.booleans(), min_size=n, max_size=n))] = np.nan
    categories = draw(st.lists(st.sampled_from(["dög", "a cat", "5", ""]), min_size=n, max_size=n))
    groups = draw(st.lists(TEXTS, min_size=4, max_size=4))
    data = Annotations(
        name="x",
        images=ImageFiles(root=Path(), paths=("unset",) * 4),
        image_index=np.array(index),
        skeleton=from_names("x", names, edges=[(i, i + 1) for i in range(k - 1)]),
        keypoints=np.where(visible[..., None] > 0, keypoints, np.nan).astype(np.float32),
        visible=visible.astype(np.uint8),
        boxes=boxes,
        groups=np.array([groups[image] for image in index]),
        categories=np.array(categories),
    )
    return data, tuple(f"{folder}/{name}.png" for folder, name in paths)


def rows_of(data: Annotations, images: list[int]) -> list[tuple[int, tuple[float, ...], int]]:
    """``(image, keypoints and visibility, row)``, in an order that does not depend on that of the rows."""
    table = np.concatenate([np.nan_to_num(data.keypoints).round(3), data.visible[..., None]], axis=2)
    keys = [tuple(row.ravel().tolist()) for row in table]
    return sorted(
        (images[image], key, row) for row, (image, key) in enumerate(zip(data.image_index, keys, strict=True))
    )


def expected(data: Annotations, name: str) -> Annotations:
    """What a file of the format can hold of ``data``."""
    visible = data.visible.copy()
    if name == "yolo_pose":
        size = np.array([SIZES[image] for image in data.image_index])[:, None]
        with np.errstate(invalid="ignore"):
            visible[((data.keypoints < -0.5) | (data.keypoints > size - 0.5)).any(axis=2)] = 0
    if name not in FLAGS:
        visible[visible == 1] = 2
    return replace(data, keypoints=np.where(visible[..., None] > 0, data.keypoints, 0), visible=visible)


@pytest.mark.parametrize("name", WRITABLE)
@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_what_is_written_reads_back(
    name: str, case: tuple[Annotations, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, (data, paths) = tmp_path_factory.mktemp(name), case
    for path, size in zip(paths, SIZES, strict=True):
        (root / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / "in" / path)
    data = replace(data, images=ImageFiles(root=root / "in", paths=paths))
    layout = FORMATS[name].LAYOUT  # type: ignore[attr-defined]
    if layout.single:
        data = data.select(np.unique(data.image_index, return_index=True)[1])
    new = new_names(data, np.arange(4), layout)
    put_images(data.images, np.arange(4), new, root / "out")
    labels, folder = layout.places(root / "out")
    formats.write(replace(data, images=ImageFiles(root=folder, paths=new)), f"{name}:{labels}")
    again = formats.read(f"{name}:{labels}")
    for file in (root / "out/labels").rglob("*.txt"):
        assert np.isfinite(np.array(file.read_text().split(), float)).all()

    where = {(folder / path).resolve(): image for image, path in enumerate(new)}
    found = [file_of(again.images, image) for image in range(len(again.images))]
    images = [where[file.resolve()] for file in found if file is not None]
    assert len(images) == len(again.images)
    held = expected(data, name)
    before, after = rows_of(held, [0, 1, 2, 3]), rows_of(again, images)
    assert [row[0] for row in before] == [row[0] for row in after]
    one, other = held.select([row[2] for row in before]), again.select([row[2] for row in after])
    np.testing.assert_array_equal(other.visible, one.visible)
    np.testing.assert_allclose(other.keypoints, one.keypoints, rtol=0, atol=0 if name in EXACT else ATOL)
    assert again.skeleton.keypoints == data.skeleton.keypoints
    if name in FLAGS:
        np.testing.assert_array_equal(other.categories, one.categories)
        given_boxes = np.isfinite(one.boxes).all(axis=1)
        tolerance = 0 if name in EXACT else 2 * ATOL
        np.testing.assert_allclose(other.boxes[given_boxes], one.boxes[given_boxes], rtol=0, atol=tolerance)
    if name == "coco":
        np.testing.assert_array_equal(other.groups, one.groups)
        assert np.isnan(other.boxes[~given_boxes]).all()
