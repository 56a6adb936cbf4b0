"""Video files without labels: one file, a folder of them (searched recursively), or a glob pattern.

``PATH`` is ``clip.mp4``, ``videos`` or ``videos/*/cam?.avi``. After an ``@`` may follow, separated by commas, which
frames are taken of each video:

* ``every=SECONDS``: the frame on screen every so many seconds, by the file's own times; the default, with 1 second;
* ``count=N``: N frames that differ most: frames spread over the whole time (``every`` sets their distance) are grouped
  into N by k-means on grey thumbnails, and the most typical frame of each group is taken. No draw is involved;
* ``all``: every frame.

``video:videos@count=40``, ``video:clip.mp4@every=0.5``. Files and folders whose name starts with a dot are passed over,
links to folders are followed once, and a file that several links lead to is read once. Videos stand in natural order
(``cam2`` before ``cam10``), frames in the order of time. One instance per frame, no keypoints, no boxes; a video is a
group, so a split by group never separates its frames. Needs PyAV: ``pip install 'poseshift[video]'``.
"""

from __future__ import annotations

import glob
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from poseshift.data.video_index import SUFFIXES, VideoIndex
from poseshift.data.videos import VideoFrames
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, IntArray, Skeleton

SPLITS = ("all",)
_OPTIONS = "every=SECONDS, count=N, all"
_THUMBNAIL = (32, 24)
_ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Which frames of each video: every so many seconds, so many, or (neither) all."""

    every: float | None = 1.0
    count: int | None = None


def _choice(options: str, path: str) -> _Choice:
    """What is written after the ``@``. Raises :class:`UsageError`."""
    words = [word.strip() for word in options.split(",") if word.strip()]
    found: dict[str, float] = {}
    for word in words:
        match = re.fullmatch(r"(every)\s*=\s*(\d*\.?\d+)|(count)\s*=\s*(\d+)|(all)", word)
        if match is None:
            raise UsageError(f"video: unknown option {word!r} in {path!r}; expected after '@' some of {_OPTIONS}")
        name, value = [group for group in match.groups() if group] + ["1"] * (match[5] is not None)
        found[name] = float(value)
    if bad := [name for name, value in found.items() if not (value > 0 and math.isfinite(value))]:
        raise UsageError(f"video: {bad[0]!r} must be above 0 in {path!r}; expected after '@' some of {_OPTIONS}")
    if "all" in found and len(found) > 1:
        raise UsageError(f"video: 'all' leaves nothing to choose by {', '.join(found)} in {path!r}; give one of them")
    count = int(found["count"]) if "count" in found else None
    if "all" in found:
        return _Choice(every=None)
    return _Choice(every=found.get("every", None if count else 1.0), count=count)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key in which digits count as numbers."""
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.findall(r"[0-9]+|[^0-9]+", name)]


def _is_video(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _in_folder(root: Path) -> list[str]:
    """Relative paths of all videos below ``root``; a folder that links lead to again is not entered again."""
    found, seen = [], {os.path.realpath(root)}
    for folder, below, names in os.walk(root, followlinks=True):
        entered = []
        for name in sorted(below):
            real = os.path.realpath(os.path.join(folder, name))
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                entered.append(name)
        below[:] = entered
        prefix = Path(os.path.relpath(folder, root)).as_posix()
        found += [name if prefix == "." else f"{prefix}/{name}" for name in names if _is_video(name)]
    return found


def _matching(pattern: str) -> tuple[Path, list[str]]:
    """The longest folder without a wildcard, and the relative paths below it that match."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    root = Path(*parts[:fixed])
    names = glob.glob(str(Path(*parts[fixed:])), root_dir=root, recursive=True)
    return root, [Path(name).as_posix() for name in names if _is_video(os.path.basename(name))]


def _find(text: str) -> tuple[Path, tuple[str, ...]]:
    """The folder, and the paths of the videos in it in natural order, each file once."""
    root = Path(text)
    if root.is_file():
        return root.parent, (root.name,)
    if root.is_dir():
        names = _in_folder(root)
    elif re.search(r"[*?[]", text):
        root, names = _matching(text)
    else:
        raise DataError(
            f"video: looked for a file or folder {text!r} and found none; give video:FILE, video:FOLDER or "
            "video:'PATTERN'"
        )
    if not names:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"video: {text!r} holds no video; expected files that end in {kinds}: check the path")
    files: dict[str, str] = {}
    for name in sorted(names, key=_natural):
        files.setdefault(os.path.realpath(root / name), name)
    return root, tuple(files.values())


def _at(index: VideoIndex, every: float) -> IntArray:
    """The frames on screen at 0, ``every``, 2 ``every``, … seconds, each once."""
    if float(index.seconds[-1]) / every > 4 * len(index):
        return np.arange(len(index))
    moments = np.arange(0.0, float(index.seconds[-1]) + 1e-6, every)
    return np.unique(np.searchsorted(index.seconds, moments + 1e-6, side="right") - 1).astype(np.int64)


def _candidates(index: VideoIndex, choice: _Choice) -> IntArray:
    """Frames spread over the time; a keyframe stands for its interval, since it alone decodes at once."""
    wanted = max(8 * (choice.count or 1), 64)
    every = choice.every or max(float(index.seconds[-1]) / wanted, 1e-3)
    frames = _at(index, every)
    if len(index.keys) == 0:
        return frames
    after = np.minimum(np.searchsorted(index.keys, frames), len(index.keys) - 1)
    keys = index.keys[after]
    ends = np.append(frames[1:], len(index))
    return np.where((keys >= frames) & (keys < ends), keys, frames)


def _thumbnails(images: VideoFrames, rows: IntArray) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Grey thumbnails ``n×pixels`` of the frames that decode, and which they are."""
    small, kept, reason = [], [], None
    for row in rows.tolist():
        try:
            picture = Image.fromarray(images.read(row)).convert("L")
        except DataError as error:
            reason = error
            continue
        small.append(np.asarray(picture.resize(_THUMBNAIL, Image.Resampling.BOX), np.float32).ravel())
        kept.append(row)
    if reason is not None and not kept:
        raise reason
    return np.array(small), kept


def _distances(points: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * points @ centres.T
    return np.asarray(np.maximum(squares, 0), np.float32)


def diverse(points: npt.NDArray[np.float32], count: int) -> list[int]:
    """``count`` rows of ``points`` (``n×d``) that cover them: the one nearest to each centre of k-means.

    Centres start at the row nearest to the mean, then at the row farthest from those before: nothing is drawn.
    """
    if count >= len(points):
        return list(range(len(points)))
    first = int(_distances(points, points.mean(axis=0, keepdims=True)).argmin())
    chosen, nearest = [first], _distances(points, points[[first]])[:, 0]
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(points, points[chosen[-1:]])[:, 0])
    centres = points[chosen]
    for _ in range(_ROUNDS):
        member = _distances(points, centres).argmin(axis=1)
        new = np.stack([points[member == k].mean(axis=0) if (member == k).any() else centres[k] for k in range(count)])
        if np.array_equal(new, centres):
            break
        centres = new
    apart = _distances(points, centres)
    taken: list[int] = []
    for k in range(count):
        order = np.argsort(apart[:, k], kind="stable").tolist()
        taken.append(next(row for row in order if row not in taken))
    return sorted(taken)


def _frames(everything: VideoFrames, file: int, choice: _Choice) -> IntArray:
    """The frames of one video that are wanted; ``everything`` holds all videos with no frames chosen."""
    index = everything.index_of(file)
    if choice.count is None:
        return np.arange(len(index)) if choice.every is None else _at(index, choice.every)
    candidates = _candidates(index, choice)
    if len(candidates) <= choice.count:
        return candidates if choice.every or len(index) > choice.count else np.arange(len(index))
    one = VideoFrames(
        root=everything.root,
        paths=(everything.paths[file],),
        frames=(candidates,),
        allow_outside=everything.allow_outside,
    )
    points, kept = _thumbnails(one, np.arange(len(candidates)))
    return candidates[np.array(kept, np.int64)[diverse(points, choice.count)]]


def read(path: str, *, split: str | None = None, allow_outside: bool = False) -> Annotations:
    """List frames of videos.

    Args:
        path: ``FILE``, ``FOLDER`` or ``PATTERN``, with ``@OPTIONS`` or without, see above.
        split: ``all`` or None; unlabelled videos have no parts.
        allow_outside: See :class:`~poseshift.data.videos.VideoFrames`.

    Raises:
        UsageError: Unknown split or option, or PyAV is not installed.
        DataError: Nothing is there, or a file is no video.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"video has no split {split!r}; expected one of {', '.join(SPLITS)}")
    text, options = path, ""
    if "@" in path and not Path(path).exists():
        text, _, options = path.rpartition("@")
    choice = _choice(options, path)
    root, names = _find(text)
    empty = (np.zeros(0, np.int64),) * len(names)
    everything = VideoFrames(root=root, paths=names, frames=empty, allow_outside=allow_outside)
    frames = tuple(_frames(everything, file, choice) for file in range(len(names)))
    count = sum(map(len, frames))
    how = f"every {choice.every:g} s" if choice.every else "all frames"
    how = f"{choice.count} diverse ones of each" if choice.count else how
    return Annotations(
        name=(Path(names[0]).stem if Path(text).is_file() else root.name) or "video",
        images=VideoFrames(root=root, paths=names, frames=frames, allow_outside=allow_outside),
        image_index=np.arange(count),
        skeleton=Skeleton(name="none", keypoints=()),
        keypoints=np.zeros((count, 0, 2), np.float32),
        visible=np.zeros((count, 0), np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.repeat(np.array(names), [len(numbers) for numbers in frames]),
        categories=np.full(count, ""),
        note=f"Unlabelled frames of {len(names)} videos ({how}), no boxes: crop the whole image.",
    )
