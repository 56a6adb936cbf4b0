"""A sample of crops of one domain, cut as training would cut them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseshift.data.boxes import BoxMode
from poseshift.data.crops import CropConfig, Crops, resolve
from poseshift.data.images import padded_crop
from poseshift.draws import generator
from poseshift.errors import DataError
from poseshift.types import Annotations, ByteArray, FloatArray, IntArray

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Crops of ``n`` instances that decoded, in the order of the data.

    Attributes:
        annotations: The whole data.
        boxes: How instances are cut: ``given``, ``from_keypoints`` or ``whole``.
        rows: ``n`` rows of the annotations.
        regions: ``n×4`` squares in image pixels, the canonical frames.
        crops: ``n×S×S×3``, what evaluation sees of each instance.
        windows: ``n×4`` whole pixels ``x0 y0 x1 y1`` of the crop that show nothing but the image.
        shown: ``n`` shares of the crop that lie inside the image; the rest is black.
        sizes: ``n×2`` width and height of the images.
        unreadable: Name and reason of each image that did not decode.
    """

    annotations: Annotations
    boxes: BoxMode
    rows: IntArray
    regions: FloatArray
    crops: ByteArray
    windows: IntArray
    shown: FloatArray
    sizes: FloatArray
    unreadable: dict[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def drawn(self) -> int:
        """How many images were tried."""
        return len(self.rows) + len(self.unreadable)

    @property
    def groups(self) -> IntArray:
        """``n`` numbers: which instances belong together (a video, an animal, an image)."""
        return np.unique(self.annotations.groups[self.rows], return_inverse=True)[1].astype(np.int64)

    def pixels(self, number: int) -> ByteArray:
        """The part of crop ``number`` that shows the image, ``h×w×3``."""
        x0, y0, x1, y1 = self.windows[number]
        return self.crops[number, y0:y1, x0:x1]


def draw(
    annotations: Annotations,
    config: CropConfig,
    *,
    size: int,
    count: int,
    seed: int,
    role: str,
    advance: Callable[[int], None] = lambda done: None,
) -> Sample:
    """Crops of at most ``count`` instances, chosen by ``seed`` and ``role`` alone; each decodes its image once.

    Args:
        annotations: Of one domain.
        config: How training cuts instances.
        size: Side of a crop.
        count: Largest number of instances.
        seed: Of the choice.
        role: ``source`` or ``target``: two choices of the same data do not depend on each other.
        advance: Called with the number of images done, for a progress bar.

    Raises:
        DataError: Not one image decodes, or boxes or keypoints that cropping needs are missing.
    """
    total, mode = len(annotations), resolve(annotations, config.boxes)
    chosen = np.sort(generator(seed, f"doctor {role}").permutation(total)[:count])
    cut = Crops(annotations.select(chosen), config.model_copy(update={"boxes": mode}), size=size)
    kept: list[int] = []
    crops: list[ByteArray] = []
    windows: list[tuple[IntArray, float]] = []
    sizes: list[tuple[int, int]] = []
    unreadable: dict[str, str] = {}
    for number, row in enumerate(chosen.tolist()):
        try:
            image = annotations.images.read(int(annotations.image_index[row]))
            crop, matrix = padded_crop(image, cut.regions[number], size)
        except DataError as error:
            unreadable[f"{annotations[row].key} (instance {row})"] = str(error)
        else:
            kept.append(number)
            crops.append(crop)
            sizes.append((image.shape[1], image.shape[0]))
            windows.append(_window(matrix, sizes[-1], size))
        advance(1)
    if not kept:
        raise DataError(f"{role}: none of {len(chosen)} images decodes, the first: {next(iter(unreadable.values()))}")
    return Sample(
        annotations=annotations,
        boxes=mode,
        rows=chosen[kept].astype(np.int64),
        regions=cut.regions[kept],
        crops=np.stack(crops),
        windows=np.stack([window for window, _ in windows]),
        shown=np.array([share for _, share in windows], np.float32),
        sizes=np.array(sizes, np.float32),
        unreadable=unreadable,
    )


def _window(matrix: Matrix, size: tuple[int, int], side: int) -> tuple[IntArray, float]:
    """Pixels of a crop that show an image of ``(width, height)`` alone (at least one), and its share of the crop.

    Resizing blends the image's border with the black beside it: over a pixel, or over half of an enlarged one.
    """
    zoom = np.array([matrix[0, 0], matrix[1, 1]])
    edges = np.array([[-0.5, size[0] - 0.5], [-0.5, size[1] - 0.5]]) * zoom[:, None] + matrix[:2, 2:] + 0.5
    inside = np.clip(edges, 0, side)
    rim = np.ceil(np.maximum(1.0, zoom / 2))
    low = np.where(edges[:, 0] > 1e-6, np.ceil(inside[:, 0] - 1e-6) + rim, 0)
    high = np.where(edges[:, 1] < side - 1e-6, np.floor(inside[:, 1] + 1e-6) - rim, side)
    low = np.clip(low, 0, side - 1)
    window = np.concatenate([low, np.clip(high, low + 1, side)]).astype(np.int64)
    return window, float(np.prod(inside[:, 1] - inside[:, 0]) / side**2)
