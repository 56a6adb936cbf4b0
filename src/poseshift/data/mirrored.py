"""Images of which some are shown mirrored, left and right exchanged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poseshift.data.images import ImageFiles
from poseshift.types import ByteArray


@dataclass(frozen=True, kw_only=True)
class WithMirrored:
    """Each of ``N`` files twice: image ``i`` as it is, image ``N + i`` mirrored; a keypoint's x becomes width - 1 - x.

    Attributes:
        files: The files.
    """

    files: ImageFiles

    def __len__(self) -> int:
        return 2 * len(self.files)

    def key(self, index: int) -> str:
        """The path of the file, and whether it is mirrored."""
        flipped, file = divmod(index, len(self.files))
        return f"{self.files.key(file)}{' (mirrored)' * flipped}"

    def read(self, index: int) -> ByteArray:
        """Image ``index``, ``H×W×3`` RGB. Raises :class:`~poseshift.errors.DataError` as the files do."""
        flipped, file = divmod(index, len(self.files))
        image = self.files.read(file)
        return np.ascontiguousarray(image[:, ::-1]) if flipped else image

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)`` from the header alone."""
        return self.files.size(index % len(self.files))
