"""The comparison as one self-contained HTML file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from poseshift.apps import pages
from poseshift.apps.compare import tables
from poseshift.apps.compare.findings import Comparison, Line, Table
from poseshift.apps.compare.statistics import Difference
from poseshift.version import __version__


@dataclass(frozen=True, kw_only=True)
class Span:
    """A difference on an axis from 0 to 100, with the place of no difference."""

    low: float
    value: float
    high: float
    zero: float


def write(found: Comparison, out: Path, **more: Any) -> Path:
    """Writes the page; replaces it where it exists. ``more`` is what the page of another command adds."""
    plan = found.contents.plan
    return pages.write(
        out,
        "compare/page.html.j2",
        found=found,
        plan=plan,
        numbers=numbers(found),
        results=[(table, best(table), limit(table), spans(table)) for table in found.tables],
        text=tables,
        note=tables.NOTE,
        time=tables.TIME,
        recipe=yaml.safe_dump(
            {"common": plain(plan.recipe.common), "stages": plain(plan.recipe.stages)},
            sort_keys=False,
            allow_unicode=True,
        ),
        version=__version__,
        **{"charts": [], "charts_note": "", **more},
    )


def plain(tree: Any) -> Any:
    """Mappings and sequences as dicts and lists, for YAML."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


def numbers(found: Comparison) -> list[tuple[str, str, str]]:
    """The head's numbers: the baseline, and the best row that saw no target labels."""
    if not found.tables:
        return []
    table = found.tables[0]
    own = [line for line in table.lines if line.row.name == found.baseline]
    chosen = own + [line for line in table.lines if line.row.name == best(table) and line not in own]
    return [_number(line) for line in chosen if line.mean is not None]


def _number(line: Line) -> tuple[str, str, str]:
    difference = line.differences.get("mean")
    beside = "" if difference is None else f"{tables.signed(difference.value)} points, {difference.verdict}"
    return tables.shown(line.mean), beside, line.row.name


def best(table: Table) -> str | None:
    """Name of the row of the highest mean among those that used no target labels; None with fewer than two rows."""
    fair = [line for line in table.lines if line.mean is not None and not line.row.oracle]
    return max(fair, key=lambda line: line.mean.mean if line.mean else 0.0).row.name if len(fair) > 1 else None


def limit(table: Table) -> float:
    """Points at both ends of the axis of differences, a round number."""
    ends = [abs(end) for line in table.lines for d in _mean_of(line) for end in (d.low, d.high)]
    return max(1.0, _round_up(max(ends, default=1.0)))


def _round_up(value: float) -> float:
    unit = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return math.ceil(value / unit) * unit


def spans(table: Table) -> dict[str, Span]:
    """Every row's difference of means on the axis of its table."""
    end = limit(table)
    place = {
        line.row.name: [50 + 50 * v / end for v in (d.low, d.value, d.high)]
        for line in table.lines
        for d in _mean_of(line)
    }
    return {name: Span(low=low, value=value, high=high, zero=50.0) for name, (low, value, high) in place.items()}


def _mean_of(line: Line) -> list[Difference]:
    return [line.differences["mean"]] if "mean" in line.differences else []
