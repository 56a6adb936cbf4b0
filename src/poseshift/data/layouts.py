"""Where the images of written labels lie: what a format wants, the names of the files, and putting them there."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from poseshift.data.images import SUFFIXES, ImageFiles, leaves_root
from poseshift.data.sleap_frames import SleapImages
from poseshift.data.texts import image_path
from poseshift.errors import DataError
from poseshift.types import Annotations, Images, IntArray


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a format that can be written wants of the folder that it is written to.

    Attributes:
        suffix: How the name of its file of labels ends; empty where the format always fills a folder.
        file: The name of that file where only a folder is given; empty where the format fills the folder by itself.
        folder: Where images are put, below the folder of the labels.
        inside: They cannot lie elsewhere.
        by_group: Images lie in one folder per group, such as a video: it is how the format tells groups.
        empty: Images without a labelled instance have a place in the format.
        single: The format holds one instance per image.
        ready: Raises :class:`~poseshift.errors.UsageError` where an optional package is missing.
    """

    suffix: str = ""
    file: str = ""
    folder: str = "images"
    inside: bool = False
    by_group: bool = False
    empty: bool = True
    single: bool = False
    ready: Callable[[], object] = _nothing

    def places(self, path: Path) -> tuple[Path, Path]:
        """What to give to the format's ``write``, and the folder that image names are relative to."""
        if self.suffix and path.name.lower().endswith(self.suffix):
            return path, path.parent
        return (path / self.file if self.file else path), path


def file_of(images: Images, index: int) -> Path | None:
    """The file of image ``index``; None for frames of a video, members of a zip and what is drawn when it is read."""
    if isinstance(images, ImageFiles):
        return images.path(index)
    if isinstance(images, SleapImages) and (source := images.sources[int(images.video[index])]).kind == "images":
        return source.files.path(int(images.position[index]))
    return None


def _plain(part: str) -> str:
    """A name that every format can hold, for one file or folder."""
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029/\\]", "_", part).strip()
    return "_" if name in ("", ".", "..") else name


def _group_folders(annotations: Annotations) -> dict[int, str]:
    """The folder of each image by its group; empty where no group has two images, for then they group nothing."""
    images, first = np.unique(annotations.image_index, return_index=True)
    groups = annotations.groups[first].tolist()
    if len(set(groups)) == len(groups):
        return {}
    return {image: _plain(group) for image, group in zip(images.tolist(), groups, strict=True)}


def new_names(annotations: Annotations, chosen: IntArray, layout: Layout) -> tuple[str, ...]:
    """Paths for the files of the images ``chosen``, relative to the folder of the labels, after the images' keys.

    No two differ in their ending alone, since some formats name a file of labels after each image.
    """
    images, groups = annotations.images, _group_folders(annotations) if layout.by_group else {}
    taken: set[str] = set()
    used: Counter[str] = Counter()
    names = []
    for image in chosen.tolist():
        file = file_of(images, image)
        key = image_path(images.key(image)) if file else images.key(image).replace("#", "/")
        *above, name = [_plain(part) for part in key.split("/") if part.strip() not in ("", ".", "..")] or ["image"]
        above = [part for part in above if part not in ("images", layout.folder)]
        stem, ending = os.path.splitext(name)
        if file is None:
            stem, ending = stem if ending.lower() in SUFFIXES else name, ".png"
        elif not ending and file.suffix:
            ending = _plain(file.suffix)
        if layout.by_group:
            above = [groups.get(image) or "_".join(above) or _plain(annotations.name)]
        wanted = path = "/".join([layout.folder, *above, stem])
        while path.casefold() in taken:
            used[wanted] += 1
            path = f"{wanted}_{used[wanted] + 1}"
        taken.add(path.casefold())
        names.append(path + ending)
    return tuple(names)


def kept_names(images: Images, chosen: IntArray, folder: Path, layout: Layout) -> tuple[str, ...]:
    """Paths of the images ``chosen`` where they lie, relative to ``folder``.

    Raises:
        DataError: An image is no file of its own, or lies where the new labels cannot refer to it.
    """
    names = []
    for image in chosen.tolist():
        file, key = file_of(images, image), images.key(image)
        if file is None:
            raise DataError(f"image {key!r} is no file of its own and cannot be kept where it is; use --images copy")
        name = Path(os.path.relpath(file, folder)).as_posix()
        if leaves_root(name):
            raise DataError(
                f"image {str(file)!r} lies outside of {str(folder)!r}, the folder of the new labels, so they cannot "
                "refer to it; use --images copy, or write the labels above the images"
            )
        if layout.inside and not name.startswith(f"{layout.folder}/"):
            raise DataError(
                f"image {str(file)!r} does not lie in {str(folder / layout.folder)!r}, as the format wants; "
                "use --images copy, or move the images"
            )
        names.append(name)
    return tuple(names)


def put_images(
    images: Images,
    chosen: IntArray,
    names: Sequence[str],
    folder: Path,
    *,
    link: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Put the images ``chosen`` into ``folder`` under ``names``: files as they are, all others as PNG.

    Args:
        images: Of the annotations.
        chosen: Which of them.
        names: A path relative to ``folder`` for each.
        folder: Where to.
        link: Make hard links to files instead of copies.
        advance: Called with the number of images done.

    Raises:
        DataError: An image does not decode, or cannot be copied, linked or written.
    """
    for image, name in zip(chosen.tolist(), names, strict=True):
        target, file = folder / name, file_of(images, image)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if file is None:
                Image.fromarray(images.read(image)).save(target, "PNG", compress_level=3)
            elif link:
                os.link(os.path.realpath(file), target)
            else:
                shutil.copyfile(file, target)
        except OSError as error:
            done = "written" if file is None else "linked" if link else "copied"
            remedy = "use --images copy" if link and file else "make room or mend the folder, then retry"
            reason = error.strerror or " ".join(str(error).split())
            raise DataError(f"image {images.key(image)!r} cannot be {done} to {name!r} ({reason}); {remedy}") from error
        advance(1)
