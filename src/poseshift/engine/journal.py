"""``metrics.jsonl``: raw value and weight of every term, one JSON object a line; and ``log.txt``.

Values are means over the steps since the line before, and over processes; they stay on the device until a line is due.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


class Journal:
    """The log of one run."""

    def __init__(self, folder: Path, *, every: int) -> None:
        self.file, self.every = folder / "metrics.jsonl", every
        self.latest: dict[str, float] = {}
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}
        self._norms: dict[str, Tensor] = {}
        self._rates: dict[str, float] = {}
        self._steps, self._seconds = 0, 0.0
        self.begin_step()

    def cut(self, step: int) -> None:
        """Removes lines beyond ``step``, so that a resumed run writes what the uninterrupted one would have."""
        if not self.file.is_file():
            return
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        checkpoint.write_text(self.file, "".join(kept))

    def record(self, update: Update, *, number: int, norm: Tensor, norms: Mapping[str, Tensor]) -> None:
        """Adds one update."""
        for name, term in update.terms.items():
            self._add(name, term.value)
            self._weights[name] = term.weight
        for name, value in update.monitors.items():
            self._add(f"monitor/{name}", value)
        self._add(f"gradient/{number}" if number else "gradient", norm)
        self._norms.update(norms)

    def begin_step(self) -> None:
        """Keeps what :meth:`abandon_step` goes back to."""
        self._kept = dict(self._sums), dict(self._weights), dict(self._norms)

    def abandon_step(self) -> None:
        """Takes back what was recorded since the step began."""
        self._sums, self._weights, self._norms = self._kept

    def _add(self, name: str, value: Tensor) -> None:
        value = value.detach().float()
        self._sums[name] = value if name not in self._sums else self._sums[name] + value

    def end_step(self, rates: Mapping[str, float], *, seconds: float) -> None:
        """Ends a step."""
        self._rates, self._steps, self._seconds = dict(rates), self._steps + 1, self._seconds + seconds

    def flush_if_due(self, step: int) -> None:
        """Writes a line every so many steps."""
        if step % self.every == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Writes the line of the steps since the last one."""
        if not self._steps:
            return
        names = list(self._sums)
        sums = [self._sums[name].cpu() for name in names]
        # a method may have nothing to train
        means = (collective.mean(torch.stack(sums)) / self._steps).tolist() if sums else []
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
