"""``poseshift convert``: labels from one format to another, with images that the new labels can refer to.

What was written is read back before anything takes its final name, and what the new format did not keep is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from poseshift.data import formats
from poseshift.data.drafts import refuse_existing, staged
from poseshift.data.formats import Writable
from poseshift.data.images import ImageFiles
from poseshift.data.layouts import Layout, kept_names, new_names, put_images
from poseshift.errors import DataError, UsageError
from poseshift.types import NOT_LABELLED, OCCLUDED, Annotations, IntArray

IMAGES = ("copy", "link", "keep")
SHOWN = 5
"""Names of categories that a message lists."""
COUNTS: dict[str, Callable[[Annotations], int]] = {
    "instances with no keypoint inside of their image": len,
    "keypoints outside of their image": lambda data: int((data.visible != NOT_LABELLED).sum()),
    "occlusion, visible now": lambda data: int((data.visible == OCCLUDED).sum()),
    "boxes": lambda data: int(np.isfinite(data.boxes).all(axis=1).sum()),
    "edges": lambda data: len(data.skeleton.edges),
    "left-right pairs": lambda data: len(data.skeleton.flip_pairs),
}
"""What a format may lose, and how much there is of it."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written.

    Attributes:
        data: ``FORMAT:PATH`` by which it is read.
        instances: Number of instances with a labelled keypoint.
        images: Number of images.
        lost: What the source has and the new data has not, one phrase each.
        added: What the new data has and the source has not.
    """

    data: str
    instances: int
    images: int
    lost: tuple[str, ...]
    added: tuple[str, ...]


def convert(
    source: str,
    target: str,
    *,
    split: str | None = None,
    images: str = "copy",
    advance: Callable[[int], None] = lambda count: None,
) -> Converted:
    """Reads labels in one format and writes them in another; all of it or nothing.

    Args:
        source: ``FORMAT:PATH`` of labelled images.
        target: ``FORMAT:PATH``: a file of labels that does not exist, or the folder for it.
        split: Of the source; None for all.
        images: ``copy`` puts copies of the image files beside the labels, ``link`` hard links; images that are no
            files of their own (frames, members of a zip, drawn ones) become PNG files with both. ``keep`` leaves the
            files where they are, which must be below the folder of the labels.
        advance: Called with the number of images done.

    Raises:
        UsageError: Unknown format, split or mode, a format that is only read, or a missing optional package.
        DataError: Something exists already, nothing is labelled, an image cannot be read or referred to, or the disk
            refuses.
    """
    name, text = formats.parse(target)
    module = formats.writable(name)
    if not text:
        raise UsageError(f"{target!r} names no file or folder to write; give {name}:PATH")
    if images not in IMAGES:
        raise UsageError(f"--images {images!r}: expected one of {', '.join(IMAGES)}")
    module.LAYOUT.ready()
    labels, folder = module.LAYOUT.places(Path(text))
    _refuse_existing(module.LAYOUT, labels, folder, images)
    data = formats.read(source, split=split)
    rows, left = _rows(data, module.LAYOUT, source)
    fitting = data.select(rows)
    chosen = np.arange(len(data.images)) if module.LAYOUT.empty else np.unique(fitting.image_index)
    if images == "keep":
        names = kept_names(data.images, chosen, folder, module.LAYOUT)
        after = _write(module, name, _renumbered(fitting, chosen, folder, names), labels)
    else:
        names = new_names(fitting, chosen, module.LAYOUT)
        with staged(folder) as stage:
            put_images(data.images, chosen, names, stage, link=images == "link", advance=advance)
            moved = _renumbered(fitting, chosen, stage, names)
            after = _write(module, name, moved, stage / labels.relative_to(folder))
    lost, added = _differences(fitting, after)
    return Converted(
        data=f"{name}:{labels}",
        instances=len(_labelled(after)),
        images=len(after.images),
        lost=(*left, *lost),
        added=tuple(added),
    )


def _refuse_existing(layout: Layout, labels: Path, folder: Path, images: str) -> None:
    """Refuse at once what would be refused after all images were copied."""
    if labels != folder:
        refuse_existing(labels)
    if images != "keep":
        refuse_existing(folder / layout.folder)


def _write(module: Writable, name: str, annotations: Annotations, labels: Path) -> Annotations:
    """Write, and read back what was written."""
    module.write(annotations, labels)
    return formats.read(f"{name}:{labels}")


def _renumbered(annotations: Annotations, chosen: IntArray, root: Path, names: tuple[str, ...]) -> Annotations:
    """The annotations with the images ``chosen`` alone, as files under ``root``."""
    index = np.searchsorted(chosen, annotations.image_index)
    return replace(annotations, images=ImageFiles(root=root, paths=names), image_index=index)


def _rows(data: Annotations, layout: Layout, source: str) -> tuple[IntArray, list[str]]:
    """The rows that the format has a place for, and what is said of the others."""
    known = (data.visible != NOT_LABELLED).sum(axis=1)
    if not known.any():
        raise DataError(f"{source} has no labelled keypoint, so there is nothing to convert; give labelled data")
    boxed = np.isfinite(data.boxes).all(axis=1)
    rows = np.flatnonzero((known > 0) | boxed if layout.empty else known)
    said = [f"instances without a labelled keypoint ({len(data) - len(rows)})"] if len(rows) < len(data) else []
    if layout.single:
        order = rows[np.lexsort((rows, -known[rows], data.image_index[rows]))]
        _, first = np.unique(data.image_index[order], return_index=True)
        best = np.sort(order[first])
        if len(best) < len(rows):
            said.append(f"instances beside one with as many keypoints, for an image has one ({len(rows) - len(best)})")
        rows = best
    return rows, said


def _labelled(data: Annotations) -> Annotations:
    return data.select((data.visible != NOT_LABELLED).any(axis=1))


def _differences(before: Annotations, after: Annotations) -> tuple[list[str], list[str]]:
    """What of labelled instances was lost and what was added, in words."""
    images = len(before.images) - len(after.images)
    before, after = _labelled(before), _labelled(after)
    gone = {what: count(before) - count(after) for what, count in COUNTS.items()}
    gone["images without a labelled instance"] = images
    lost = [f"{what} ({number})" for what, number in gone.items() if number > 0]
    added = [f"boxes around the keypoints ({-gone['boxes']})"] if gone["boxes"] < 0 else []
    if names := sorted(set(before.categories.tolist()) - set(after.categories.tolist()) - {""}):
        lost.append(f"categories ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})")
    groups = [len(np.unique(data.groups)) for data in (before, after)]
    if groups[0] != groups[1]:
        lost.append(f"groups ({groups[0]}, now {groups[1]})")
    return lost, added
