"""Lightning Pose projects (Biderman, Whiteway et al., Nature Methods 2024).

``PATH`` is the data folder of a project (``CollectedData.csv`` and ``labeled-data/``; without that name, its only
csv) or one csv file. The csv has three header rows (scorer, bodyparts, coords); each line begins with an image's
path, relative to the data folder. A file of predictions on labelled frames is read as well: its likelihoods and its
last column ``set`` are passed over, and every point becomes visibility 2. Predictions on a video name no images and
are refused. Joints are those of the file, in its order.

Empty or NaN is not labelled; everything else becomes visibility 2, for the format has no flag of occlusion. The
format is that of DeepLabCut and so is its pixel convention: counted from 0 at the centres of pixels, taken as it is.
Groups are the folders that the images lie in, usually one per video. There are no boxes.
"""

from __future__ import annotations

from pathlib import Path

from poseshift.data.drafts import draft
from poseshift.data.layouts import Layout
from poseshift.data.skeletons import known_or_new
from poseshift.data.table_writing import individuals, several_in, write_csv
from poseshift.data.tables import as_annotations, image_files, instances, read_csv
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

SPLITS: tuple[str, ...] = ("all",)
LAYOUT = Layout(suffix=".csv", file="CollectedData.csv", folder="labeled-data", by_group=True, empty=False, single=True)


def _file(path: Path) -> Path:
    """The csv that ``path`` means."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(
            f"lightning_pose: looked for a folder or csv {str(path)!r} and found none; give the data folder"
        )
    found = sorted(path.glob("*.csv"))
    named = [file for file in found if file.name == "CollectedData.csv"] or found
    if len(named) != 1:
        there = [file.name for file in named] or "none"
        raise DataError(
            f"lightning_pose: looked for CollectedData.csv or one csv in {str(path)!r}, found {there}; "
            "give the file: lightning_pose:FILE.csv"
        )
    return named[0]


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read the labels of a Lightning Pose project.

    Args:
        path: See above.
        split: ``all`` or None; the parts that a training draws are no part of the labels.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it each line, so each image, is one instance: points alone would tell individuals apart.

    Raises:
        UsageError: Unknown split.
        DataError: A file or an image is missing, or nothing is labelled.
        FormatError: The file is not what Lightning Pose writes; the message names the line or the image.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"lightning_pose has no split {split!r}; expected one of {', '.join(SPLITS)}")
    file = _file(Path(path))
    table = read_csv(file)
    if any(individual for individual, _, _ in table.columns):
        raise FormatError(
            f"{str(file)!r} has a header row 'individuals', unknown to Lightning Pose; give deeplabcut:{file.name}"
        )
    found = instances([table], labelled=labelled)
    folder = file.absolute().parent
    places = [(folder, 0), (folder.parent, 0), (folder.parent.parent, 0)]
    title = file.stem if Path(path).is_file() else folder.name
    return as_annotations(
        title,
        image_files(file, table.paths, places, allow_outside=allow_outside),
        found,
        known_or_new(title, found.bodyparts),
        category="animal",
        note="Lightning Pose counts pixels from 0 at their centres: coordinates are taken as they are.",
        labelled=labelled,
    )


def write(annotations: Annotations, path: Path | str) -> None:
    """Write the csv; image files are named by their keys and not copied.

    Occlusion, boxes, edges and images without an instance are no part of the file and are lost.

    Raises:
        DataError: ``path`` exists already, the disk refuses, or an image has several instances.
    """
    if crowded := several_in(annotations):
        raise DataError(
            f"lightning_pose: image {crowded!r} has several instances, this format holds one; write coco instead"
        )
    with draft(Path(path)) as temporary:
        write_csv(annotations, temporary, *individuals(annotations))
