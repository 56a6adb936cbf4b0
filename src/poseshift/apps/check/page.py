"""The findings as one self-contained HTML file with thumbnails and overlays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseshift.apps import pages
from poseshift.apps.check import Checked
from poseshift.apps.report.pictures import SIDE, Picture, Pose, jpeg, strokes
from poseshift.data.boxes import crop_regions
from poseshift.data.images import padded_crop
from poseshift.errors import DataError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations, FloatArray, IntArray

EXAMPLES, EACH = 16, 8
"""Pictures of the data at large, and of each finding."""
PADDING = 1.3


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures under one heading."""

    name: str
    count: int
    pictures: tuple[Picture, ...]


def write(checked: Checked, text: str, out: Path) -> Path:
    """Writes the page; replaces it where it exists."""
    return pages.write(
        out, "check/page.html.j2", facts=checked.facts, text=text, galleries=list(galleries(checked)), side=SIDE
    )


def galleries(checked: Checked) -> Iterator[Gallery]:
    """Instances of each finding first, then an even sample of all."""
    for name, rows in checked.rows.items():
        yield Gallery(name=name, count=len(rows), pictures=tuple(_pictures(checked, rows[:EACH])))
    everything = np.arange(len(checked.annotations))
    sample = np.unique(np.linspace(0, max(len(everything) - 1, 0), EXAMPLES).round().astype(np.int64))
    rows = everything[sample] if len(everything) else everything
    yield Gallery(name="An even sample", count=len(everything), pictures=tuple(_pictures(checked, rows)))


def _pictures(checked: Checked, rows: IntArray) -> Iterator[Picture]:
    for row in map(int, rows):
        one = checked.annotations.select([row])
        if one[0].key in checked.headers.unreadable:
            continue
        try:
            region = _region(one)
            crop, matrix = padded_crop(one.images.read(int(one.image_index[0])), region, SIDE)
        except DataError:
            continue  # whole headers over broken pixels: training will count it
        labelled = one.visible[0] != NOT_LABELLED
        points = one.keypoints[0] @ matrix[:2, :2].T + matrix[:2, 2]
        shown = np.where(labelled[:, None], points, np.nan).astype(np.float32)
        strength = np.where(one.visible[0] == VISIBLE, 1.0, 0.45).astype(np.float32)
        pose = Pose(
            label=checked.name(row),
            note=f"{int(labelled.sum())} of {len(labelled)} labelled",
            strokes=tuple(strokes(one.skeleton, shown, strength, 1.0)),
        )
        yield Picture(name=checked.name(row), uri=jpeg(crop), poses=(pose,), truth=())


def _region(one: Annotations) -> FloatArray:
    """A square around what is labelled and the box, else the whole image."""
    corners = [one.boxes[0]] if np.isfinite(one.boxes[0]).all() else []
    labelled = one.visible[0] != NOT_LABELLED
    if labelled.any():
        points = one.keypoints[0][labelled]
        corners.append(np.concatenate([points.min(0), points.max(0)]))
    if not corners:
        whole: FloatArray = crop_regions(one, mode="whole")[0]
        return whole
    stacked = np.stack(corners)
    low, high = stacked[:, :2].min(0), stacked[:, 2:].max(0)
    centre, half = (low + high) / 2, PADDING * max(8.0, float((high - low).max())) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)
