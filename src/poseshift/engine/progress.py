"""A progress bar with the time that is left; on a pipe, a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

INTERVAL = 20.0


class Progress:
    """Progress of one run, on standard error."""

    def __init__(self, total: int, *, label: str, quiet: bool = False) -> None:
        self.total, self.label, self.quiet = total, label, quiet
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal and not quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, TextColumn("{task.fields[note]}"), console=self._console, disable=not self._live)
        self._began = self._said = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Progress:
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=self.total, note="")
        self._began = self._said = time.monotonic()
        return self

    def __exit__(self, *details: object) -> None:
        self._bar.stop()

    def advance(self, done: int, values: Mapping[str, float]) -> None:
        """Shows that ``done`` steps are done, with the latest values of the terms."""
        self._first = done - 1 if self._first is None else self._first
        note = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._bar.update(self._task, completed=done, note=note)
        now = time.monotonic()
        if not self._live and not self.quiet and (now - self._said > INTERVAL or done == self.total):
            self._said = now
            left = (now - self._began) / max(done - self._first, 1) * (self.total - done)
            print(f"{self.label}: {done}/{self.total}, {left / 60:.1f} min left  {note}", file=sys.stderr, flush=True)


def speaks() -> bool:
    """Whether this is the first of the processes that ``torchrun`` started, told without torch."""
    return os.environ.get("RANK", "0") == "0"


class Counter:
    """A bar over instances, called with the number done; on a pipe, if it is known how many, a line now and then."""

    def __init__(self, bars: Bar, label: str) -> None:
        self._bars, self._label, self._live = bars, label, bars.console.is_terminal
        self._task = bars.add_task(label, total=None)
        self._total, self._done = 0, 0
        self._began = self._said = time.monotonic()

    def expect(self, total: int) -> None:
        """Says how many there are."""
        self._total, self._began = total, time.monotonic()
        self._bars.update(self._task, total=total)

    def __call__(self, count: int) -> None:
        """Some more are done."""
        self._done += count
        self._bars.advance(self._task, count)
        now = time.monotonic()
        if self._total and not self._live and speaks() and now - self._said > INTERVAL:
            self._said = now
            left = (now - self._began) / self._done * (self._total - self._done)
            print(f"{self._label}: {self._done}/{self._total}, {left / 60:.1f} min left", file=sys.stderr, flush=True)


@contextmanager
def bar(label: str) -> Iterator[Counter]:
    """A bar over instances; yields what to call with the number done, and to tell how many to expect."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not (console.is_terminal and speaks())) as bars:
        yield Counter(bars, label)
