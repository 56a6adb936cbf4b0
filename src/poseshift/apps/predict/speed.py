"""How fast ``predict`` is, end to end, beside its two halves: the bare net, and decoding without a net."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseshift.apps.predict import Asked, estimate
from poseshift.apps.predict.estimator import Estimator, Looks
from poseshift.apps.predict.inputs import open_inputs
from poseshift.types import ByteArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images a second: medians over repetitions, in turn the one half first and the whole first.

    Attributes:
        images: How many were predicted each time.
        forward: Of the net alone, on a batch that lies on its device.
        decoding: Of finding, decoding and cutting images, with the threads that ``predict`` has and no net.
        end_to_end: Of ``predict``, from the names of files to the written table; the net is loaded before.
    """

    images: int
    forward: float
    decoding: float
    end_to_end: float

    @property
    def of_forward(self) -> float:
        """End to end as a share of the bare net."""
        return self.end_to_end / self.forward

    @property
    def of_slower(self) -> float:
        """End to end as a share of the slower of the two halves."""
        return self.end_to_end / min(self.forward, self.decoding)


class _Still:
    """An estimator that computes nothing."""

    def __init__(self, like: Estimator) -> None:
        self.skeleton, self.input_size, self.calibrated = like.skeleton, like.input_size, like.calibrated

    def __call__(self, crops: ByteArray, /) -> tuple[FloatArray, FloatArray]:
        shape = (len(crops), len(self.skeleton))
        return np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)


def measure(
    estimator: Estimator,
    looks: Looks,
    forward: Callable[[int], None],
    entries: Sequence[str | Path],
    out: Path,
    *,
    repeats: int = 3,
) -> Speed:
    """Measures side by side.

    Args:
        estimator: The net.
        looks: How it wants to be shown images.
        forward: Runs the bare net over that many images, in batches of ``looks.batch_size``, and waits for the end.
        entries: Images and videos.
        out: Where to write the predictions, again and again.
        repeats: Of each; odd numbers have a middle one.

    Raises:
        PoseshiftError: As :func:`poseshift.apps.predict.estimate`.
    """
    images = len(open_inputs(entries))
    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: forward(images),
        "decoding": lambda: estimate(_Still(estimator), Asked(open_inputs(entries)), looks),
        "end_to_end": lambda: estimate(estimator, Asked(open_inputs(entries), out=out, format="table"), looks),
    }
    forward(min(images, looks.batch_size))  # what is set up once is no matter of speed
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats):
        for name in parts if turn % 2 == 0 else reversed(parts):
            began = time.perf_counter()
            parts[name]()
            taken[name].append(time.perf_counter() - began)
    middle = {name: images / statistics.median(seconds) for name, seconds in taken.items()}
    return Speed(images=images, **middle)
