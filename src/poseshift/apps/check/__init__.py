"""``poseshift check``: reads everything of a data set and says what its user must know before training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.apps.check import findings
from poseshift.apps.check.findings import Headers
from poseshift.data import formats
from poseshift.types import NOT_LABELLED, OCCLUDED, VISIBLE, Annotations, IntArray

SHOWN = 5
"""Examples named for each finding."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found.

    Attributes:
        data: ``FORMAT:PATH``.
        split: Of that format.
        annotations: As they were read.
        headers: Of all images.
        rows: Rows of the annotations by finding, in words.
    """

    data: str
    split: str | None
    annotations: Annotations
    headers: Headers
    rows: dict[str, IntArray]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of ``--json``: counts, names, and the first examples of each finding."""
        data, visible = self.annotations, self.annotations.visible
        return {
            "data": self.data,
            "split": self.split,
            "images": len(data.images),
            "images_with_instances": len(np.unique(data.image_index)),
            "instances": len(data),
            "labelled_instances": int((visible != NOT_LABELLED).any(1).sum()) if len(data.skeleton) else 0,
            "keypoints": list(data.skeleton.keypoints),
            "visible_per_keypoint": (visible == VISIBLE).sum(0).tolist(),
            "occluded_per_keypoint": (visible == OCCLUDED).sum(0).tolist(),
            "boxes": int((~np.isnan(data.boxes).any(1)).sum()),
            "categories": {
                str(n): int(c) for n, c in zip(*np.unique(data.categories, return_counts=True), strict=True)
            },
            "groups": len(np.unique(data.groups)),
            "unreadable": dict(list(self.headers.unreadable.items())[:SHOWN]),
            "unreadable_count": len(self.headers.unreadable),
            "same_bytes": self.headers.same[:SHOWN],
            "same_bytes_count": len(self.headers.same),
            "findings": {
                name: {"count": len(rows), "first": [self.name(int(row)) for row in rows[:SHOWN]]}
                for name, rows in self.rows.items()
            },
            "note": data.note,
        }

    def name(self, row: int) -> str:
        """An instance in words: its image, and which of the image's instances it is."""
        before = self.annotations.image_index[:row] == self.annotations.image_index[row]
        return f"{self.annotations[row].key} #{int(before.sum())}"


def check(data: str, *, split: str | None = None, advance: Callable[[int], None] = lambda count: None) -> Checked:
    """Reads annotations and the header of every image.

    Args:
        data: ``FORMAT:PATH``.
        split: Of that format.
        advance: Called with the number of images done, for a progress bar.

    Raises:
        UsageError, DataError: The annotations cannot be read.
    """
    annotations = formats.read(data, split=split)
    headers = findings.headers(annotations.images, advance)
    rows = {
        "the same image, box and keypoints as another instance": findings.repeated(annotations),
        "box leaves the image": findings.boxes_outside(annotations, headers.sizes),
        "labelled keypoint outside the image": findings.keypoints_outside(annotations, headers.sizes),
    }
    names = annotations.skeleton.keypoints
    for (first, second), suspects in findings.swapped(annotations).items():
        rows[f"{names[first]} and {names[second]} may be exchanged"] = suspects
    found = {name: which for name, which in rows.items() if len(which)}
    return Checked(data=data, split=split, annotations=annotations, headers=headers, rows=found)


def text(checked: Checked) -> str:
    """The facts for a terminal."""
    facts = checked.facts
    lines = [
        f"{checked.data}{f', {checked.split}' if checked.split else ''}: {facts['images']} images "
        f"({facts['images_with_instances']} with instances), {facts['instances']} instances, "
        f"{facts['labelled_instances']} labelled, {facts['boxes']} with a box",
        f"categories: {', '.join(f'{name} {count}' for name, count in facts['categories'].items())}; "
        f"{facts['groups']} groups",
    ]
    if facts["note"]:
        lines.append(str(facts["note"]))
    width = max([len(name) for name in facts["keypoints"]], default=0)
    if width:
        lines.append(f"{'keypoint'.ljust(width)}  visible  occluded  missing")
    for name, seen, hidden in zip(
        facts["keypoints"], facts["visible_per_keypoint"], facts["occluded_per_keypoint"], strict=True
    ):
        lines.append(f"{name.ljust(width)} {seen:8} {hidden:9} {facts['instances'] - seen - hidden:8}")
    return "\n".join([*lines, *_complaints(facts)])


def _complaints(facts: dict[str, Any]) -> list[str]:
    lines = [f"unreadable: {facts['unreadable_count']} images"] if facts["unreadable_count"] else []
    lines += [f"  {reason}" for reason in facts["unreadable"].values()]
    if facts["same_bytes_count"]:
        first = "; ".join(" = ".join(names[:3]) for names in facts["same_bytes"])
        lines.append(f"same file under several names: {facts['same_bytes_count']} ({first})")
    for name, found in facts["findings"].items():
        more = ", …" if found["count"] > len(found["first"]) else ""
        plural = "" if found["count"] == 1 else "s"
        lines.append(f"{name}: {found['count']} instance{plural} ({', '.join(found['first'])}{more})")
    return lines or ["nothing to complain about"]


def write_page(checked: Checked, out: str | Path) -> Path:
    """Writes one self-contained HTML file with thumbnails. Returns its path."""
    from poseshift.apps.check.page import write

    return write(checked, text(checked), Path(out))
