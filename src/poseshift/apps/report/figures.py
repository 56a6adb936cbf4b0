"""Charts as inline SVG that take their colours from the page, so that they read in light and in dark.

Matplotlib draws with placeholder colours that are then replaced by CSS variables; text stays text. Words of users
(names of runs) never pass through matplotlib, which would read ``$`` as mathematics: they stand in the page's legend.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import count
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from poseshift.types import FloatArray

INK, GRID, PAPER = "#0a0b01", "#0a0b02", "#0a0b03"
_VARIABLES = {INK: "var(--muted)", GRID: "var(--line)", PAPER: "var(--card)"}
_SERIES = {f"#0a0c{number:02d}": f"var(--s{number})" for number in range(1, 10)}
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)))
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "poseshift",
    "font.size": 9.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Line:
    """A curve: ``(x, y)`` points, the number of its CSS colour and of its dash pattern, and an x to mark."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int
    dash: int = 0
    mark: float | None = None


def series(colour: int) -> str:
    """The placeholder of a CSS colour."""
    return f"#0a0c{colour:02d}"


def line_chart(curves: Sequence[Line], *, title: str, unit: str = "", log: bool = False) -> Markup:
    """Curves over steps."""
    with mpl.rc_context(STYLE):
        figure, axes = canvas(3.5, 2.05)
        for line in curves:
            x, y = np.array(line.points, np.float64).T
            marker = "o" if np.isfinite(y).sum() == 1 else None
            axes.plot(x, y, color=series(line.colour), linestyle=DASHES[line.dash], marker=marker, markersize=4)
            if line.mark is not None and line.mark in x:
                at = float(y[np.flatnonzero(x == line.mark)[-1]])
                axes.plot([line.mark], [at], "o", ms=6.5, mfc=series(line.colour), mec=PAPER, mew=1.5)
        positive = [value for line in curves for _, value in line.points if 0 < value < math.inf]
        if log and positive:
            axes.set_yscale("log")
            # Whole decades: a narrower axis could be left without any tick.
            decades = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
            axes.set_ylim(10.0 ** decades[0], 10.0 ** max(decades[1], decades[0] + 1))
            axes.yaxis.set_major_locator(LogLocator(numticks=6))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(_power))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}{unit}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _steps(value)))
        axes.set_xlabel("step")
        return inline(figure, title=title, words="; ".join(f"{line.label}: {_trend(line, unit)}" for line in curves))


def histogram_chart(
    values: Sequence[tuple[str, FloatArray, int]], *, high: float, title: str, low: float = 0.0
) -> Markup:
    """Shares of scores in 24 bins from ``low`` to ``high``, one outline for each ``(label, scores, colour)``."""
    bins = np.linspace(low, high, 25)
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = canvas(2.5, 1.3)
        for _, scores, colour in values:
            kept = scores[np.isfinite(scores)]
            shares = np.histogram(kept, bins=bins)[0] / max(len(kept), 1)
            axes.stairs(shares, bins, fill=True, color=series(colour), alpha=0.22, linewidth=0)
            axes.stairs(shares, bins, color=series(colour), linewidth=1.6)
        axes.set_yticks([])
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        words = "; ".join(f"{label}: median {float(np.nanmedian(scores)):.2f}" for label, scores, _ in values)
        return inline(figure, title=title, words=words)


def reliability_chart(
    curves: Sequence[tuple[str, Sequence[float], Sequence[float], Sequence[float], int, int]], *, title: str
) -> Markup:
    """Share right over score, with the diagonal of perfect calibration.

    Args:
        curves: ``(label, scores, shares right, counts, colour, dash)`` of bins that hold something; the area of a dot
            is its share of the keypoints.
        title: Of the chart, for those who do not see it.
    """
    with mpl.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure, axes = canvas(2.9, 2.7)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=(0, (2, 3)))
        for _, scores, shares, counts, colour, dash in curves:
            axes.plot(scores, shares, color=series(colour), linestyle=DASHES[dash], linewidth=1.4)
            area = 12 + 180 * np.array(counts) / max(sum(counts), 1)
            axes.scatter(scores, shares, s=area, color=series(colour), alpha=0.75, linewidth=0)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("score")
        axes.set_ylabel("share right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        words = "; ".join(
            f"{label}: {', '.join(f'{share:.2f} right at {score:.2f}' for score, share in zip(s, r, strict=True))}"
            for label, s, r, *_ in curves
        )
        return inline(figure, title=title, words=words)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that size in inches without a background, and its axes; within ``mpl.rc_context(STYLE)``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _power(value: float, position: int | None = None) -> str:
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPT) if value > 0 else ""


def _steps(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"


def _trend(line: Line, unit: str) -> str:
    """A curve in words, for those who do not see it."""
    finite = [(x, y) for x, y in line.points if math.isfinite(y)]
    if not finite:
        return "no finite value"
    (first, start), (last, end) = finite[0], finite[-1]
    return f"{start:.3g}{unit} at step {first:g}, {end:.3g}{unit} at step {last:g}"


_numbers = count(1)


def standalone(figure: Figure) -> str:
    """The figure as an SVG file in the colours of the light page, on white."""
    page = resources.files("poseshift.apps.report").joinpath("style.css").read_text(encoding="utf-8")
    colours: dict[str, str] = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", page.partition("}")[0]))
    text = _svg(figure)
    for placeholder, variable in (_VARIABLES | _SERIES).items():
        text = text.replace(placeholder, colours.get(variable[6:-1], colours["ink"]))
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}'


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def inline(figure: Figure, *, title: str, words: str) -> Markup:
    """The figure as an ``<svg>`` element: scalable, named for screen readers, with ids that no other chart has."""
    text = _svg(figure)
    for placeholder, variable in (_VARIABLES | _SERIES).items():
        text = text.replace(placeholder, variable)
    prefix = f"c{next(_numbers)}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'((?:xlink:)?href="|url\()#', rf"\1#{prefix}", text)
    text = re.sub(r"font:\s*([\d.]+px)[^;\"]*", r"font-size: \1", text)
    box = re.search(r'viewBox="[^"]+"', text)
    head = f'<svg class="chart" role="img" {box.group() if box else ""} xmlns:xlink="http://www.w3.org/1999/xlink"'
    label = f'aria-label="{escape(f"Chart of {title}. {words}.")}"'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: f"{head} {label}>", text, count=1))
