"""Base crops: each instance decoded once, cropped to its square region with a margin, kept as uint8.

The region is what evaluation sees (the canonical frame); the margin lets an augmentation rotate and shift without
pulling in black corners.
"""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import Dataset

from poseshift.data import canonical
from poseshift.data.boxes import BoxMode, crop_regions
from poseshift.data.crop_files import CropFile, crop_file
from poseshift.data.windows import UnitImages
from poseshift.errors import DataError
from poseshift.types import Annotations, ByteArray, FloatArray, IntArray

log = logging.getLogger(__name__)

RETRIES = 20


class CropConfig(BaseModel):
    """Which part of an image an instance is cut from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    boxes: BoxMode | Literal["auto"] = Field(
        "auto", description="given, from_keypoints, whole (as a square); auto: given where all have one, else whole."
    )
    padding: float = Field(1.25, gt=0, description="Factor of the box's longer side.")


Cache = Tensor | CropFile
"""``N×3×S×S`` bytes of decoded crops, in memory or in a file: channels apart, as every view wants them."""


class Item(NamedTuple):
    """One base crop (``3×S×S``, uint8), the row it shows, and the rows before it that did not decode."""

    crop: Tensor
    row: int
    failed: tuple[int, ...]

    @property
    def pixels(self) -> ByteArray:
        """The crop as a picture ``S×S×3``."""
        pixels: ByteArray = self.crop.permute(1, 2, 0).numpy()
        return pixels


def _shared(*shape: int, dtype: torch.dtype) -> Tensor:
    """Zeros that loader processes share, however they are started."""
    empty = torch.zeros(shape, dtype=dtype)
    empty.share_memory_()  # type: ignore[no-untyped-call]
    return empty


def resolve(annotations: Annotations, boxes: BoxMode | Literal["auto"]) -> BoxMode:
    """What ``auto`` means for these annotations: their boxes where every instance has one, else the whole image."""
    if boxes != "auto":
        return boxes
    return "given" if len(annotations) and not np.isnan(annotations.boxes).any() else "whole"


def as_cut(annotations: Annotations, config: CropConfig, cut: BoxMode | None) -> CropConfig:
    """``config``, whose ``auto`` means what it meant where a net was trained, so that it sees what it knows.

    Args:
        annotations: What is to be cut now.
        config: How; all but ``auto`` stays as it is.
        cut: How the training images were cut; None where that is not known.

    Returns:
        The configuration. Where its mode is not what ``auto`` would mean here, a warning says so.
    """
    here = resolve(annotations, config.boxes)
    if config.boxes != "auto" or cut in (None, here):
        return config
    if cut == "given":
        log.warning(
            "%s: whole images, since not every instance has a box, though training cut by boxes; give it boxes",
            annotations.name,
        )
    else:
        log.warning(
            "%s: cut %s, as the training images were; by itself it would be cut %s (say boxes: %s for that)",
            annotations.name,
            *(cut, here, here),
        )
    return config.model_copy(update={"boxes": here if cut == "given" else cut})


class Crops(Dataset[Item]):
    """Base crops of side ``size + 2·margin`` at the scale of the canonical frame; picklable.

    Attributes:
        boxes: The mode of cropping, resolved.
        regions: ``N×4`` squares in image pixels, without the margin: the canonical frames.
        keypoints: ``N×K×2`` in pixels of the canonical frame.
    """

    def __init__(
        self,
        annotations: Annotations,
        config: CropConfig,
        *,
        size: int,
        margin: int = 0,
        cache_bytes: int = 0,
        disk_bytes: int = 0,
    ) -> None:
        self.annotations, self.size, self.margin = annotations, size, margin
        self.boxes = resolve(annotations, config.boxes)
        boxless = int(np.isnan(annotations.boxes).any(axis=1).sum())
        if config.boxes == "auto" and 0 < boxless < len(annotations):
            log.warning(
                "%s: %d of %d instances have no box, so all are cut as whole images; give them boxes, or drop them",
                *(annotations.name, boxless, len(annotations)),
            )
        self.regions = crop_regions(annotations, mode=self.boxes, padding=config.padding)
        self.keypoints = self.to_canonical(annotations.keypoints)
        side = size + 2 * margin
        fits = len(annotations) * side * side * 3 <= cache_bytes
        self.cache: Cache | None = None
        if fits:
            self.cache = _shared(len(annotations), 3, side, side, dtype=torch.uint8)
        else:
            self.cache = crop_file(len(annotations), side, limit=disk_bytes)
        self.filled = None if self.cache is None else _shared(len(annotations), dtype=torch.bool)

    def share(self, store: dict[str, tuple[Cache, Tensor]], key: str) -> None:
        """Takes the decoded crops that ``store`` has under ``key``, else leaves its own there: decoded once for all.

        The caller answers for ``key``: data, crop, size and margin.
        """
        if self.cache is not None and self.filled is not None:
            self.cache, self.filled = store.setdefault(key, (self.cache, self.filled))

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def units(self) -> IntArray | None:
        """``N``: which rows are fetched together, where images are fetched many at a time and not kept in memory.

        Whether they are kept on a disk changes nothing here: the order of a run must not depend on what is free there.
        """
        images = self.annotations.images
        if isinstance(self.cache, Tensor) or not isinstance(images, UnitImages):
            return None
        return images.units(self.annotations.image_index)

    @property
    def scale(self) -> FloatArray:
        """``N`` factors from image pixels to canonical pixels."""
        return canonical.scale(self.regions, self.size)

    def to_canonical(self, keypoints: FloatArray) -> FloatArray:
        """Keypoints ``N×K×2`` from image pixels to canonical pixels."""
        return canonical.to_canonical(keypoints, self.regions, self.size)

    def to_image(self, keypoints: FloatArray, rows: slice = slice(None)) -> FloatArray:
        """The inverse of :meth:`to_canonical` for ``rows``."""
        return canonical.to_image(keypoints, self.regions[rows], self.size)

    def __getitem__(self, row: int) -> Item:
        """The crop of ``row``, or of the next row that decodes; up to 20 in turn may fail.

        Raises:
            DataError: They all failed.
        """
        failed: list[int] = []
        for candidate in range(row, row + min(RETRIES, len(self))):
            at = candidate % len(self)
            try:
                return Item(self._crop(at), at, tuple(failed))
            except DataError as error:
                failed.append(at)
                reason = error
        raise DataError(
            f"{len(failed)} images in turn do not decode, the last: {reason}; look at the files"
        ) from reason

    def _crop(self, row: int) -> Tensor:
        if self.cache is None or self.filled is None:
            return self._decode(row)
        try:
            if not self.filled[row]:
                self.cache[row] = self._decode(row)
                self.filled[row] = True
            return self.cache[row]
        except OSError as error:
            reason = error.strerror or error
            log.warning("the file of decoded crops fails (%s): images are decoded each time from here on", reason)
            self.cache = None
            return self._decode(row)

    def _decode(self, row: int) -> Tensor:
        region, number = self.regions[row], int(self.annotations.image_index[row])
        image = canonical.decoded(self.annotations.images, number, region, size=self.size)
        pixels = torch.from_numpy(canonical.cut(image, region, size=self.size, margin=self.margin))
        return pixels.permute(2, 0, 1).contiguous()
