"""Correlation and regret of scores without labels, as text; see ``selection.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from poseshift.engine import select

Row = Mapping[str, Any]
Chooser = Callable[[Row], int]

ORACLE = "best (by labels)"
LAST = "last"
DEFAULT = "**default**"
ADAPTED = "default without the guard"


def scores_of(row: Row) -> dict[int, dict[str, float]]:
    """The scores of a run's checkpoints, by step."""
    return {int(step): found for step, found in row["scores"].items()}


def truth_of(row: Row) -> dict[int, float]:
    """PCK of a run's checkpoints, by step."""
    return {int(step): value for step, value in row["truth"].items()}


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Correlation of ranks; NaN where either does not vary."""
    first, second = (np.asarray(select.ranks(values)) for values in (one, other))
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def within(rows: Sequence[Row], name: str) -> list[float]:
    """Correlation of a score with truth over the checkpoints of each run that has it."""
    found = []
    for row in rows:
        values, truth = select.goodness(scores_of(row), name), truth_of(row)
        if values:
            found.append(spearman(list(values.values()), [truth[step] for step in values]))
    return [value for value in found if not np.isnan(value)]


def across(rows: Sequence[Row], name: str) -> float:
    """Correlation of a score with truth over the last checkpoints of all runs: over hyper-parameters."""
    last = [(scores_of(row)[max(scores_of(row))], truth_of(row)[max(truth_of(row))]) for row in rows]
    pairs = [(select.BETTER[name] * scores[name], truth) for scores, truth in last if name in scores]
    return spearman(*zip(*pairs, strict=True)) if len(pairs) > 2 else float("nan")


def adapted(row: Row) -> dict[int, dict[str, float]]:
    """The candidates of a run, without its start."""
    return {step: found for step, found in scores_of(row).items() if step}


def choosers() -> dict[str, Chooser]:
    """Every rule: a run's row to the step that it chooses."""
    found: dict[str, Chooser] = {
        ORACLE: lambda row: max(truth_of(row), key=lambda step: truth_of(row)[step]),
        LAST: lambda row: max(truth_of(row)),
        "start": lambda row: min(truth_of(row)),
    }
    for name in select.BETTER:
        found[name] = lambda row, name=name: select.running(adapted(row), [name])  # type: ignore[misc]
    found[ADAPTED] = lambda row: select.running(adapted(row), select.COMBINED)
    found[DEFAULT] = lambda row: select.choose(scores_of(row))[0]
    return found


def regrets(rows: Sequence[Row], chooser: Chooser) -> list[float]:
    """Points of PCK that each run loses to its best checkpoint, its start among them."""
    return [max(truth_of(row).values()) - truth_of(row)[chooser(row)] for row in rows]


def number(value: float, places: int = 2) -> str:
    """A number, or a dash."""
    return "–" if np.isnan(value) else f"{value:.{places}f}"


def markdown(name: str | None, rows: Sequence[Row], about: str) -> str:
    """The tables as text."""
    checkpoints = sum(len(row["truth"]) for row in rows)
    lines = [f"# Selection without labels: {name}", "", about, ""]
    lines += [
        f"{len(rows)} runs, {checkpoints} checkpoints, starts among them. Spearman's correlation with PCK@0.05, "
        "signed so that 1 is good: over the checkpoints of a run (mean over runs), and over the last of all runs.",
        "",
    ]
    lines += ["| score | over checkpoints | runs | over hyper-parameters |", "|---|---|---|---|"]
    for score in select.BETTER:
        inside = within(rows, score)
        mean = float(np.mean(inside)) if inside else float("nan")
        lines.append(f"| {score} | {number(mean)} | {len(inside)} | {number(across(rows, score))} |")
    lines += ["", "Regret: points of PCK@0.05 lost to the best checkpoint of each run, its start among them.", ""]
    lines += ["| rule | mean | worst |", "|---|---|---|"]
    for rule, chooser in choosers().items():
        if rule != ORACLE:
            lost = regrets(rows, chooser)
            lines.append(f"| {rule} | {np.mean(lost):.2f} | {max(lost):.1f} |")
    lines += ["", *each(rows)]
    return "\n".join(lines) + "\n"


def each(rows: Sequence[Row]) -> list[str]:
    """One line for each run."""
    lines = ["| run | method | start | best | last | default | its step | guard |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        truth = truth_of(row)
        step, why = select.choose(scores_of(row))
        values = (truth[0], max(truth.values()), truth[max(truth)], truth[step])
        cells = " | ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {row['run']} | {row['method']} | {cells} | {step} | {why or chr(8211)} |")
    return lines
