"""SLEAP (Pereira et al., Nature Methods 2022): label files ``.slp`` and packages with their images ``.pkg.slp``.

``PATH`` is the file. After an ``@`` may follow, separated by commas, ``predicted`` for the instances that a model
predicted instead of those that a person labelled, and ``zeros`` to take points at exactly (0, 0) for missing, as some
generators of synthetic data write them: ``sleap:labels.slp@predicted``.

A file is HDF5: tables ``frames``, ``instances``, ``points`` and ``pred_points``, and JSON about skeletons, videos and
tracks, which sleap-io reads. Images are frames of a video (any frame, found by its time stamp), a list of image files,
or embedded in the package. SLEAP notes where a video lay on the machine that labelled it: it is looked for there only
if that is inside the file's own folder (or ``allow_outside`` is given), else by its base name beside the file.

**Pixels**: since format 1.1 (0, 0) is the centre of the top-left pixel, as ours; in 1.0 it was the pixel's corner, so
0.5 is subtracted. A point that is NaN or that the file calls not visible is not labelled, as in SLEAP itself; all
others are visible (SLEAP knows no occluded points). Frames of one video are one group; the category is the track's
name, or ``instance``. There are no boxes. Edges and symmetric pairs come from the file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.layouts import Layout
from poseshift.data.skeletons import known_or_new
from poseshift.data.sleap_frames import SleapImages, Source, checked, opened
from poseshift.data.sleap_labels import library, write
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations, FloatArray, IntArray, Skeleton

__all__ = ["SPLITS", "read", "write"]

SPLITS = ("all",)
LAYOUT = Layout(suffix=".slp", file="labels.slp", empty=False, ready=library)
OPTIONS = ("predicted", "zeros")
NEWEST = 3.0
_TABLES = {
    "frames": ("video", "frame_idx", "instance_id_start", "instance_id_end"),
    "instances": ("instance_type", "skeleton", "track", "point_id_start", "point_id_end"),
    "points": ("x", "y", "visible"),
    "pred_points": ("x", "y", "visible"),
}
Columns = dict[str, npt.NDArray[Any]]


def _parse(path: str) -> tuple[Path, set[str]]:
    text, options = path, ""
    if "@" in path and not Path(path).is_file():
        text, _, options = path.rpartition("@")
    words = {word.strip() for word in options.split(",") if word.strip()}
    if unknown := sorted(words - set(OPTIONS)):
        known = ", ".join(OPTIONS)
        raise UsageError(f"sleap: unknown option {unknown[0]!r} in {path!r}; expected after '@' some of {known}")
    if not Path(text).is_file():
        raise DataError(f"sleap: looked for a file {text!r} and found none; give sleap:FILE.slp")
    return Path(text), words


def _table(content: Any, name: str) -> Columns:
    """The columns of a table, integers as int64."""
    rows = checked(content, name)[()]
    missing = [column for column in _TABLES[name] if column not in (rows.dtype.names or ())]
    if rows.ndim != 1 or missing:
        raise ValueError(f"table {name!r} has shape {rows.shape} and columns {rows.dtype.names}, not {missing}")
    columns = {column: rows[column] for column in _TABLES[name]}
    if any(values.dtype.kind not in "iufb" for values in columns.values()):
        raise ValueError(f"table {name!r} has a column that holds no numbers")
    return {k: v.astype(np.int64) if v.dtype.kind in "iu" else v for k, v in columns.items()}


def _load(file: Path, allow_outside: bool) -> tuple[dict[str, Columns], list[Any], list[Any], list[str], float]:
    """Tables, skeletons, videos, names of tracks, and the version of the format."""
    library()
    slp = import_module("sleap_io.io.slp")

    with opened(file, allow_outside) as content:
        version = float(content["metadata"].attrs["format_id"])
        if version >= NEWEST:
            raise DataError(f"{str(file)!r} is SLEAP format {version:g}, known are those below {NEWEST:g}; update")
        for name in ("videos_json", "tracks_json", "suggestions_json"):
            if name in content:
                checked(content, name)
        tables = {name: _table(content, name) for name in _TABLES}
        skeletons = slp.read_skeletons(str(file), _hdf5_file=content)
        videos = [json.loads(text) for text in content["videos_json"][()]]
        tracks = [str(track.name) for track in slp.read_tracks(str(file), _hdf5_file=content)]
        if not skeletons or not all(isinstance(video.get("backend"), dict) for video in videos):
            raise ValueError("a skeleton or the backend of a video is missing")
    return tables, skeletons, videos, tracks, version


def _safely_loaded(
    file: Path, allow_outside: bool
) -> tuple[dict[str, Columns], list[Any], list[Any], list[str], float]:
    """As :func:`_load`; whatever fails inside becomes one error that names the file."""
    try:
        return _load(file, allow_outside)
    except (DataError, UsageError):
        raise
    except Exception as error:  # h5py, json and sleap-io raise almost anything on a broken file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(f"{str(file)!r} is no label file of SLEAP ({reason}); save it again in SLEAP") from error


def _ranges(file: Path, start: IntArray, stop: IntArray, length: int, what: str) -> tuple[IntArray, IntArray]:
    """``(row of the owner, row of what it owns)`` for half-open ranges that must not overlap nor leave the table."""
    counts = stop - start
    if len(counts) and not (start.min() >= 0 and counts.min() >= 0 and stop.max() <= length and counts.sum() <= length):
        raise FormatError(f"{str(file)!r}: the ranges of {what} do not fit its {length} rows; save it again in SLEAP")
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(start - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) if len(counts) else owner
    return owner, np.arange(len(owner)) + first


def _skeleton(file: Path, found: Any) -> Skeleton:
    """Names, edges and symmetric pairs of the file; an edge from a node to itself says nothing and is left out."""
    names = [str(name) for name in found.node_names]
    if not names:
        raise FormatError(f"{str(file)!r}: its skeleton has no nodes; open it in SLEAP and add them")
    edges = [(int(a), int(b)) for a, b in found.edge_inds if a != b]
    skeleton = known_or_new(str(found.name or file.name.split(".")[0]), names, edges=edges)
    pairs = tuple(sorted({(min(a, b), max(a, b)) for a, b in found.symmetry_inds if a != b}))
    if len({node for pair in pairs for node in pair}) != 2 * len(pairs):
        raise FormatError(f"{str(file)!r}: a node is symmetric to two others; correct the skeleton in SLEAP")
    return replace(skeleton, flip_pairs=pairs) if pairs else skeleton


def _points(
    file: Path, rows: Columns, table: Columns, count: int, zeros: bool
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """``N×K×2`` and which are labelled."""
    start, stop = rows["point_id_start"], rows["point_id_end"]
    length = len(table["x"])
    if bad := np.flatnonzero((stop - start != count) | (start < 0) | (stop > length)).tolist():
        raise FormatError(
            f"{str(file)!r}: instance {bad[0]} has points {start[bad[0]]} to {stop[bad[0]]} of {length}, expected "
            f"{count} for its skeleton; save the file again in SLEAP"
        )
    index = start[:, None] + np.arange(count)
    points = np.stack([table["x"][index], table["y"][index]], axis=-1).astype(np.float64)
    labelled = table["visible"][index].astype(bool) & ~np.isnan(points).any(axis=-1)
    if zeros:
        labelled &= (points != 0).any(axis=-1)
    bad = np.flatnonzero(((np.abs(points) > 1e6).any(axis=-1) & labelled).any(axis=1)).tolist()
    if bad:
        raise FormatError(f"{str(file)!r}: instance {bad[0]} has a point beyond 1e6 pixels; correct it in SLEAP")
    return np.where(labelled[..., None], points, 0).astype(np.float32), labelled


def _names(videos: list[Any]) -> list[str]:
    """A name for each video: the base name of its file, numbered where it is not the only one."""
    plain = []
    for i, video in enumerate(videos):
        backend = video["backend"]
        listed = backend.get("filenames") or backend.get("filename") or video.get("filename")
        file = listed[0] if isinstance(listed, list) and listed else listed
        embedded = str(backend.get("dataset") or f"video{i}").removesuffix("/video")
        name = PurePosixPath(str(file or "").replace("\\", "/")).name
        plain.append(embedded if backend.get("filename") == "." or not name else name)
    count = Counter(plain)
    return [name if count[name] == 1 else f"{name}#{i}" for i, name in enumerate(plain)]


def _video_rows(file: Path, ids: IntArray, videos: list[Any]) -> IntArray:
    """Positions in ``videos``; packages number them by their group (``video15/video`` is 15), with gaps."""
    if set(ids.tolist()) == set(range(len(videos))):
        return ids
    position = {i: i for i in range(len(videos))}
    for i, video in enumerate(videos):
        if match := re.match(r"video(\d{1,9})(/|$)", str(video["backend"].get("dataset") or "")):
            position[int(match[1])] = i
    if unknown := sorted(set(ids.tolist()) - set(position)):
        raise FormatError(f"{str(file)!r}: a frame is of video {unknown[0]}, known are {sorted(position)[:20]}")
    return np.array([position[i] for i in ids.tolist()], np.int64)


def _images(
    file: Path, videos: list[Any], video: IntArray, frame: IntArray, allow_outside: bool, version: float
) -> tuple[SleapImages, IntArray]:
    """The distinct frames as images, and the image of each of the ``video``/``frame`` pairs."""
    pairs, index = np.unique(np.stack([video, frame], axis=1), axis=0, return_inverse=True)
    names = _names(videos)
    used = np.unique(pairs[:, 0]).tolist()
    sources = {i: Source.locate(file, videos[i]["backend"] | {"name": names[i]}, allow_outside, version) for i in used}
    position = np.empty(len(pairs), np.int64)
    for i in used:
        rows = pairs[:, 0] == i
        position[rows] = sources[i].positions(pairs[rows, 1])
    images = SleapImages(sources=sources, video=pairs[:, 0], frame=pairs[:, 1], position=position)
    return images, index.reshape(-1)


def _note(points: FloatArray, labelled: npt.NDArray[Any], bare: int, zeros: bool) -> str:
    note = f"Left out: {bare} instances without a labelled point. " if bare else ""
    count = int(((points == 0).all(axis=-1) & labelled).sum())
    if count > 1 and not zeros:
        note += f"{count} points lie at exactly (0, 0): where that means missing, add 'zeros' after '@'."
    return note.strip()


def _title(file: Path) -> str:
    return file.name.removesuffix(".slp").removesuffix(".pkg")


def _shared_skeleton(file: Path, skeletons: list[Any], ids: IntArray) -> Skeleton:
    """The one skeleton that all instances have (``N`` numbers)."""
    kinds = np.unique(ids).tolist()
    if len(kinds) != 1 or not 0 <= kinds[0] < len(skeletons):
        raise FormatError(
            f"{str(file)!r}: instances have skeletons {kinds} of {len(skeletons)}, expected one and the same"
        )
    return _skeleton(file, skeletons[kinds[0]])


def _unlabelled(
    file: Path, frames: Columns, skeleton: Skeleton, videos: list[Any], allow_outside: bool, version: float
) -> Annotations:
    """One instance for each frame that the file lists."""
    count = len(frames["video"])
    if not count:
        raise DataError(f"{str(file)!r} lists no frame; label or add some in SLEAP, or use video:FILE instead")
    video = _video_rows(file, frames["video"], videos)
    images, index = _images(file, videos, video, frames["frame_idx"], allow_outside, version)
    return Annotations(
        name=_title(file),
        images=images,
        image_index=index,
        skeleton=skeleton,
        keypoints=np.zeros((count, len(skeleton), 2), np.float32),
        visible=np.zeros((count, len(skeleton)), np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.array(_names(videos))[video],
        categories=np.full(count, "instance"),
        note="Each frame that the file lists is one instance, whatever its labels. No boxes: use boxes whole.",
    )


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read a SLEAP label file.

    Args:
        path: ``FILE.slp`` or ``FILE.slp@OPTIONS``, see above.
        split: ``all`` or None; a file has no parts.
        allow_outside: Look for videos where the file says they lie, even outside its folder; follow HDF5 links there.
        labelled: Without it each frame that the file lists is one instance: points alone would tell animals apart.

    Raises:
        UsageError: An option or the split is unknown, or sleap-io is not installed.
        DataError: The file or a video is missing, or no instance is left.
        FormatError: The file is no label file of SLEAP, or its tables do not fit together.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"sleap has no split {split!r}; expected one of {', '.join(SPLITS)}")
    file, options = _parse(path)
    tables, skeletons, videos, tracks, version = _safely_loaded(file, allow_outside)
    frames, instances = tables["frames"], tables["instances"]
    if not labelled:
        only = np.zeros(1, np.int64) if len(skeletons) == 1 else instances["skeleton"]
        skeleton = _shared_skeleton(file, skeletons, only)
        return _unlabelled(file, frames, skeleton, videos, allow_outside, version)
    starts = frames["instance_id_start"], frames["instance_id_end"]
    frame, rows = _ranges(file, *starts, len(instances["skeleton"]), "frames in 'instances'")
    wanted: npt.NDArray[np.bool_] = instances["instance_type"][rows] == int("predicted" in options)
    if not wanted.any():
        hint = "labelled by a person; sleap:FILE.slp@predicted reads the predicted ones"
        raise DataError(f"{str(file)!r} has no instance {'predicted' if 'predicted' in options else hint}")
    frame, chosen = frame[wanted], {column: values[rows[wanted]] for column, values in instances.items()}
    skeleton = _shared_skeleton(file, skeletons, chosen["skeleton"])
    table = tables["pred_points" if "predicted" in options else "points"]
    points, known = _points(file, chosen, table, len(skeleton), "zeros" in options)
    kept = np.asarray(known.any(axis=1))
    if not kept.any():
        raise DataError(f"{str(file)!r}: none of its {len(kept)} instances has a labelled point; label some in SLEAP")
    shift = np.float32(0.5 if version < 1.1 else 0)
    video = _video_rows(file, frames["video"], videos)[frame[kept]]
    images, index = _images(file, videos, video, frames["frame_idx"][frame[kept]], allow_outside, version)
    track: IntArray = chosen["track"][kept]
    names = np.array([*tracks, "instance"])
    if (last := track.max(initial=-1)) >= len(tracks):
        raise FormatError(f"{str(file)!r}: an instance has track {last} of {len(tracks)}; save it again in SLEAP")
    return Annotations(
        name=_title(file),
        images=images,
        image_index=index,
        skeleton=skeleton,
        keypoints=np.where(known[kept][..., None], points[kept] - shift, 0).astype(np.float32),
        visible=np.where(known[kept], VISIBLE, NOT_LABELLED).astype(np.uint8),
        boxes=np.full((len(track), 4), np.nan, np.float32),
        groups=np.array(_names(videos))[video],
        categories=names[np.where(track < 0, len(tracks), track)],
        note=_note(points, known, int((~kept).sum()), "zeros" in options),
    )
