"""What is predicted part by part, by many machines or in many sittings: which parts there are, and which are done.

A part is some hundred images, a video, or a row group of a Parquet file with a column ``image`` of ``{bytes, path}``,
as packed data have. A folder has ``part-NNNNN.parquet`` for each, whole or not at all, and ``_plan.json``, which says
what it was made from; ``_failed/`` names the parts of which no image decodes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseshift.apps.predict.inputs import find_files
from poseshift.data import video_index
from poseshift.data.drafts import left_of, replacement
from poseshift.data.parquet import pyarrow_module
from poseshift.errors import DataError, UsageError

log = logging.getLogger(__name__)

IMAGES = 256
"""Images a part, where they are files."""
PLAN = "_plan.json"  # readers of Parquet folders pass over names with an underscore
FAILED = "_failed"


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one file of the result is made from.

    Attributes:
        name: Of the file, without its ending.
        files: Images, or one video, or one Parquet file.
        group: Row group of the Parquet file; None for images and videos.
    """

    name: str
    files: tuple[str, ...]
    group: int | None = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a folder holds.

    Attributes:
        parts: Number of them.
        instances: Rows with a prediction, over all parts.
        failed: Images without one.
        skipped: Parts that were there.
    """

    parts: int
    instances: int
    failed: int
    skipped: int


def parts_of(inputs: Sequence[str | Path], *, images: int = IMAGES) -> list[Part]:
    """The parts, the same for the same inputs.

    Raises:
        DataError: An entry is not there or holds nothing, or a Parquet file cannot be read.
    """
    entries = [Path(entry) for entry in inputs]
    shards = [file for entry in entries for file in _shards(entry)]
    others = [entry for entry in entries if not _shards(entry)]
    files = find_files(others) if others else []
    videos = [file for file in files if file.suffix.lower() in video_index.SUFFIXES]
    pictures = [str(file) for file in files if file.suffix.lower() not in video_index.SUFFIXES]
    found: list[tuple[tuple[str, ...], int | None]] = [
        (tuple(pictures[first : first + images]), None) for first in range(0, len(pictures), images)
    ]
    found += [((str(file),), None) for file in videos]
    found += [((str(file),), group) for file in shards for group in range(_groups(file))]
    return [Part(name=f"part-{number:05}", files=own, group=group) for number, (own, group) in enumerate(found)]


def _shards(entry: Path) -> list[Path]:
    """Parquet files that an entry means: itself, those of packed data, or those of a folder that holds them."""
    if entry.suffix == ".parquet":
        if not entry.is_file():
            raise DataError(f"{entry}: no such file; give a Parquet file with a column `image`")
        return [entry]
    inside = entry / "data" if (entry / "index.json").is_file() else entry
    return sorted(inside.glob("*.parquet")) if inside.is_dir() else []


def _groups(file: Path) -> int:
    arrow = pyarrow_module()
    try:
        metadata = arrow.parquet.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
        fields = {field.name for field in schema.field("image").type}
    except (OSError, arrow.ArrowException, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: no Parquet file with a column `image` of bytes and path ({reason})") from error
    if not {"bytes", "path"} <= fields:
        raise DataError(f"{file}: `image` has {sorted(fields)}, expected bytes and path, as `poseshift pack` writes")
    return int(metadata.num_row_groups)


def begun(folder: Path, plan: dict[str, Any]) -> None:
    """Notes what a folder is made from. Raises :class:`UsageError` where it is of something else."""
    text = json.dumps(plan, indent=1, sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()
    file = folder / PLAN
    if not file.is_file() and folder.is_dir() and set(folder.iterdir()) - set(left_of(file)):
        raise UsageError(f"{folder}: exists and is no folder of `predict --engine ray`; give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")).get("sha256") != mark:
            raise UsageError(f"{folder}: holds predictions of other inputs, options or model; give another --out")
        return
    with replacement(file) as draft:
        draft.write_text(json.dumps({"sha256": mark, **plan}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def identity(model: Path) -> str:
    """What tells a model from another: where it is and what its checkpoints are."""
    pointers = sorted((model / "checkpoints").glob("*/manifest.json"))
    total = hashlib.sha256()
    for file in pointers or [model]:
        if not file.is_file():
            raise DataError(f"{model}: no run folder; give a finished run")
        total.update(file.read_bytes())
    return total.hexdigest()


def unpacked(file: Path, group: int, folder: Path) -> dict[str, str]:
    """The images of a row group as files of a folder, and the name that each had; those without bytes are left out."""
    table = pyarrow_module().parquet.ParquetFile(file).read_row_group(group, columns=["image"])
    names = {}
    for number, image in enumerate(table.column("image").to_pylist()):
        if image is None or image["bytes"] is None:
            log.warning("%s: image %d of row group %d has no bytes", file, number, group)
            continue
        known = image["path"] or f"{file.name}/{group}/{number}"
        path = folder / f"{number:06}{Path(known).suffix.lower() or '.jpg'}"
        path.write_bytes(image["bytes"])
        names[str(path)] = known
    return names


def renamed(file: Path, names: dict[str, str]) -> None:
    """Gives the images of a written part the names that they had."""
    arrow = pyarrow_module()
    table = arrow.parquet.read_table(file)
    column = arrow.array([names[path] for path in table.column("file").to_pylist()])
    place = table.column_names.index("file")
    arrow.parquet.write_table(table.set_column(place, "file", column.dictionary_encode()), file)


def there(folder: Path, part: Part) -> bool:
    """Whether a part is done."""
    return (folder / f"{part.name}.parquet").is_file() or (folder / FAILED / f"{part.name}.json").is_file()


def count(folder: Path, parts: Sequence[Part]) -> tuple[int, int]:
    """Instances with a prediction, and images without one, in all parts."""
    arrow = pyarrow_module()
    rows = failed = 0
    for part in parts:
        told = folder / FAILED / f"{part.name}.json"
        if told.is_file():
            failed += int(json.loads(told.read_text(encoding="utf-8"))["images"])
            continue
        file = arrow.parquet.ParquetFile(folder / f"{part.name}.parquet")
        first = next(name for name in file.schema_arrow.names if name.endswith("_x") and not name.startswith("box_"))
        values = file.read(columns=[first]).column(0).to_numpy()
        good = int((values == values).sum())
        rows, failed = rows + good, failed + len(values) - good
    return rows, failed
