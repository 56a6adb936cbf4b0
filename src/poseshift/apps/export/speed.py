"""How fast an exported model is beside eager torch: side by side, since whatever else a machine does slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from poseshift.apps.export import onnx_graph
from poseshift.apps.export.graph import Deployed, whole
from poseshift.apps.export.quantise import to_int8
from poseshift.apps.exported import session
from poseshift.models.pose_net import PoseNet

TORCH, ONNX, INT8 = "torch", "onnx", "int8"
WARM = 2
"""Calls that are not counted."""
RANGES = 8
"""Images of noise that show the ranges: speed does not depend on them."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds of a call.

    Attributes:
        batch: Images a call.
        threads: That a call may use; None for as many as there are.
        seconds: Name to those of each repetition: processor time of one thread, wall time of several.
    """

    batch: int
    threads: int | None
    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds[name])

    def ratio(self, fast: str, slow: str) -> float:
        """How many times as fast ``fast`` is: the median over pairs of neighbours."""
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return statistics.median(long / short for long, short in pairs)


class Contest:
    """A net in eager torch, as ONNX, and with eight-bit integers.

    Args:
        net: In evaluation mode, on the CPU.
        size: Side of the input, pixels.
        int8: Whether to quantise it, too.
    """

    def __init__(self, net: PoseNet, *, size: int, int8: bool = True) -> None:
        self.deployed = Deployed(net, size=size, flip_index=None, calibration=None).eval()
        self.size = size
        graph = onnx_graph.to_onnx(self.deployed)
        self.models = {ONNX: graph}
        if int8:
            self.models[INT8] = to_int8(graph, self._noise(RANGES))

    def _noise(self, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.random.default_rng(0).integers(0, 256, (count, self.size, self.size, 3), dtype=np.uint8)

    def time(self, *, batch: int, threads: int, repeats: int) -> Speed:
        """Times calls of every model in turn, and the next time in the opposite order.

        Args:
            batch: Images a call.
            threads: For each model.
            repeats: Counted calls of each.
        """
        crops = self._noise(batch)
        given = torch.from_numpy(crops), whole(self.size, batch)
        feed = {"image": crops, "regions": given[1].numpy()}
        calls: dict[str, Callable[[], object]] = {TORCH: lambda: self.deployed(*given)}
        for name, model in self.models.items():
            calls[name] = partial(session(model.SerializeToString(), name=name, threads=threads).run, None, feed)
        with _threads(threads), torch.no_grad():
            clock = time.thread_time if threads == 1 else time.perf_counter
            seconds = side_by_side(calls, repeats=repeats, clock=clock)
        return Speed(batch=batch, threads=threads, seconds=seconds)


def side_by_side(
    calls: Mapping[str, Callable[[], object]], *, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call, ``repeats`` times, in turn and every other time in the opposite order.

    Args:
        calls: By name.
        repeats: Counted ones; some before them are not.
        clock: Of seconds.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(WARM + repeats):
        for name in list(calls)[:: -1 if round_ % 2 else 1]:
            start = clock()
            calls[name]()
            if round_ >= WARM:
                found[name].append(clock() - start)
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
