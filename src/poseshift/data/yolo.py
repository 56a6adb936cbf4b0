"""The YAML file of a YOLO data set: its classes and keypoints, and which images it means."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poseshift.data.images import SUFFIXES, ImageFiles, leaves_root, missing_files
from poseshift.data.skeletons import known_or_new
from poseshift.data.texts import check_image_paths, image_path, read_text
from poseshift.errors import DataError, FormatError
from poseshift.types import Skeleton

PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the YAML file says about labels."""

    file: Path
    classes: dict[int, str]
    skeleton: Skeleton
    dimensions: int


def _classes(file: Path, config: dict[str, Any]) -> dict[int, str]:
    """Names of the classes by their number."""
    names = config.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(isinstance(key, int) for key in names):
        raise FormatError(f"{str(file)!r}: 'names' must list the classes; found {str(names)[:80]!r}, expected a list")
    return {key: str(name) for key, name in names.items()}


def header_of(file: Path, config: dict[str, Any]) -> Header:
    """The header, every value of it checked."""
    shape, classes = config.get("kpt_shape"), _classes(file, config)
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(size) is int for size in shape)
    if not isinstance(shape, list) or not whole or not 1 <= shape[0] <= 10_000 or shape[1] not in (2, 3):
        raise FormatError(
            f"{str(file)!r}: 'kpt_shape' is {str(shape)[:80]}, expected [K, 2] or [K, 3]; without keypoints these are "
            "boxes for detection, which have no pose"
        )
    count, names = shape[0], config.get("kpt_names")
    if isinstance(names, dict):
        lists = list(names.values())
        if any(other != lists[0] for other in lists):
            raise FormatError(f"{str(file)!r}: 'kpt_names' differ between classes; filter to classes that share them")
        names = lists[0] if lists else None
    names = [str(number) for number in range(count)] if names is None else names
    if not isinstance(names, list) or len(names) != count or len({str(name) for name in names}) != count:
        raise FormatError(f"{str(file)!r}: 'kpt_names' must be {count} different names; found {str(names)[:80]}")
    title = next(iter(classes.values())) if len(classes) == 1 else file.absolute().parent.name
    skeleton = known_or_new(title, [str(name) for name in names])
    flip = config.get("flip_idx")
    if flip is None:
        return Header(file=file, classes=classes, skeleton=skeleton, dimensions=shape[1])
    if not isinstance(flip, list) or sorted(map(str, flip)) != sorted(map(str, range(count))):
        raise FormatError(f"{str(file)!r}: 'flip_idx' must hold each of 0..{count - 1} once; found {str(flip)[:80]}")
    if lone := [i for i, other in enumerate(flip) if flip[int(other)] != i]:
        raise FormatError(f"{str(file)!r}: 'flip_idx' sends {lone[0]} to {flip[lone[0]]}, but not back; correct it")
    pairs = tuple((i, int(other)) for i, other in enumerate(flip) if i < int(other))
    if sorted(skeleton.flip_pairs) != list(pairs):
        skeleton = replace(skeleton, flip_pairs=pairs)
    return Header(file=file, classes=classes, skeleton=skeleton, dimensions=shape[1])


def _inside(base: Path, text: str, *, allow_outside: bool) -> tuple[Path | None, str]:
    """The place that ``text`` names below ``base``, or None; a sentence where it is not where it says."""
    if (not leaves_root(text) or allow_outside) and (base / text).exists():
        return base / text, ""
    parts = [part for part in text.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    for first in range(len(parts)):
        place = base.joinpath(*parts[first:])
        if place.exists():
            return place, f"{text!r} is not there: {'/'.join(parts[first:])!r} beside the file is read."
    return None, ""


def _text(file: Path, key: str, value: object) -> str:
    """A path from the YAML file, with forward slashes and none at its end."""
    if not isinstance(value, str) or not value.strip():
        raise FormatError(f"{str(file)!r}: {key!r} is {str(value)[:80]!r}, expected a path; correct it")
    text = image_path(value.strip()).rstrip("/") or "/"
    check_image_paths(file, [text] if text != "/" else [])
    return text


def _root(file: Path, config: dict[str, Any], *, allow_outside: bool) -> tuple[Path, str]:
    """The folder that all paths are relative to, and a sentence where it is not the one that is named."""
    folder = file.absolute().parent
    if config.get("path") in (None, ""):
        return folder, ""
    text = _text(file, "path", config["path"])
    place, note = _inside(folder, text, allow_outside=allow_outside)
    if place is not None and place.is_dir():
        return place, note
    return folder, f"Its path {text!r} is not on this machine: the folder of {file.name!r} is read."


def _listed(file: Path, root: Path, *, allow_outside: bool) -> list[str]:
    """Paths of images that a text file lists: relative to the root or, with ``./``, to the file."""
    near = Path(os.path.relpath(file.parent, root)).as_posix()
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    paths = [image_path(f"{near}/{line[2:]}" if line[:2] in ("./", ".\\") else line) for line in lines]
    check_image_paths(file, paths)
    if paths and leaves_root(paths[0]) and not allow_outside:
        place, _ = _inside(root, paths[0], allow_outside=False)
        kept = Path(os.path.relpath(place, root)).as_posix() if place else ""
        prefix = paths[0].removesuffix(kept)
        paths = [path.removeprefix(prefix) for path in paths] if kept else paths
    return paths


def _in_folder(root: Path, folder: Path) -> list[str]:
    """Paths of all images below ``folder``, relative to ``root``, sorted."""
    found = []
    for where, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        prefix = Path(os.path.relpath(where, root)).as_posix()
        images = [name for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")]
        found += images if prefix == "." else [f"{prefix}/{name}" for name in images]
    return sorted(found)


def _part(
    file: Path, key: str, entries: object, root: Path, *, allow_outside: bool
) -> tuple[list[str] | None, list[str]]:
    """Images of one part, relative to the root, or None where its folder is missing; sentences about moved folders."""
    found, notes = [], []
    for entry in entries if isinstance(entries, list) else [entries]:
        text = _text(file, key, entry)
        place, note = _inside(root, text, allow_outside=allow_outside)
        if place is None:
            return None, []
        notes += [note] if note else []
        if place.is_dir():
            found += _in_folder(root, place)
        else:
            found += _listed(place, root, allow_outside=allow_outside)
    return found, notes


def layout_images(
    file: Path, config: dict[str, Any], split: str | None, *, allow_outside: bool
) -> tuple[ImageFiles, str]:
    """The images that a data set's YAML file means.

    Args:
        file: The YAML file.
        config: What it holds.
        split: One of :data:`PARTS`; None for all whose folders are there.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.

    Returns:
        The images, and sentences on folders that are not where the file says.

    Raises:
        DataError: A part or an image is missing, or a path leaves the root.
        FormatError: The file, or a list of images, holds what is no path.
    """
    root, note = _root(file, config, allow_outside=allow_outside)
    notes, names = [note] if note else [], []
    wanted = [part for part in ([split] if split else PARTS) if config.get(part)]
    there = []
    for part in wanted:
        found, moved = _part(file, part, config[part], root, allow_outside=allow_outside)
        if found is None and split is None:
            notes.append(f"Part {part!r} is missing.")
        elif found is not None:
            there.append(part)
            names += found
            notes += moved
    if not there or not names:
        looked = {part: config[part] for part in wanted}
        raise DataError(
            f"{str(file)!r}: looked for images of {split or ', '.join(PARTS)} as {str(looked)[:120]} in {str(root)!r} "
            "and found none; put them there, or allow a path elsewhere by name with allow_outside"
        )
    paths = tuple(dict.fromkeys(names))
    if len(paths) < len(names):
        notes.append(f"{len(names) - len(paths)} images are listed more than once.")
    images = ImageFiles(root=root, paths=paths, allow_outside=allow_outside)
    if missing := missing_files(root, paths):
        raise DataError(
            f"{str(file)!r}: {len(missing)} of {len(paths)} images have no file, the first is {paths[missing[0]]!r} in "
            f"{str(root)!r}; put them there, or drop their lines"
        )
    return images, " ".join(notes)
