"""Readers of annotation formats: one format, one file, one line in :data:`FORMATS`.

Data is named ``FORMAT:PATH``, for example ``lsp:data/lsp`` or ``coco:labels.json@images``; what ``PATH`` may hold
stands at the head of each format's module. No format imports torch.

Without labels (:func:`read_unlabelled`) an instance is what its file says beside keypoints: an annotation or a row with
a box or a class. Where nothing but keypoints tells the instances of an image apart (DeepLabCut, Lightning Pose, SLEAP,
CVAT's XML, RHD), each image that the file lists is one instance. Boxes that a reader would compute from keypoints are
not there; each reader says so in its ``labelled`` and in the note.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from poseshift.data import splits
from poseshift.data.formats import (
    animalpose,
    ap10k,
    badja,
    coco,
    cvat,
    deeplabcut,
    figures,
    freihand,
    h3d,
    human36m,
    images,
    label_studio,
    lightning_pose,
    lsp,
    lspet,
    mpii,
    packed,
    quadrupeds,
    rhd,
    sleap,
    surreal,
    synthetic_animal,
    tigdog,
    video,
    yolo_pose,
)
from poseshift.data.layouts import Layout
from poseshift.errors import UsageError
from poseshift.types import Annotations

__all__ = ["FORMATS", "Format", "Writable", "parse", "read", "writable", "write"]


class Format(Protocol):
    """What a module of this package offers.

    One that can also be written is :class:`Writable`.
    """

    @property
    def SPLITS(self) -> tuple[str, ...]:
        """Names that ``split`` may take besides None; empty where any name may occur in the files."""

    @property
    def read(self) -> Callable[..., Annotations]:
        """``read(path: str, *, split: str | None = None) -> Annotations``.

        Readers of files also take ``allow_outside: bool = False``, see :class:`poseshift.data.images.ImageFiles`, and,
        where files hold labels, ``labelled: bool = True``: without, all keypoints are not labelled, and no label has
        any influence on which instances there are, their order and their boxes. They raise
        :class:`~poseshift.errors.DataError` where something is missing or does not fit together,
        :class:`~poseshift.errors.FormatError` where a file is not what the format says, and
        :class:`~poseshift.errors.UsageError` for an unknown split or option.
        """


@runtime_checkable
class Writable(Protocol):
    """What the module of a format that can be written offers besides."""

    @property
    def LAYOUT(self) -> Layout:
        """What the format wants of the folder that it is written to."""

    @property
    def write(self) -> Callable[[Annotations, Path], None]:
        """``write(annotations: Annotations, path: Path) -> None``: all of it or nothing, never over what is there.

        Image files are named by their keys, relative to the folder of the labels, and not copied. Raises
        :class:`~poseshift.errors.DataError` where something exists already, has no place in the format, or the disk
        refuses.
        """


FORMATS: dict[str, Format] = {
    "coco": coco,
    "images": images,
    "video": video,
    "deeplabcut": deeplabcut,
    "lightning_pose": lightning_pose,
    "sleap": sleap,
    "yolo_pose": yolo_pose,
    "cvat": cvat,
    "label_studio": label_studio,
    "surreal": surreal,
    "lsp": lsp,
    "lspet": lspet,
    "mpii": mpii,
    "human36m": human36m,
    "rhd": rhd,
    "h3d": h3d,
    "freihand": freihand,
    "animalpose": animalpose,
    "synthetic_animal": synthetic_animal,
    "tigdog": tigdog,
    "ap10k": ap10k,
    "badja": badja,
    "figures": figures,
    "quadrupeds": quadrupeds,
    "packed": packed,
}


def parse(spec: str) -> tuple[str, str]:
    """``(format, path)`` of ``"FORMAT:PATH"``. Raises :class:`UsageError`, listing the known formats."""
    name, colon, path = spec.partition(":")
    if name not in FORMATS:
        found = f"unknown format {name!r}" if colon else f"{spec!r} names no format"
        raise UsageError(f"{found}; expected FORMAT:PATH with FORMAT one of {', '.join(FORMATS)}")
    return name, path


def taken_together(spec: str) -> tuple[str, ...]:
    """The parts of ``FORMAT:PATH``, such as its test images, that reading without a split takes together."""
    known = getattr(FORMATS.get(spec.partition(":")[0]), "SPLITS", ())
    return tuple(name for name in known if name != "all") if "all" in known else ()


def read(spec: str, *, split: str | None = None, **options: bool) -> Annotations:
    """The annotations that ``spec`` names.

    Args:
        spec: ``"FORMAT:PATH"``.
        split: A part of the data as the format names it; None for all; ``groups_0_80`` for the groups (subjects,
            videos) whose place is between 0 and 80 percent, see :func:`poseshift.data.splits.in_share`.
        options: Passed to the format's reader, such as ``allow_outside``.

    Raises:
        UsageError: Unknown format or split.
        DataError: Files are missing, broken or do not fit together.
    """
    return _part(spec, split, options)


def _part(spec: str, split: str | None, options: dict[str, bool]) -> Annotations:
    """What the reader gives of its own split, or the groups that the split names."""
    name, path = parse(spec)
    share = splits.share_of_groups(split)
    found = FORMATS[name].read(path, split=split if share is None else None, **options)
    return found if share is None else splits.in_share(found, share)


def read_unlabelled(spec: str, *, split: str | None = None) -> Annotations:
    """As :func:`read`, but no label is looked at: no keypoint of the files changes anything in the result.

    The names of the keypoints stay, so that a source can be matched to them; they are no labels. Formats that have no
    ``labelled`` have no labels (``images``, ``video``), or no files (the procedural ones).
    """
    reader = FORMATS[parse(spec)[0]].read
    options = {"labelled": False} if "labelled" in inspect.signature(reader).parameters else {}
    return _part(spec, split, options)


def writable(name: str) -> Writable:
    """The module of a format that can be written. Raises :class:`UsageError`, listing those that can."""
    module = FORMATS[name]
    if isinstance(module, Writable):
        return module
    known = [other for other, one in FORMATS.items() if isinstance(one, Writable)]
    raise UsageError(f"format {name!r} is only read, it cannot be written; expected one of {', '.join(known)}")


def write(annotations: Annotations, spec: str) -> None:
    """Write annotations to the file that ``spec`` (``"FORMAT:PATH"``) names.

    Raises:
        UsageError: Unknown format, or one that is only read.
        DataError: The file exists already.
    """
    name, path = parse(spec)
    writable(name).write(annotations, Path(path))
