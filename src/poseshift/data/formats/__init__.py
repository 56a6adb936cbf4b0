"""Readers of annotation formats: one format, one file, one line in :data:`FORMATS`.

Data is named ``FORMAT:PATH``, for example ``lsp:data/lsp`` or ``coco:labels.json@images``; what ``PATH`` may hold
stands at the head of each format's module. No format imports torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol

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
from poseshift.errors import UsageError
from poseshift.types import Annotations

__all__ = ["FORMATS", "Format", "read", "write"]


class Format(Protocol):
    """What a module of this package offers.

    A format that can also be written has ``write(annotations: Annotations, path: pathlib.Path) -> None`` beside this.
    """

    @property
    def SPLITS(self) -> tuple[str, ...]:
        """Names that ``split`` may take besides None; empty where any name may occur in the files."""

    @property
    def read(self) -> Callable[..., Annotations]:
        """``read(path: str, *, split: str | None = None) -> Annotations``.

        Readers of files also take ``allow_outside: bool = False``, see :class:`poseshift.data.images.ImageFiles`. They
        raise :class:`~poseshift.errors.DataError` where something is missing or does not fit together,
        :class:`~poseshift.errors.FormatError` where a file is not what the format says, and
        :class:`~poseshift.errors.UsageError` for an unknown split or option.
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


def _parse(spec: str) -> tuple[str, str]:
    """``(format, path)`` of ``"FORMAT:PATH"``. Raises :class:`UsageError`, listing the known formats."""
    name, colon, path = spec.partition(":")
    if name not in FORMATS:
        found = f"unknown format {name!r}" if colon else f"{spec!r} names no format"
        raise UsageError(f"{found}; expected FORMAT:PATH with FORMAT one of {', '.join(FORMATS)}")
    return name, path


def read(spec: str, *, split: str | None = None, **options: bool) -> Annotations:
    """The annotations that ``spec`` names.

    Args:
        spec: ``"FORMAT:PATH"``.
        split: A part of the data as the format names it; None for all.
        options: Passed to the format's reader, such as ``allow_outside``.

    Raises:
        UsageError: Unknown format or split.
        DataError: Files are missing, broken or do not fit together.
    """
    name, path = _parse(spec)
    return FORMATS[name].read(path, split=split, **options)


def read_unlabelled(spec: str, *, split: str | None = None) -> Annotations:
    """As :func:`read`, but no label is looked at where the format can tell instances without (``labelled=False``).

    The names of the keypoints stay, so that a source can be matched to them; they are no labels.
    """
    name, path = _parse(spec)
    reader = FORMATS[name].read
    options = {"labelled": False} if "labelled" in inspect.signature(reader).parameters else {}
    return reader(path, split=split, **options)


def write(annotations: Annotations, spec: str) -> None:
    """Write annotations to the file that ``spec`` (``"FORMAT:PATH"``) names.

    Raises:
        UsageError: Unknown format, or one that is only read.
        DataError: The file exists already.
    """
    name, path = _parse(spec)
    writer = getattr(FORMATS[name], "write", None)
    if writer is None:
        writable = [known for known, module in FORMATS.items() if hasattr(module, "write")]
        raise UsageError(f"format {name!r} cannot be written; expected one of {', '.join(writable)}")
    writer(annotations, path)
