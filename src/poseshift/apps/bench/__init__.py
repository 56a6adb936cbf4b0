"""`poseshift bench`: how fast training is on this machine, as ratios, each against its goal."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from poseshift.apps.bench.rows import ROWS
from poseshift.engine import allocation
from poseshift.errors import UsageError
from poseshift.version import __version__

Results = dict[str, dict[str, Any]]


def bench(names: Iterable[str] = (), *, quick: bool = False, say: Callable[[str], None] = lambda line: None) -> Results:
    """Measures rows.

    Args:
        names: Of :data:`ROWS`; none for all of them.
        quick: Small sizes: shows that it works, not how fast.
        say: Called with a line before each measurement.

    Returns:
        For each row ``value``, ``goal``, ``met``, ``unit`` and ``detail``: what the value was made of, the number of
        threads, and the load of the machine when it began.

    Raises:
        UsageError: A row that does not exist, or one that was asked for by name and needs what is not installed;
            without names such rows are left out.
    """
    named = list(names)
    wanted = named or list(ROWS)
    if unknown := [name for name in wanted if name not in ROWS]:
        raise UsageError(f"--rows: unknown row {unknown[0]!r}; known: {', '.join(ROWS)}")
    allocation.keep()  # as training does, for both sides of every row
    found: Results = {}
    for measure in dict.fromkeys(ROWS[name].measure for name in wanted):
        rows = [name for name in wanted if ROWS[name].measure is measure]
        say(f"measuring {', '.join(rows)}")
        at = {"threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1), "quick": quick}
        try:
            measured = measure(quick)
        except UsageError as error:
            if named:
                raise
            say(f"left out: {error}")
            continue
        for name in rows:
            row, one = ROWS[name], measured[name]
            detail = {**at, **{key: _short(value) for key, value in one.detail.items()}}
            found[name] = {"value": _short(one.value), "goal": row.goal, "met": row.met(one.value), "unit": row.unit}
            found[name]["detail"] = detail
    return {name: found[name] for name in wanted if name in found}


def _short(value: float | str) -> float | str:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def machine() -> str:
    """What it ran on, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"poseshift {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {cores} cores, "
        f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}"
    )


def text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as Markdown."""
    lines = ["| row | what | value | goal | |", "|---|---|---|---|---|"]
    for name, found in results.items():
        unit = f" {found['unit']}" if found["unit"] else ""
        met = "met" if found["met"] else "MISSED"
        lines.append(f"| {name} | {ROWS[name].what} | {found['value']:.3g}{unit} | {found['goal']}{unit} | {met} |")
    return "\n".join(lines)
