"""What stands in the report's charts: learning curves, scores, gradient norms, confidences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from poseshift import metrics
from poseshift.apps.report.comparison import Comparison, Side
from poseshift.apps.report.entries import COLOURS, Entry
from poseshift.apps.report.figures import Line, histogram_chart, line_chart, reliability_chart
from poseshift.engine.collapse import UNITS, WORDS
from poseshift.types import FloatArray

Point = tuple[float, float]

SCORES = {
    "agreement": "Agreement without labels",
    "equivariance": "Equivariance error",
    "entropy": "Entropy of heatmaps",
    "information": "Information of heatmaps",
    "plausibility": "Distance from source poses",
    "coincidence": "Left and right on one spot",
    "validation": "PCK on held-out source",
    "monitor": "PCK on target labels (monitoring)",
}
COLLAPSES = {name: f"{WORDS[name].capitalize()}: {UNITS[name]}" for name in WORDS}
MONITORS = {
    "peak": "Mean peak of pseudo-labels",
    "trusted": "Share of pseudo-labels that is trusted",
    "accepted": "Share of pseudo-labels that is accepted",
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with its words.

    Attributes:
        title: Above it.
        note: Beside the title, such as a weight.
        svg: The picture.
        legend: ``(label, colour, dash)`` of each line.
        own_legend: Whether it stands below this chart, because the section's says something else.
    """

    title: str
    note: str
    svg: Markup
    legend: tuple[tuple[str, int, int], ...] = ()
    own_legend: bool = False


@dataclass(frozen=True, kw_only=True)
class Training:
    """The charts of a report's section on training."""

    terms: list[Chart]
    scores: list[Chart]
    norms: list[Chart]
    monitors: list[Chart]
    collapse: list[Chart]


def training(shown: Sequence[Entry]) -> Training:
    """Everything that ``metrics.jsonl`` logged; empty lists where it logged nothing."""
    return Training(
        terms=_by_name(shown, lambda line: {k: v["value"] for k, v in line.get("terms", {}).items()}, note=_weights),
        scores=_by_name(shown, lambda line: line.get("scores", {}), titles=SCORES, unit=" %", best=True),
        norms=_norms(shown),
        monitors=_by_name(shown, lambda line: line.get("monitors", {}), titles=MONITORS),
        collapse=_by_name(shown, lambda line: line.get("collapse", {}), titles=COLLAPSES, unit=" %", best=True),
    )


def curves(entry: Entry, values: Callable[[Mapping[str, Any]], Mapping[str, float | None]]) -> dict[str, list[Point]]:
    """``(step, value)`` of each name that ``values`` finds in the lines of a run's log."""
    found: dict[str, list[Point]] = {}
    for line in entry.metrics:
        for name, value in values(line).items():
            found.setdefault(name, []).append((float(line["step"]), math.nan if value is None else float(value)))
    return found


def _by_name(
    shown: Sequence[Entry],
    values: Callable[[Mapping[str, Any]], Mapping[str, float | None]],
    *,
    titles: Mapping[str, str] | None = None,
    note: Callable[[Sequence[Entry], str], str] = lambda shown, name: "",
    unit: str = "",
    best: bool = False,
) -> list[Chart]:
    """One chart for each name, with a line for each run that logged it."""
    found = [(entry, curves(entry, values)) for entry in shown]
    names = list(dict.fromkeys(name for _, lines in found for name in lines))
    charts = []
    for name in names:
        title = (titles or {}).get(name, name)
        lines = [
            Line(entry.label, lines[name], entry.colour, entry.dash, mark=_best_step(entry) if best else None)
            for entry, lines in found
            if name in lines
        ]
        svg, legend = line_chart(lines, title=title, unit=unit), _legend(lines)
        charts.append(Chart(title=title, note=note(shown, name), svg=svg, legend=legend))
    return charts


def _legend(lines: Sequence[Line]) -> tuple[tuple[str, int, int], ...]:
    return tuple((line.label, line.colour, line.dash) for line in lines)


def _weights(shown: Sequence[Entry], name: str) -> str:
    """The weight of a term: of the last line, where all runs agree."""
    found = set()
    for entry in shown:
        weights = [line["terms"][name]["weight"] for line in entry.metrics if name in line.get("terms", {})]
        found |= {f"{weights[-1]:g}".replace("-", "−")} if weights else set()
    return f"weight {found.pop()}" if len(found) == 1 else f"weights {', '.join(sorted(found))}"


def _best_step(entry: Entry) -> float | None:
    file = entry.run.checkpoints_path / "best"
    return float(file.read_text(encoding="utf-8").strip().removeprefix("step-")) if file.is_file() else None


def _norms(shown: Sequence[Entry]) -> list[Chart]:
    """One chart for each run that logged norms of several terms (of any, where no run has several)."""
    found = [(entry, curves(entry, lambda line: line.get("norms", {}))) for entry in shown]
    found = [(entry, norms) for entry, norms in found if len(norms) > 1] or [(e, norms) for e, norms in found if norms]
    # A term has one colour in all of the charts.
    names = list(dict.fromkeys(name for _, norms in found for name in norms))
    charts = []
    for entry, norms in found:
        numbers = [(name, names.index(name)) for name in norms]
        lines = [Line(name, norms[name], number % COLOURS + 1, number % 4) for name, number in numbers]
        svg = line_chart(lines, title=f"gradient norms of {entry.label}", log=True)
        charts.append(Chart(title=entry.label, note=entry.method, svg=svg, legend=_legend(lines), own_legend=True))
    return charts


def histograms(compared: Comparison) -> list[Chart]:
    """Confidences of each keypoint group, before and after."""
    skeleton = compared.skeleton
    count = compared.after.predictions.scores.shape[1]
    groups = dict(skeleton.groups) or {"all keypoints": tuple(range(count))}
    sides = [side for side in (compared.before, compared.after) if side is not None]
    high = max(1e-6, max(float(np.nanmax(side.predictions.scores, initial=0.0)) for side in sides))
    charts = []
    for name, members in groups.items():
        values: list[tuple[str, FloatArray, int]] = [
            (side.label, side.predictions.scores[:, list(members)].ravel(), side.colour) for side in sides
        ]
        medians = " → ".join(f"{float(np.nanmedian(scores)):.2f}" for _, scores, _ in values)
        svg = histogram_chart(values, high=high, title=f"confidence of {name}")
        charts.append(Chart(title=name, note=f"median {medians}", svg=svg))
    return charts


def reliability(compared: Comparison) -> list[Chart]:
    """How often keypoints of about equal scores are right, for each run; empty without labels."""
    return [
        _reliability(side)
        for side in (compared.before, compared.after)
        if side is not None and side.hits is not None and side.hits.counted.any()
    ]


def _reliability(side: Side) -> Chart:
    if side.hits is None:
        raise AssertionError("asked for without labels")
    kinds = [("raw", side.predictions.scores, 1), ("calibrated", side.calibrated, 0)]
    bins = [(name, metrics.reliability(scores, side.hits), dash) for name, scores, dash in kinds if scores is not None]
    curves = []
    for name, found, dash in bins:
        full = found.count > 0
        curves.append(
            (
                *(name, found.score[full].tolist(), found.right[full].tolist(), found.count[full].tolist()),
                *(side.colour if name == "calibrated" else 1, dash),
            )
        )
    errors = " → ".join(f"{100 * found.error:.1f} % {name}" for name, found, _ in bins)
    legend = tuple((name, colour, dash) for name, *_, colour, dash in curves)
    svg = reliability_chart(curves, title=f"reliability of {side.label}")
    return Chart(title=side.label, note=f"ECE {errors}", svg=svg, legend=legend, own_legend=True)
