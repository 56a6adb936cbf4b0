"""``metrics.jsonl``: raw value and weight of every term, one JSON object a line; and ``log.txt``.

Values are means over the steps since the line before, and over processes; they stay on the device until a line is due.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poseshift.engine import checkpoint, processes
from poseshift.methods.base import Update
from poseshift.ops import collective


@contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Appends what poseshift logs, with the time, to ``file`` as long as the context lasts."""
    logger, handler = logging.getLogger("poseshift"), logging.FileHandler(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


HELD = 2
"""Steps that can be taken back: the newest, and the one before it."""


@dataclass
class _Step:
    """What one step said: values in their order, and what belongs to them."""

    number: int
    values: list[tuple[str, Tensor]] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Journal:
    """The log of one run.

    Attributes:
        settle: Is called before a line is written; takes back what must not stand in it.
    """

    def __init__(self, folder: Path, *, every: int) -> None:
        self.file, self.every = folder / "metrics.jsonl", every
        self.latest: dict[str, float] = {}
        self.settle: Callable[[], None] = lambda: None
        self._now, self._held = _Step(0), deque[_Step]()
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}
        self._norms: dict[str, Tensor] = {}
        self._rates: dict[str, float] = {}
        self._steps, self._seconds = 0, 0.0

    def cut(self, step: int) -> None:
        """Removes lines beyond ``step``, so that a resumed run writes what the uninterrupted one would have."""
        if not self.file.is_file():
            return
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        checkpoint.write_text(self.file, "".join(kept))

    def record(self, update: Update, *, number: int, norm: Tensor, norms: Mapping[str, Tensor]) -> None:
        """Adds one update."""
        now = self._now
        values = {name: term.value for name, term in update.terms.items()}
        values |= {f"monitor/{name}": value for name, value in update.monitors.items()}
        values[f"gradient/{number}" if number else "gradient"] = norm
        now.values += [(name, value.detach().float()) for name, value in values.items()]
        now.weights |= {name: term.weight for name, term in update.terms.items()}
        now.norms |= norms

    def begin_step(self, number: int = 0) -> None:
        """Begins a step, and forgets one that was not ended."""
        self._now = _Step(number)

    def take_back(self, number: int) -> None:
        """Forgets an ended step, one of the newest :data:`HELD` since the last line."""
        self._held = deque(step for step in self._held if step.number != number)

    def end_step(self, rates: Mapping[str, float], *, seconds: float) -> None:
        """Ends a step."""
        self._now.rates, self._now.seconds = dict(rates), seconds
        self._held.append(self._now)
        self.begin_step()
        while len(self._held) > HELD:
            self._add(self._held.popleft())

    def _add(self, step: _Step) -> None:
        """Adds what a step said to the sums, in the order in which it was said."""
        for name, value in step.values:
            self._sums[name] = value if name not in self._sums else self._sums[name] + value
        self._weights |= step.weights
        self._norms |= step.norms
        self._rates, self._steps, self._seconds = step.rates, self._steps + 1, self._seconds + step.seconds

    def flush_if_due(self, step: int) -> None:
        """Writes a line every so many steps."""
        if step % self.every == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Writes the line of the steps since the last one."""
        self.settle()
        while self._held:
            self._add(self._held.popleft())
        if not self._steps:
            return
        names = list(self._sums)
        sums = [self._sums[name] for name in names]
        # a method may have nothing to train
        means = (collective.mean(torch.stack(sums).cpu()) / self._steps).tolist() if sums else []
        values = dict(zip(names, means, strict=True))
        line: dict[str, Any] = {
            "step": step,
            "terms": {name: {"value": values[name], "weight": weight} for name, weight in self._weights.items()},
            "monitors": {name.removeprefix("monitor/"): v for name, v in values.items() if name.startswith("monitor/")},
            "gradient": {name: v for name, v in values.items() if name.startswith("gradient")},
            "rates": self._rates,
            "seconds_per_step": round(self._seconds / self._steps, 6),
        }
        if self._norms:
            line["norms"] = {name: float(norm) for name, norm in self._norms.items()}
        self.latest = {name: values[name] for name in self._weights}
        self.write(line)
        self._reset()

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one object, as the first process. Raises :class:`CheckpointError` where the disk refuses."""
        if not processes.main():
            return
        checkpoint.append_line(self.file, json.dumps(line, allow_nan=False))
