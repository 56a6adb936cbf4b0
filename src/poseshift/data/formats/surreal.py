"""SURREAL (Varol et al., CVPR 2017): rendered people in motion, in the original layout or as RegDA processed it.

``PATH`` is the folder that holds

* **original**: ``cmu/{train,val,test}/run{0,1,2}/SEQUENCE/SEQUENCE_c0001.mp4`` and ``…_info.mat`` beside it
  (``joints2D``, 2×24×T, or 2×24 where a clip is one frame); ``PATH`` may be ``cmu`` itself or the folder above it;
* **processed**: ``{train,test,val}/run{0,1,2}.json``, lists of ``name``, ``keypoint2d`` (24×2) and more, with the
  pictures in ``{split}/run{0,1,2}/NAME``, cut to a square of 1.5 times the body.

After an ``@`` may follow, separated by commas, ``shoulder=collar`` (the default: published results take SMPL's collar
joints, 11 px of a 256-px crop away from the shoulder) or ``shoulder=shoulder``, and ``frames=every N`` (original
layout: every Nth frame of each clip). Without a split it is ``train``: ``val`` is a part of ``test``.

Joints are SMPL's 24, of which 16 are kept in MPII's order, SMPL's left in the right slots and its right in the left
ones: the field's order, since the names are mirrored in the rendered pictures. The original coordinates are rounded
projections ``600 x / z + 160``, that is counted from the corner of the image, so 0.5 is subtracted; the published code
does not, which ``reference_shift`` says. Joints outside the image, or NaN, have visibility 0; frames without a joint
left, among them those whose joints all fall on one point, are left out. Processed coordinates are taken as they are,
all visible; after a shuffle (seed 42) of all three runs, ``test`` is the first 20 %, at most 3,200, ``train`` all but
as many, and ``val`` the whole. Neither layout has boxes: they are squares of 1.5 times the extent of the 24 joints.
Instances of one sequence are one group over all runs, whose clips overlap.
"""

from __future__ import annotations

import json
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.published import NO_BOXES
from poseshift.data.skeletons.people import HUMAN16
from poseshift.data.videos import VideoFrames
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations, FloatArray, Images

SPLITS = ("train", "val", "test")
JOINTS = {
    "collar": (7, 4, 1, 2, 5, 8, 0, 9, 12, 15, 20, 18, 13, 14, 19, 21),
    "shoulder": (7, 4, 1, 2, 5, 8, 0, 9, 12, 15, 20, 18, 16, 17, 19, 21),
}
"""For each of the 16 joints the one of SMPL's 24, by what a shoulder is taken to be."""
RUNS = (0, 1, 2)
HELD_OUT_SHARE, HELD_OUT = 0.2, 3200
ENLARGED = 1.5
_FARTHEST = 1e6
_EXPECTED = "shoulder=collar, shoulder=shoulder, frames=every N"

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Options:
    shoulder: str = "collar"
    every: int = 1


def _parse(path: str) -> tuple[Path, _Options]:
    """The folder and what is written after the ``@``. Raises :class:`UsageError` for an unknown word."""
    text, options = path, ""
    if "@" in path and not Path(path).is_dir():
        text, _, options = path.rpartition("@")
    shoulder, every = "collar", 1
    for word in (word.strip() for word in options.split(",")):
        if match := re.fullmatch(r"shoulder\s*=\s*(collar|shoulder)", word):
            shoulder = match[1]
        elif match := re.fullmatch(r"frames\s*=\s*every\s*0*([1-9]\d{0,8})", word):
            every = int(match[1])
        elif word:
            raise UsageError(f"surreal: unknown option {word!r} in {path!r}; expected after '@' some of {_EXPECTED}")
    return Path(text), _Options(shoulder=shoulder, every=every)


def _squares(joints: Numbers, factor: float) -> FloatArray:
    """Squares of ``factor`` times the extent of the joints ``N×24×2``; NaN rows where none is finite."""
    finite = np.asarray(np.isfinite(joints).all(axis=2, keepdims=True), np.bool_)
    low = np.where(finite, joints, np.inf).min(axis=1)
    high = np.where(finite, joints, -np.inf).max(axis=1)
    some = np.asarray(finite.any(axis=1), np.bool_)
    low, high = (np.where(some, edge, np.nan) for edge in (low, high))
    half = np.maximum((high - low).max(axis=1, keepdims=True), 1.0) * (factor / 2)
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _inside(points: Numbers, size: Numbers) -> npt.NDArray[np.bool_]:
    """Which of the points ``N×K×2`` lie in an image of ``size`` (width, height); NaN does not."""
    return np.asarray(((points >= -0.5) & (points < size - 0.5)).all(axis=2), np.bool_)


def _sequence(name: str) -> str:
    """``"ung_104_24/ung_104_24_c0004.mp4"`` is of sequence ``"104_24"``; a name of another kind is its own."""
    found = re.search(r"(\d+_\d+)_c\d{4}", name)
    return found[1] if found else name


def _annotations(images: Images, rows: Numbers, visible: npt.NDArray[np.bool_], **columns: Any) -> Annotations:
    """Annotations with one image for each of the ``N×16×2`` rows."""
    count = len(rows)
    return Annotations(
        name="surreal",
        images=images,
        image_index=np.arange(count),
        skeleton=HUMAN16,
        keypoints=np.where(visible[..., None], rows, 0).astype(np.float32),
        visible=np.where(visible, VISIBLE, NOT_LABELLED).astype(np.uint8),
        categories=np.full(count, "person"),
        **columns,
    )


def _load(path: Path, labelled: bool) -> tuple[list[str], Numbers]:
    """Names and joints ``N×24×2`` of one processed json file; without labels, zeros."""
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, list):
            raise TypeError(f"found {type(content).__name__}")
        names = [row["name"] for row in content]
        lists = [row["keypoint2d"] for row in content] if labelled else np.zeros((len(names), 24, 2))
        joints = np.array(lists, np.float64).reshape(len(names), -1 if names else 24, 2)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise FormatError(
            f"{str(path)!r} is no list of objects with 'name' and 'keypoint2d' ({error!r}); fetch the file again"
        ) from error
    if bad := [i for i, name in enumerate(names) if not isinstance(name, str) or not name or "\0" in name]:
        raise FormatError(f"{str(path)!r}: entry {bad[0]} has no name but {names[bad[0]]!r}; fetch the file again")
    if names and joints.shape[1] != 24:
        raise FormatError(f"{str(path)!r}: {joints.shape[1]} joints in 'keypoint2d', expected 24; fetch the file again")
    wrong = ~(np.abs(joints) < _FARTHEST).all(axis=(1, 2))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise FormatError(
            f"{str(path)!r}: {names[first]!r} has a joint at no finite place near the image; fetch the file again"
        )
    return names, joints


def _read_processed(root: Path, split: str, options: _Options, *, allow_outside: bool, labelled: bool) -> Annotations:
    paths: list[str] = []
    parts: list[Numbers] = []
    for run in RUNS:
        file = root / split / f"run{run}.json"
        if not file.is_file():
            raise DataError(f"surreal: looked for {str(file)!r} and found none; the published split needs all three")
        names, joints = _load(file, labelled)
        paths += [f"{split}/run{run}/{name}" for name in names]
        parts.append(joints)
    order = list(range(len(paths)))
    random.Random(42).shuffle(order)
    held_out = min(int(len(order) * HELD_OUT_SHARE), HELD_OUT)
    rows = {"train": order[held_out:], "test": order[:held_out]}.get(split, order)
    if not rows:
        raise DataError(f"surreal: split {split!r} of {str(root)!r} is empty: its files name {len(order)} pictures")
    chosen = tuple(paths[row] for row in rows)
    images = ImageFiles(root=root, paths=chosen, allow_outside=allow_outside)
    if missing := missing_files(root, chosen):
        raise DataError(
            f"surreal: {len(missing)} of {len(rows)} images are not in {str(root)!r}, the first is "
            f"{chosen[missing[0]]!r}; unpack all"
        )
    joints = np.concatenate(parts)[rows]
    kept = joints[:, list(JOINTS[options.shoulder])]
    return _annotations(
        images,
        kept,
        np.ones(kept.shape[:2], bool),
        boxes=_squares(joints if labelled else np.full_like(joints, np.nan), ENLARGED),
        groups=np.array([_sequence(path) for path in chosen]),
        note=f"Shoulders are SMPL's {options.shoulder} joints. "
        f"{'Boxes are squares of 1.5 times the extent of the 24.' if labelled else NO_BOXES}",
    )


def _clip(path: Path) -> Numbers:
    """``T×24×2`` from a clip's ``_info.mat``."""
    from scipy.io import loadmat  # takes a quarter of a second, which only this format needs

    try:
        joints = np.asarray(loadmat(path, variable_names=["joints2D"])["joints2D"], np.float64)
    except Exception as error:  # scipy raises almost anything on a broken file
        reason = " ".join(str(error).split())
        raise FormatError(
            f"{str(path)!r} is no MATLAB file with an array 'joints2D' ({reason}); fetch it again"
        ) from error
    if joints.shape == (2, 24):  # MATLAB drops a last axis of length 1
        joints = joints[..., None]
    if joints.ndim != 3 or joints.shape[:2] != (2, 24):
        raise FormatError(f"{str(path)!r}: 'joints2D' has shape {joints.shape}, expected (2, 24, T); fetch it again")
    return np.where(np.abs(joints) < _FARTHEST, joints, np.nan).transpose(2, 1, 0)


def _clips(base: Path, split: str) -> list[str]:
    """Paths of the clips of a split relative to ``base``, without their endings."""
    ends: dict[str, set[str]] = {".mp4": set(), "_info.mat": set()}
    for run in RUNS:
        for folder, below, names in os.walk(base / split / f"run{run}"):
            below.sort()
            prefix = Path(os.path.relpath(folder, base)).as_posix()
            for end, found in ends.items():
                found.update(f"{prefix}/{name.removesuffix(end)}" for name in names if name.endswith(end))
    for end, other in (("_info.mat", ".mp4"), (".mp4", "_info.mat")):
        if alone := sorted(ends[end] - ends[other]):
            raise DataError(
                f"surreal: {len(alone)} clips of {str(base / split)!r} have no {other}, the first is {alone[0]!r}; "
                f"fetch these files, or take their {end} away"
            )
    if not ends[".mp4"]:
        raise DataError(f"surreal: looked for clips in {str(base / split)!r} and found none; give the folder of cmu")
    return sorted(ends[".mp4"])


def _read_original(base: Path, split: str, options: _Options, *, allow_outside: bool, labelled: bool) -> Annotations:
    clips = _clips(base, split)
    paths = tuple(f"{clip}.mp4" for clip in clips)
    first = VideoFrames(
        root=base, paths=paths[:1], frames=(np.zeros(1, np.int64),), allow_outside=allow_outside
    )  # all clips have its size
    size = np.array(first.size(0), np.float64)
    joints, frames, dropped = [], [], 0
    for clip in clips:
        every = _clip(base / f"{clip}_info.mat")[:: options.every] - 0.5
        every = every if labelled else np.full_like(every, np.nan)
        seen = _inside(every, size)
        some = seen[:, list(JOINTS[options.shoulder])].any(axis=1) & ~(every == every[:, :1]).all(axis=(1, 2))
        some |= not labelled
        dropped += int((~some).sum())
        joints.append(every[some].astype(np.float32))
        frames.append(np.flatnonzero(some) * options.every)
    counts = [len(numbers) for numbers in frames]
    if not sum(counts):
        raise DataError(f"surreal: no frame of {str(base / split)!r} has a joint inside its image; fetch the set again")
    everywhere = np.concatenate(joints).astype(np.float64)
    kept = everywhere[:, list(JOINTS[options.shoulder])]
    left_out = f" {dropped} frames without a joint in the image are left out." if dropped else ""
    return _annotations(
        VideoFrames(root=base, paths=paths, frames=tuple(frames), allow_outside=allow_outside),
        kept,
        _inside(kept, size),
        # A joint may lie outside, but what is one image away from it says nothing about the body.
        boxes=_squares(np.where(np.isfinite(everywhere), np.clip(everywhere, -size, 2 * size), np.nan), ENLARGED),
        groups=np.repeat(np.array([_sequence(path) for path in paths]), counts),
        note=f"Shoulders are SMPL's {options.shoulder} joints. "
        f"{'Boxes are squares of 1.5 times the extent of the projected joints.' if labelled else NO_BOXES}{left_out}",
        reference_shift=0.5,
    )


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read SURREAL.

    Args:
        path: ``FOLDER`` or ``FOLDER@OPTIONS``, see above.
        split: ``train`` (also None), ``val`` or ``test``.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it pictures and frames are counted, none is left out, and none has a box.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown.
        DataError: Files are missing, or the split is empty.
        FormatError: A file is not in its layout.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"surreal has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root, options = _parse(path)
    part = split or "train"
    if any((root / name / f"run{run}.json").is_file() for name in SPLITS for run in RUNS):
        if options.every != 1:
            raise UsageError(
                f"surreal: {path!r} is the processed layout, whose pictures are no clips; leave 'frames' out"
            )
        found = _read_processed(root, part, options, allow_outside=allow_outside, labelled=labelled)
        return found if labelled else found.blank()
    for base in (root / "cmu", root / "data" / "cmu", root):
        if any((base / name).is_dir() for name in SPLITS):
            return _read_original(base, part, options, allow_outside=allow_outside, labelled=labelled)
    raise DataError(
        f"surreal: looked for 'cmu/{part}' or '{part}/run0.json' in {str(root)!r} and found neither; give the folder"
    )
