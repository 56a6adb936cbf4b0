"""Writing SLEAP's label files through sleap-io."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
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


def _videos(sleap_io: Any, annotations: Annotations, folder: Path) -> tuple[list[Any], dict[int, tuple[int, int]]]:
    """The videos to refer to, and ``(video, frame)`` of each image in use.

    Image files of one group and one size are one video; groups of one image each group nothing, and are put together.
    """
    images, used = annotations.images, np.unique(annotations.image_index, return_index=True)
    place: dict[int, tuple[int, int]] = {}
    if isinstance(images, SleapImages):
        if embedded := [source.name for source in images.sources.values() if source.kind == "embedded"]:
            raise DataError(
                f"sleap: images of {embedded[0]!r} are embedded and cannot be referred to; write coco instead"
            )
        number = {video: i for i, video in enumerate(images.sources)}
        place = {int(i): (number[int(images.video[i])], int(images.frame[i])) for i in used[0]}
        files: list[Any] = [
            names if source.kind == "images" else names[0]
            for source in images.sources.values()
            for names in [[os.path.relpath(source.files.path(i), folder) for i in range(len(source.files))]]
        ]
    elif isinstance(images, ImageFiles):
        groups = annotations.groups[used[1]].tolist()
        alone = len(set(groups)) == len(groups)
        parts: dict[tuple[str, tuple[int, int]], list[int]] = {}
        for image, group in zip(used[0].tolist(), groups, strict=True):
            parts.setdefault(("" if alone else group, images.size(image)), []).append(image)
        place = {image: (i, j) for i, part in enumerate(parts.values()) for j, image in enumerate(part)}
        files = [[os.path.relpath(images.path(image), folder) for image in part] for part in parts.values()]
    else:
        raise DataError("sleap: only images that are files or frames of videos can be referred to; save them first")
    # What SLEAP needs to know of a list of files, and sleap-io leaves out of a video that was never opened.
    kinds = [{"filename": f[0], "filenames": f, "type": "ImageVideo"} if isinstance(f, list) else {} for f in files]
    found = zip(files, kinds, strict=True)
    return [sleap_io.Video(filename=f, backend_metadata=kind, open_backend=False) for f, kind in found], place


def _identities(annotations: Annotations) -> list[str]:
    """Categories that can be tracks: all but the name that the reader gives, or none where one is twice in an image."""
    pairs = list(zip(annotations.image_index.tolist(), annotations.categories.tolist(), strict=True))
    return sorted({name for _, name in pairs} - {"instance"}) if len(set(pairs)) == len(pairs) else []


def write(annotations: Annotations, path: Path | str) -> None:
    """Write a SLEAP label file whose instances are labelled by a person; images are referred to, not copied.

    Categories become tracks, unless one is twice in an image: a track is one animal. Occluded points become visible
    ones; boxes, instances without a labelled point and groups of the skeleton are lost: SLEAP has none. Packages with
    embedded images are not written.

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
        sleap_io.save_slp(labels, str(temporary), embed=False, verbose=False)
