"""``poseshift pack``: any readable data set as Parquet shards, which train from a local path or any fsspec URL."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from poseshift.data import formats, packing, parquet
from poseshift.data.archives import decode_image, image_size
from poseshift.data.drafts import draft
from poseshift.data.images import Quarantine
from poseshift.data.packed import INDEX, SCHEMA, Index, Split
from poseshift.data.packing import GROUP_BYTES, Instances, Picture, Shards
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, ByteArray, Images
from poseshift.version import __version__

DEFAULT_SPLIT, WHOLE = "train", "whole"
"""What the data is called where no split is named: the split that ``datasets`` gives without one."""
MIB = 2**20


@runtime_checkable
class EncodedImages(Protocol):
    """Images that are files, or parts of one."""

    def encoded(self, index: int) -> bytes | None:
        """The file of image ``index``, None where it has none of its own."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What is done to images.

    Attributes:
        side: Images with a longer side than this are scaled down to it; None for none.
        quality: Of JPEG, for images that are scaled or have no file of their own; None for PNG, which loses nothing.
    """

    side: int | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 8:
            raise UsageError(f"--image-side {self.side}: expected at least 8 pixels")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: expected 1 to 100, or leave it out for PNG")

    def __call__(self, images: Images, index: int) -> tuple[Picture, tuple[float, float]]:
        """The image, and the factors by which its width and height changed. Raises :class:`DataError`."""
        content = images.encoded(index) if isinstance(images, EncodedImages) else None
        if content is not None:
            width, height = image_size(content, images.key(index))
            if self.side is None or max(width, height) <= self.side:
                return Picture(content=content, size=(width, height)), (1.0, 1.0)
            pixels = decode_image(content, images.key(index))
        else:
            pixels = images.read(index)
        height, width = pixels.shape[:2]
        scaled = self._scaled(pixels)
        size = (scaled.shape[1], scaled.shape[0])
        return Picture(content=self._encode(scaled), size=size), (size[0] / width, size[1] / height)

    def _scaled(self, pixels: ByteArray) -> ByteArray:
        height, width = pixels.shape[:2]
        if self.side is None or max(width, height) <= self.side:
            return pixels
        scale = self.side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))

    def _encode(self, pixels: ByteArray) -> bytes:
        file = io.BytesIO()
        if self.quality is None:
            Image.fromarray(pixels).save(file, "PNG")
        else:
            Image.fromarray(pixels).save(file, "JPEG", quality=self.quality, subsampling="4:4:4")
        return file.getvalue()


@dataclass(kw_only=True)
class Packed:
    """What was written.

    Attributes:
        path: The folder.
        index: Its index.
        unreadable: Images that could not be read, with the reason.
    """

    path: Path
    index: Index
    unreadable: list[str] = field(default_factory=list)

    @property
    def complaint(self) -> str:
        """What to say of the images that could not be read: how many, and the first five, a line each."""
        first = [f"  {' '.join(line.split())}" for line in self.unreadable[:5]]
        return "\n".join([f"{len(self.unreadable)} images cannot be read; training passes over them:", *first])

    @property
    def line(self) -> str:
        """One sentence for a terminal."""
        splits = self.index.splits.values()
        files = [note for split in splits for note in (*split.shards, split.table)]
        size = sum(note.size for note in files)
        images, instances = sum(split.images for split in splits), sum(split.instances for split in splits)
        shards = sum(len(split.shards) for split in splits)
        plural = "" if shards == 1 else "s"
        told = f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / 1024:.0f} KiB"
        return f"{self.path}: {images} images, {instances} instances in {shards} shard{plural}, {told}"


def pack(
    data: str,
    out: str | Path,
    *,
    splits: Sequence[str] = (),
    shard_mib: int = 256,
    image_side: int | None = None,
    quality: int | None = None,
    group_bytes: int = GROUP_BYTES,
    advance: Callable[[int], None] = lambda count: None,
) -> Packed:
    """Writes the folder ``out`` whole or not at all.

    Args:
        data: ``FORMAT:PATH``.
        out: A folder that does not exist.
        splits: Of that format; without one, what the format reads without, under the name of ``train``, or of ``whole``
            where that is training and test data together, as a format's own ``all`` is: Hugging Face ``datasets`` reads
            no split called ``all``.
        shard_mib: Encoded images in a shard.
        image_side: See :class:`Encoding`; keypoints and boxes are scaled with their image.
        quality: See :class:`Encoding`.
        group_bytes: Encoded images in a row group.
        advance: Called with the number of images done, for a progress bar.

    Raises:
        UsageError: An option that cannot be, or pyarrow is not installed.
        DataError: ``out`` exists or cannot be written, the data cannot be read, or more than 1 % of its images cannot.
    """
    target, encoding = Path(out), Encoding(side=image_side, quality=quality)
    parquet.pyarrow_module()
    if shard_mib < 1:
        raise UsageError(f"--shard-size {shard_mib}: expected at least 1 MiB")
    if bad := [name for name in splits if not re.fullmatch(r"\w[\w.-]*", name)]:
        raise UsageError(f"--split {bad[0]!r} cannot name a file; expected letters, digits, '_', '-' and '.'")
    written: dict[str, Split] = {}
    unreadable: list[str] = []
    with draft(target) as folder:
        folder.mkdir()
        for name in dict.fromkeys(splits or [""]):
            annotations = formats.read(data, split=name or None)
            called = WHOLE if name == "all" else name or _default_split(data)
            packer = _Packer(folder, called, annotations, encoding, shard_mib * MIB, group_bytes)
            written[called] = packer.run(advance)
            unreadable += packer.quarantine.lines()
        index = Index(schema_version=SCHEMA, made_by=__version__, made_from=data, splits=written)
        (folder / INDEX).write_text(index.model_dump_json(indent=1), encoding="utf-8")
    return Packed(path=target, index=index, unreadable=unreadable)


def _default_split(data: str) -> str:
    """What is packed without a split must not be called ``train`` where the format has test data in it."""
    return WHOLE if formats.taken_together(data) else DEFAULT_SPLIT


class _Packer:
    """Packs one split."""

    def __init__(
        self, folder: Path, split: str, annotations: Annotations, encoding: Encoding, shard: int, group: int
    ) -> None:
        if not len(annotations):
            raise DataError(f"{annotations.name}: no instances in split {split!r}; check the path and the split")
        self.folder, self.split, self.annotations, self.encoding = folder, split, annotations, encoding
        self.instances = Instances.of(annotations)
        self.shards = Shards(folder, split, self.instances, shard_bytes=shard, group_bytes=group)
        self.quarantine = Quarantine(len(self.instances.images))
        self.scaled = 0

    def run(self, advance: Callable[[int], None]) -> Split:
        sizes = []
        try:
            for place in range(len(self.instances.images)):
                picture = self._picture(place)
                sizes.append(picture.size)
                self.shards.add(picture)
                advance(1)
            shards = self.shards.close()
        finally:
            self.shards.abort()
        note, shift = self.annotations.note, self.annotations.reference_shift
        if self.scaled:
            note = f"{note} {self.scaled} images were scaled down to a longer side of {self.encoding.side}.".strip()
        if self.scaled and shift:
            note, shift = f"{note} The shift of the reference protocol has no meaning for them: it is left out.", 0.0
        return Split(
            name=self.annotations.name,
            note=note,
            reference_shift=shift,
            skeleton=self.annotations.skeleton,
            boxes="whole" if np.isnan(self.annotations.boxes).any() else "given",
            images=len(self.instances.images),
            instances=len(self.annotations),
            shards=shards,
            table=packing.write_table(self.folder, self.split, self.instances, sizes),
        )

    def _picture(self, place: int) -> Picture:
        """The image; one that cannot be read is counted, and packed as it is, for training to pass over."""
        images, index = self.annotations.images, int(self.instances.images[place])
        try:
            picture, factors = self.encoding(images, index)
        except DataError as error:
            self.quarantine.add(images.key(index), error)
            return Picture(content=self._damaged(index), size=(0, 0))
        if factors != (1.0, 1.0):
            self._scale(place, factors)
        return picture

    def _damaged(self, index: int) -> bytes | None:
        images = self.annotations.images
        try:
            return images.encoded(index) if isinstance(images, EncodedImages) else None
        except DataError:
            return None

    def _scale(self, place: int, factors: tuple[float, float]) -> None:
        """Scales the keypoints and boxes of an image about its corner."""
        self.scaled += 1
        rows = slice(int(self.instances.starts[place]), int(self.instances.starts[place + 1]))
        labelled = self.instances.annotations.visible[rows, :, None] > 0
        points, boxes = self.instances.points[rows].astype(np.float64), self.instances.boxes[rows].astype(np.float64)
        self.instances.points[rows] = np.where(labelled, (points + 0.5) * factors - 0.5, points)
        self.instances.boxes[rows] = (boxes + 0.5) * (factors * 2) - 0.5
