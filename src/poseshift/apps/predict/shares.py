"""What each of several processes predicts, and how the parts come together; knows nothing of how they talk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

from poseshift.apps.predict.pipeline import Look

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The share of one process.

    Attributes:
        index: Of the process; the first, 0, writes.
        count: Of processes that share the work; 1 lets each do all of it.
        gathered: What every process gave, in their order.
    """

    index: int = 0
    count: int = 1
    gathered: Callable[[T], list[T]] = lambda mine: [mine]

    def mine(self, looks: Iterable[Look], size: int) -> Generator[Look]:
        """Every ``count``-th run of ``size`` looks; of whole images the batches of one process, and its bits."""
        for number, one in enumerate(looks):
            if self.count == 1 or number // size % self.count == self.index:
                yield one
