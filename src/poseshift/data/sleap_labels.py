"""Writing SLEAP's label files through sleap-io."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from poseshift.data.drafts import draft
from poseshift.data.images import ImageFiles
from poseshift.data.sleap_frames import SleapImages
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations


def library() -> Any:
    """sleap-io. Raises :class:`UsageError` where it is not installed."""
    try:
        return import_module("sleap_io")
    except ImportError as error:
        raise UsageError("sleap: needs sleap-io, which is not installed; pip install 'poseshift[sleap]'") from error


_OVERHEAD = 1 << 18
"""Bytes of an empty label file, and more."""
Places = dict[int, tuple[int, int]]
"""``(video, frame)`` of each image in use."""


def _of_label_file(images: SleapImages, used: list[int], folder: Path) -> tuple[list[dict[str, Any]], Places]:
    """The videos that another label file refers to."""
    if embedded := [source.name for source in images.sources.values() if source.kind == "embedded"]:
        raise DataError(f"sleap: images of {embedded[0]!r} are embedded and cannot be referred to; write coco instead")
    videos: list[dict[str, Any]] = []
    for source in images.sources.values():
        names = [os.path.relpath(source.files.path(i), folder) for i in range(len(source.files))]
        videos.append({"filename": names[0], **({"filenames": names} if source.kind == "images" else {})})
    number = {video: i for i, video in enumerate(images.sources)}
    return videos, {i: (number[int(images.video[i])], int(images.frame[i])) for i in used}


def _of_files(
    images: ImageFiles, used: list[int], groups: list[str], folder: Path
) -> tuple[list[dict[str, Any]], Places]:
    """Image files of one group and one size are one video; groups of one image each group nothing: all are one."""
    alone = len(set(groups)) == len(groups)
    parts: dict[tuple[str, tuple[int, int]], list[int]] = {}
    for image, group in zip(used, groups, strict=True):
        parts.setdefault(("" if alone else group, images.size(image)), []).append(image)
    videos: list[dict[str, Any]] = []
    for part in parts.values():
        names = [os.path.relpath(images.path(image), folder) for image in part]
        videos.append({"filename": names[0], "filenames": names})
    return videos, {image: (i, j) for i, part in enumerate(parts.values()) for j, image in enumerate(part)}


def _videos(sleap_io: Any, annotations: Annotations, folder: Path) -> tuple[list[Any], Places]:
    """The videos to refer to, and where among them each image in use is."""
    images, (used, rows) = annotations.images, np.unique(annotations.image_index, return_index=True)
    if isinstance(images, SleapImages):
        found, place = _of_label_file(images, used.tolist(), folder)
    elif isinstance(images, ImageFiles):
        found, place = _of_files(images, used.tolist(), annotations.groups[rows].tolist(), folder)
    else:
        raise DataError("sleap: only images that are files or frames of videos can be referred to; save them first")
    videos = []
    for video in found:
        # What SLEAP needs to know of a list of files, and sleap-io leaves out of a video that was never opened.
        listed = "filenames" in video
        videos.append(
            sleap_io.Video(
                filename=video["filenames"] if listed else video["filename"],
                backend_metadata={**video, "type": "ImageVideo"} if listed else {},
                open_backend=False,
            )
        )
    return videos, place


def _length(video: Any) -> int:
    """Bytes of the names of a video's files."""
    names = [video.filename] if isinstance(video.filename, str) else video.filename
    return sum(len(name.encode()) + 8 for name in names)


def _require_room(folder: Path, size: int) -> None:
    """Raise OSError where the disk has no room for ``size`` bytes of content: HDF5 crashes when it finds out itself."""
    if hasattr(os, "posix_fallocate"):
        with TemporaryFile(dir=folder) as trial:
            os.posix_fallocate(trial.fileno(), 0, 2 * size + _OVERHEAD)


def _identities(annotations: Annotations) -> list[str]:
    """Categories that can be tracks: all but the name that the reader gives, or none where one is twice in an image."""
    pairs = list(zip(annotations.image_index.tolist(), annotations.categories.tolist(), strict=True))
    return sorted({name for _, name in pairs} - {"instance"}) if len(set(pairs)) == len(pairs) else []


def write(annotations: Annotations, path: Path | str) -> None:
    """Write a SLEAP label file whose instances are labelled by a person; images are referred to, not copied.

    Paths of images are relative to the file's folder, in which SLEAP's tools are to be started. Categories become
    tracks, unless one is twice in an image: a track is one animal. Occluded points become visible ones; boxes,
    instances without a labelled point and groups of the skeleton are lost: SLEAP has none. Packages with embedded
    images are not written.

    Raises:
        UsageError: sleap-io is not installed, or ``path`` names a package.
        DataError: ``path`` exists already, the images are no files, or the disk refuses.
    """
    sleap_io, target = library(), Path(path)
    if target.name.endswith(".pkg.slp"):
        raise UsageError(f"sleap: packages with embedded images are only read; name {str(target)!r} FILE.slp")
    named = annotations.skeleton
    names = named.keypoints
    skeleton = sleap_io.Skeleton(
        nodes=list(names),
        edges=[(names[a], names[b]) for a, b in named.edges],
        symmetries=[(names[a], names[b]) for a, b in named.flip_pairs],
        name=named.name,
    )
    videos, place = _videos(sleap_io, annotations, target.resolve().parent)
    tracks = {name: sleap_io.Track(name) for name in _identities(annotations)}
    frames: dict[int, list[Any]] = {}
    points = np.where(annotations.visible[..., None] > 0, annotations.keypoints.astype(np.float64), np.nan)
    labelled_rows = np.flatnonzero((annotations.visible > 0).any(axis=1)).tolist()
    for row, image in zip(labelled_rows, annotations.image_index[labelled_rows].tolist(), strict=True):
        track = tracks.get(str(annotations.categories[row]))
        frames.setdefault(image, []).append(sleap_io.Instance.from_numpy(points[row], skeleton=skeleton, track=track))
    labelled = [
        sleap_io.LabeledFrame(video=videos[place[image][0]], frame_idx=place[image][1], instances=instances)
        for image, instances in frames.items()
    ]
    labels = sleap_io.Labels(labelled, videos=videos, skeletons=[skeleton], tracks=list(tracks.values()))
    with draft(target) as temporary:
        _require_room(temporary.parent, 18 * points.size + 200 * len(annotations) + 4 * sum(map(_length, videos)))
        sleap_io.save_slp(labels, str(temporary), embed=False, verbose=False)
