"""The report on collapse: the measures of the best checkpoint, and images that show what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poseshift.apps.report.entries import Entry
from poseshift.apps.report.pictures import SIDE, Picture, Pose, jpeg, strokes
from poseshift.apps.tables import collapse_line, expected_line
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine.collapse import WORDS
from poseshift.errors import CheckpointError, PoseshiftError
from poseshift.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One kind of collapse that was found, with images that show it."""

    name: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Collapses:
    """The section of the report.

    Attributes:
        step: Of the checkpoint.
        lines: One a measure: whether it is there, its number and its limit.
        expected: What share of the target's keypoints should be right, in a sentence; empty where it is not known.
        found: Words for what was found; empty for a healthy run.
        shown: Its pictures.
        trouble: Why there are no pictures; empty where there are, or nothing was found.
    """

    step: int
    lines: tuple[str, ...]
    expected: str
    found: tuple[str, ...]
    shown: tuple[Shown, ...]
    trouble: str


def collapses(subject: Entry) -> Collapses | None:
    """What was examined of the checkpoint that ``best`` points to; None where it was not."""
    try:
        examined = subject.run.trust(f"step-{subject.run.checkpoint('best').step}") if subject.predicts else None
    except CheckpointError:  # a report of a damaged run still has its tables; its section on runs names the damage
        return None
    if examined is None:
        return None
    found = tuple(name for name, one in examined["collapse"].items() if one["found"])
    trouble, shown = "", tuple[Shown, ...]()
    if found:
        try:
            shown = _shown(subject, examined["examples"])
        except PoseshiftError as error:
            trouble = str(error)
    return Collapses(
        step=examined["step"],
        lines=tuple(collapse_line(name, one) for name, one in examined["collapse"].items()),
        expected=expected_line(examined["calibration"]),
        found=tuple(WORDS[name] for name in found),
        shown=shown,
        trouble=trouble,
    )


def _shown(subject: Entry, examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Shown, ...]:
    """The examples, drawn over the target's images, of which no label is read."""
    run, target = subject.run, subject.run.config.target
    if target is None:
        return ()
    read = sources.read(
        target.data, split=target.split, limit=target.limit, labelled=False, label_boxes=target.label_boxes
    )
    boxes = run.manifest.get("cut", {}).get("target", target.boxes)
    crops = Crops(read.without_labels(), CropConfig(boxes=boxes, padding=target.padding), size=SIDE)
    return tuple(
        Shown(name=WORDS[name], pictures=tuple(p for one in rows if (p := _picture(subject, crops, one)) is not None))
        for name, rows in examples.items()
    )


def _picture(subject: Entry, crops: Crops, one: Mapping[str, Any]) -> Picture | None:
    """None where the data is no longer what it was."""
    row = int(one["row"])
    if row >= len(crops) or crops.annotations[row].key != one["image"] or (item := crops[row]).row != row:
        return None
    scale = SIDE / subject.run.config.input_size
    points: FloatArray = ((np.array(one["keypoints"]) + 0.5) * scale - 0.5).astype(np.float32)
    drawn = strokes(subject.run.skeleton, points, np.ones(len(points), np.float32), 1.0)
    pose = Pose(label=subject.label, note="", strokes=tuple(drawn))
    return Picture(name=str(one["image"]), uri=jpeg(item.pixels), poses=(pose,), truth=())
