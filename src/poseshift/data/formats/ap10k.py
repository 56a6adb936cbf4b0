"""AP-10K (Yu et al., NeurIPS 2021 data sets and benchmarks): 10,015 photographs of 54 species, 17 keypoints.

``PATH`` is the folder that holds ``annotations/ap10k-{train,val,test}-split{1,2,3}.json`` and ``data/*.jpg``. After an
``@`` may follow, separated by commas, ``split=1`` (default), ``split=2`` or ``split=3``: which of the three published
splits, and species: ``ap10k:data/ap10k@split=2,dog,king cheetah``; without, all.

The files are COCO's, so :mod:`poseshift.data.formats.coco` reads them: coordinates are **0-indexed pixels** and taken
as they are, visibility is COCO's, boxes are the annotated ones, instances of one image are one group. The keypoint
called hip is a horse's or a dog's knee, and the one called knee its ankle, as the data's authors explain: by name only
eyes and paws match AnimalPose's joints; ``mapping`` in the configuration says what else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from poseshift.data.formats import coco
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import split_name
from poseshift.data.skeletons.animals import AP10K17
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

SPLITS = ("all", "train", "val", "test")
PARTS = ("train", "val", "test")
NUMBERS = ("1", "2", "3")
_OPTION = "split="


def _parse(path: str) -> tuple[Path, str, tuple[str, ...]]:
    """Root, number of the split, species."""
    text, options = path, ""
    if "@" in path and not Path(path).is_dir():
        text, _, options = path.rpartition("@")
    words = [word.strip() for word in options.split(",") if word.strip()]
    numbers = [word.removeprefix(_OPTION).strip() for word in words if word.startswith(_OPTION)] or ["1"]
    if len(set(numbers)) > 1 or numbers[0] not in NUMBERS:
        expected = ", ".join(f"{_OPTION}{number}" for number in NUMBERS)
        raise UsageError(f"ap10k: {path!r} asks for split {', '.join(numbers)}; expected one of {expected}")
    root = Path(text)
    for folder in ("annotations", "data"):
        if not (root / folder).is_dir():
            raise DataError(f"ap10k: looked for a folder {str(root / folder)!r} and found none; give ap10k:FOLDER")
    return root, numbers[0], tuple(dict.fromkeys(word for word in words if not word.startswith(_OPTION)))


def _file(root: Path, part: str, number: str) -> Path:
    file = root / "annotations" / f"ap10k-{part}-split{number}.json"
    if not file.is_file():
        raise DataError(
            f"ap10k: looked for {str(file)!r} and found none; unpack all annotations, or name another split"
        )
    return file


def _part(file: Path, root: Path, *, allow_outside: bool, labelled: bool) -> Annotations:
    found = coco.read(f"{file}@{root / 'data'}", allow_outside=allow_outside, labelled=labelled)
    names = [split_name(name) for name in found.skeleton.keypoints]
    if names != [split_name(name) for name in AP10K17.keypoints] and (labelled or names):
        raise FormatError(
            f"{str(file)!r}: keypoints {list(found.skeleton.keypoints)}, expected {list(AP10K17.keypoints)}; "
            "read such a file as coco:FILE@FOLDER"
        )
    return replace(found, skeleton=AP10K17) if names else found


def _joined(parts: Sequence[Annotations], root: Path, *, allow_outside: bool) -> Annotations:
    """One after the other; the parts share no image."""
    images = [part.images for part in parts]
    starts = np.cumsum([0, *(len(part) for part in images)])
    paths = tuple(image.key(i) for image in images for i in range(len(image)))
    return replace(
        parts[0],
        images=ImageFiles(root=root / "data", paths=paths, allow_outside=allow_outside),
        image_index=np.concatenate([part.image_index + start for part, start in zip(parts, starts, strict=False)]),
        note=" ".join(dict.fromkeys(part.note for part in parts if part.note)),
        keypoints=np.concatenate([part.keypoints for part in parts]),
        visible=np.concatenate([part.visible for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
        categories=np.concatenate([part.categories for part in parts]),
    )


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read AP-10K.

    Args:
        path: ``FOLDER`` or ``FOLDER@OPTIONS``, see above.
        split: ``train``, ``val``, ``test`` or ``all`` / None, of the numbered split.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no label is looked at, see :func:`poseshift.data.formats.coco.read`.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown.
        DataError: Files are missing or do not fit together, or no instance is left.
        FormatError: A file is not COCO keypoints, or names other keypoints than AP-10K's.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"ap10k has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root, number, species = _parse(path)
    files = [_file(root, part, number) for part in (PARTS if split in (None, "all") else (str(split),))]
    parts = [_part(file, root, allow_outside=allow_outside, labelled=labelled) for file in files]
    whole = _joined(parts, root, allow_outside=allow_outside)
    whole = replace(whole, name="ap10k")
    if not species:
        return whole
    if unknown := [word for word in species if word not in whole.categories]:
        known = ", ".join(np.unique(whole.categories).tolist())
        raise UsageError(
            f"ap10k: no {unknown[0]!r} in {path!r}; expected after '@' {_OPTION}1, 2 or 3, or some of {known}"
        )
    return whole.select(np.isin(whole.categories, species))
