"""The score against each swept value, as the paper's Figure 2 has it: one panel a key, error bars over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from poseshift.apps.compare.findings import Comparison, Line, Table
from poseshift.apps.compare.statistics import Estimate, estimate
from poseshift.apps.report.charts import Chart
from poseshift.apps.report.entries import COLOURS
from poseshift.apps.report.figures import DASHES, STYLE, canvas, inline, series, standalone
from poseshift.apps.sweep.axes import Axis

WIDTH, HEIGHT = 3.5, 2.4


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The score over one key where all others stand still; ``joined`` by a line, or points alone."""

    label: str
    points: tuple[tuple[Any, Estimate], ...]
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One key: its curves, and the values on its axis in order."""

    name: str
    scale: str
    values: tuple[Any, ...]
    curves: tuple[Curve, ...]
    note: str


def panels(found: Comparison, axes: Sequence[Axis]) -> list[Panel]:
    """A panel for each key that takes several values in the first table."""
    if not found.tables:
        return []
    table = found.tables[0]
    made = [_panel(table, axis, [other.name for other in axes if other is not axis]) for axis in axes]
    return [panel for panel in made if len(panel.values) > 1]


def _panel(table: Table, axis: Axis, others: Sequence[str]) -> Panel:
    name, groups = axis.name, dict[str, list[Line]]()
    for line in table.lines:
        label = ", ".join(f"{key} {line.row.marks[key]}" for key in others)
        groups.setdefault(label, []).append(line)
    # Draws from a range stand nowhere still while others move.
    kept = {label: lines for label, lines in groups.items() if len(lines) > 1 and axis.span is None}
    note = ""
    if not kept:
        note, curves = "each point is a setting of its own", [_curve("", table.lines, name, joined=False)]
    elif len(kept) > COLOURS:
        note, curves = f"means over {len(kept)} settings of the others", [_averaged(list(kept.values()), name)]
    else:
        curves = [_curve(label, lines, name) for label, lines in kept.items()]
    values = {value for curve in curves for value, _ in curve.points}
    return Panel(name=name, scale=_scale(values), values=_ordered(values), curves=tuple(curves), note=note)


def _curve(label: str, lines: Sequence[Line], name: str, *, joined: bool = True) -> Curve:
    points = [(line.row.marks[name], line.mean) for line in lines]
    return Curve(label=label, points=tuple((value, mean) for value, mean in points if mean is not None), joined=joined)


def _averaged(groups: Sequence[Sequence[Line]], name: str) -> Curve:
    """The mean over the others' settings, seed by seed, and its error over seeds."""
    values: dict[Any, list[Line]] = {}
    for lines in groups:
        for line in lines:
            values.setdefault(line.row.marks[name], []).append(line)
    points = []
    for value, lines in values.items():
        seeds = set.intersection(*(set(line.row.scored) for line in lines))
        each = [[_mean_of(line, seed) for line in lines] for seed in sorted(seeds)]
        found = estimate([sum(known) / len(known) for row in each if (known := [v for v in row if v is not None])])
        if found is not None:
            points.append((value, found))
    return Curve(label="", points=tuple(points))


def _mean_of(line: Line, seed: int) -> float | None:
    table: dict[str, Any] = next(iter(line.row.scored[seed].tables.values()))
    value: float | None = table["visible"]["pck@0.05"]
    return value


def _scale(values: set[Any]) -> str:
    """``log`` where positive numbers span a decade, ``linear`` for other numbers, else ``names``."""
    if not all(isinstance(value, (int, float)) for value in values):
        return "names"
    low, high = min(values, default=1), max(values, default=1)
    if low > 0:
        return "log" if high >= 10 * low else "linear"
    positive = [value for value in values if value > 0]
    # 0 among values of several decades has no place on either axis.
    return "names" if positive and high >= 10 * min(positive) and len(positive) > 1 else "linear"


def _ordered(values: set[Any]) -> tuple[Any, ...]:
    numbers = [value for value in values if isinstance(value, (int, float))]
    return (*sorted(numbers), *sorted(str(value) for value in values if not isinstance(value, (int, float))))


def charts(found: Comparison, axes: Sequence[Axis]) -> list[Chart]:
    """The panels for the page."""
    made = []
    for panel in panels(found, axes):
        with mpl.rc_context(STYLE):
            figure, place = canvas(WIDTH, HEIGHT)
            _draw(place, panel)
            svg = inline(figure, title=f"PCK@0.05 against {panel.name}", words=_words(panel))
        legend = tuple((c.label, n % COLOURS + 1, n % len(DASHES)) for n, c in enumerate(panel.curves) if c.label)
        made.append(Chart(title=panel.name, note=panel.note, svg=svg, legend=legend, own_legend=True))
    return made


def svg(found: Comparison, axes: Sequence[Axis]) -> str | None:
    """All panels side by side as an SVG file; None where nothing was swept over."""
    shown = panels(found, axes)
    if not shown:
        return None
    with mpl.rc_context({**STYLE, "axes.spines.left": True}):
        figure = Figure(figsize=(WIDTH * len(shown), HEIGHT + 0.4), layout="constrained")
        for number, panel in enumerate(shown):
            place = figure.add_subplot(1, len(shown), number + 1)
            _draw(place, panel)
            place.set_ylabel("PCK@0.05 (%)" if number == 0 else "")
            labels = [_plain(curve.label) for curve in panel.curves if curve.label]
            if labels:
                place.legend(labels, fontsize=7, frameon=False)
        return standalone(figure)


def _draw(place: Axes, panel: Panel) -> None:
    at = {value: number for number, value in enumerate(panel.values)} if panel.scale == "names" else {}
    for number, curve in enumerate(panel.curves):
        points = sorted((float(at.get(value, value)) if at else float(value), mean) for value, mean in _sortable(curve))
        place.errorbar(
            [x for x, _ in points],
            [mean[0] for _, mean in points],
            yerr=[mean[1] for _, mean in points],
            color=series(number % COLOURS + 1),
            linestyle=DASHES[number % len(DASHES)] if curve.joined else "none",
            marker="o",
            markersize=4,
            capsize=2.5,
            elinewidth=1.2,
        )
    if panel.scale == "log":
        place.set_xscale("log")
        place.xaxis.set_major_locator(LogLocator(numticks=6))
        place.xaxis.set_minor_locator(NullLocator())
        place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif panel.scale == "names":
        place.set_xticks(range(len(panel.values)), [_plain(str(value)) for value in panel.values])
    else:
        place.xaxis.set_major_locator(MaxNLocator(5))
        place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    place.yaxis.set_major_locator(MaxNLocator(5))
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    place.set_xlabel(_plain(panel.name))


def _sortable(curve: Curve) -> list[tuple[Any, tuple[float, float]]]:
    return [(value, (mean.mean, mean.error or 0.0)) for value, mean in curve.points]


def _plain(text: str) -> str:
    """A ``$`` of a user is no mathematics."""
    return text.replace("$", r"\$")


def _words(panel: Panel) -> str:
    """The panel for those who do not see it."""
    told = []
    for curve in panel.curves:
        points = ", ".join(f"{mean.mean:.1f} at {value}" for value, mean in curve.points)
        told.append(f"{curve.label}: {points}" if curve.label else points)
    return "; ".join(told)
