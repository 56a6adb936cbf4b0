"""Random numbers that are a function of (seed, stream, step, position in the global batch), and of nothing else.

So a resumed run draws what the uninterrupted one drew, and two processes draw what one would.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poseshift.types import FloatArray


def generator(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """The numpy generator of one stream at one step."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), step])


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Uniform numbers for one step.

    Attributes:
        seed: Of the run.
        step: Training step.
        start: Position of this process's first sample in the global batch.
        count: Samples of this process.
        total: Samples of the global batch.
        device: Where the numbers are wanted.
    """

    seed: int
    step: int
    start: int
    count: int
    total: int
    device: torch.device

    def per_sample(self, stream: str, columns: int) -> Tensor:
        """``count×columns`` numbers in [0, 1), float32; one row belongs to one position in the global batch."""
        numbers = generator(self.seed, stream, self.step).random((self.total, columns), dtype=np.float32)
        return self._place(numbers[self.start : self.start + self.count])

    def shared(self, stream: str, columns: int = 1) -> Tensor:
        """``columns`` numbers in [0, 1) that all processes share."""
        return self._place(generator(self.seed, stream, self.step).random(columns, dtype=np.float32))

    def coin(self, stream: str, probability: float) -> bool:
        """True with ``probability``, decided on the host, the same on all processes."""
        return bool(generator(self.seed, stream, self.step).random() < probability)

    def beta(self, stream: str, alpha: float) -> float:
        """A number of Beta(``alpha``, ``alpha``), drawn on the host, the same on all processes."""
        return float(generator(self.seed, stream, self.step).beta(alpha, alpha))

    def _place(self, numbers: FloatArray) -> Tensor:
        drawn = torch.from_numpy(np.ascontiguousarray(numbers))
        if self.device.type == "cuda":
            drawn = drawn.pin_memory()  # from elsewhere the copy would not go on by itself
        return drawn.to(self.device, non_blocking=True)
