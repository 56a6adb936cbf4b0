"""A step asks the device for nothing: what the host would wait for stands still in a queue that is never empty.

On a CPU nothing waits, so these tests watch the operations themselves: each that a GPU cannot do without telling the
host a value, or a shape that depends on values, and each that brings a Python number to the device by a copy.
"""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import torch
from tests.contract.test_methods import every_case, make, take, updates
from torch.utils._python_dispatch import TorchDispatchMode

TELLS = {
    "_local_scalar_dense", "bincount", "equal", "is_nonzero", "lift_fresh", "masked_select", "nonzero", "_unique2",
    "unique_consecutive", "unique_dim",
}  # fmt: skip
"""Operations after which the host knows a value, or that bring one of its own to the device (``lift_fresh``)."""


INDEXING = {"index", "index_put", "index_put_", "_unsafe_index"}


class Watched(TorchDispatchMode):
    """Notes which lines of this checkout ask."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in INDEXING and any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])
        if name in TELLS or masked or (name == "repeat_interleave" and func._overloadname != "self_int"):
            line = [frame for frame in traceback.extract_stack() if "poseshift" in frame.filename][-1]
            # Random numbers are drawn on the host and follow without being waited for.
            if not (name == "lift_fresh" and line.filename.endswith("poseshift/draws.py")):
                self.asked.append(f"{name} at {line.filename}:{line.lineno}")
        return func(*args, **(kwargs or {}))


def asks() -> None:
    """Every way of asking that a method could fall for."""
    numbers = torch.arange(3.0)
    numbers[numbers > 1] = numbers[numbers > 1] / 2
    bool(numbers[numbers > 1].any()), float(numbers.sum()), numbers.nonzero(), torch.where(numbers > 0)
    (
        numbers.new_tensor([1.0]),
        torch.tensor(2.0),
        numbers.unique(),
        torch.equal(numbers, numbers),
        numbers[numbers.argmax()],
    )


def test_what_asks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = traceback.FrameSummary("src/poseshift/ops/some.py", 1, "asks")
    monkeypatch.setattr(traceback, "extract_stack", lambda: [frame])
    with Watched() as watched:
        asks()
    names = [one.partition(" ")[0] for one in watched.asked]
    assert set(names) >= {"index_put_", "index", "_local_scalar_dense", "nonzero", "lift_fresh", "_unique2", "equal"}
    assert names.count("lift_fresh") == 2
    assert names.count("_local_scalar_dense") == 3, "any, sum and the place of the largest"


@every_case
def test_a_step_asks_nothing(name: str, options: dict[str, Any]) -> None:
    method = make(name, options)
    with Watched() as watched:
        for update in updates(method):
            take(method, update)
        method.after_step(0.5)
    assert not watched.asked
