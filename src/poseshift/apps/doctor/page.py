"""The examination as one self-contained HTML file: the verdict, pictures of both domains side by side, charts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poseshift.apps import pages
from poseshift.apps.doctor import LEVEL_TITLES, charts, spread, text
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.facts import facts
from poseshift.apps.doctor.samples import Sample
from poseshift.apps.report.pictures import SIDE, Picture, Pose, jpeg, strokes
from poseshift.types import NOT_LABELLED, VISIBLE

SHOWN = 12
"""Pictures of each domain."""
SIZES = {
    "image_width": "image width",
    "image_height": "image height",
    "box_longer_side": "box, longer side",
    "box_longer_side_over_image": "box over image",
    "box_aspect": "box, width over height",
    "crop_side": "crop side",
    "box_over_crop": "box over crop",
    "image_share_of_crop": "image share of the crop",
}


def write(found: Examination, out: Path) -> Path:
    """Writes the page; replaces it where it exists. Raises as :func:`poseshift.apps.pages.write`."""
    known = facts(found)
    marks, bones = charts.mean_pose(found)
    sizes = [(title, spread(known["source"][key]), spread(known["target"][key])) for key, title in SIZES.items()]
    return pages.write(
        out,
        "doctor/page.html.j2",
        facts=known,
        text=text(found),
        levels=LEVEL_TITLES,
        pictures={"source": list(_pictures(found.source)), "target": list(_pictures(found.target))},
        side=SIDE,
        input_size=found.config.input_size,
        sizes=sizes,
        looks=charts.looks(found),
        orientation=charts.orientation(found),
        marks=marks,
        bones=bones,
        colours={"source": charts.SOURCE, "source, augmented": charts.AUGMENTED, "target": charts.TARGET},
    )


def _pictures(sample: Sample) -> Iterator[Picture]:
    """An even sample; with labels where there are any."""
    scale = SIDE / sample.crops.shape[1]
    for number in np.unique(np.linspace(0, len(sample) - 1, min(SHOWN, len(sample))).round().astype(np.int64)):
        row = int(sample.rows[number])
        record, region = sample.annotations[row], sample.regions[number]
        poses = []
        labelled = record.visible != NOT_LABELLED
        if labelled.any():
            zoom = sample.crops.shape[1] / float(region[2] - region[0])
            points = (record.keypoints - region[:2]) * zoom * scale - 0.5
            shown = np.where(labelled[:, None], points, np.nan).astype(np.float32)
            strength = np.where(record.visible == VISIBLE, 1.0, 0.45).astype(np.float32)
            drawn = tuple(strokes(sample.annotations.skeleton, shown, strength, 1.0))
            note = f"{int(labelled.sum())} of {len(labelled)} labelled"
            poses = [Pose(label=record.key, note=note, strokes=drawn)]
        yield Picture(name=record.key, uri=jpeg(sample.crops[number]), poses=tuple(poses), truth=())
