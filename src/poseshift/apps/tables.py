"""Results as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for each named result of an evaluation: groups, mean, interval; fits 80 characters for the usual groups.

    Args:
        title: First line.
        rows: Name to a table of :func:`poseshift.engine.evaluate.evaluate` (its ``visible`` or ``labelled``).
    """
    groups = list(next(iter(rows.values()))["groups"])
    head = ["", *groups, "mean", "95 %"]
    lines = [[name, *_cells(row, groups)] for name, row in rows.items()]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    text = [title]
    for first, *numbers in [head, *lines]:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        text.append(" ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(text)


def _cells(row: Mapping[str, Any], groups: list[str]) -> list[str]:
    values = [row["groups"][group] for group in groups]
    return [*map(_number, [*values, row["pck@0.05"]]), "–".join(map(_number, row["interval"]))]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def evaluation_table(result: Mapping[str, Any]) -> str:
    """The scores of an evaluation by keypoint and group, all categories first, for a terminal."""
    parts = {"all": result, **{name: {"visible": part} for name, part in result.get("categories", {}).items()}}
    rows = {
        f"{name}, {counted}": part[counted]
        for name, part in parts.items()
        for counted in ("visible", "labelled")
        if counted in part
    }
    data = f"{result['data']} {result['split'] or ''}".strip()
    return text_table(f"PCK@0.05 (%), {result['protocol']}, {data}, step {result['checkpoint']}", rows)
