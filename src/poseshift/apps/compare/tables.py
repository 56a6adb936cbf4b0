"""The tables as Markdown, LaTeX and CSV: the same numbers three times."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from poseshift.apps.compare.findings import Comparison, Line, Row, Table
from poseshift.apps.compare.statistics import Difference, Estimate

NAMES = {"compare": "method", "ablate": "levels", "sweep": "setting"}
ORACLE = "uses target labels"
SHORT = 20
"""Characters of a name in the head of a column."""
NOTE = (
    "PCK@0.05 (%) over visible keypoints, mean ± standard error over seeds. Differences are paired on images and "
    "seeds, with 95 % bootstrap intervals over both; each stands alone, uncorrected for the number of rows. Target "
    "labels score finished runs and choose nothing."
)
TIME = (
    "Time is that of the row's own run, a mean over seeds; ≥ marks runs that were stopped and went on, of which only "
    "the steps are counted. Images are source and target images of training for each second of its steps."
)
_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_TEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "≥": r"$\geq$", "–": "--"}
_TEX |= {"✓": r"$\checkmark$", "→": r"$\to$"}


def markdown(found: Comparison) -> str:
    """All tables as text."""
    lines = [f"# {found.name}: {found.contents.plan.kind}", "", NOTE, "", f"`{found.command}`", ""]
    for table in found.tables:
        lines += [f"## {title(found, table)}", "", *_piped(*_scores(found, table)), ""]
    if any(row.scored for row in found.rows):
        lines += ["## Time, selection, labels", "", TIME, "", *_piped(*_costs(found)), ""]
        explained = [f"Checkpoints chosen {text}." for text, short in _selections(found).items() if short != text]
        lines += [line for one in explained for line in (one, "")]
    if found.starts:
        shared = ", ".join(f"{name} {duration(seconds)}" for name, seconds in found.starts.items())
        lines += [f"Runs that rows start from, trained once for each seed: {shared}.", ""]
    if found.failed:
        lines += ["## Without a score", ""]
        lines += [
            f"* {name}, seed {seed}: {why}" for name, seeds in found.failed.items() for seed, why in seeds.items()
        ]
        lines.append("")
    return "\n".join(lines)


def latex(found: Comparison) -> str:
    """A ``tabular`` for each table (packages: booktabs, amssymb)."""
    parts = [f"% {_comment(found.command)}", f"% {NOTE}", ""]
    for table in found.tables:
        head, rows = _scores(found, table)
        left = 1 + len(found.marks)
        parts += [f"% {_comment(title(found, table))}", rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(head) - left)}}}"]
        parts += [r"\toprule", _tex_row(head), r"\midrule", *(_tex_row(row) for row in rows), r"\bottomrule"]
        parts += [r"\end{tabular}", ""]
    parts += [
        f"% failed: {name}, seed {seed}: {_comment(why)}" for name, s in found.failed.items() for seed, why in s.items()
    ]
    return "\n".join(parts) + "\n"


def comma_separated(found: Comparison) -> str:
    """One record for each row of each table, with all digits; a row without a score has one with its reason."""
    records = [_record(found, table, line) for table in found.tables for line in table.lines]
    records += [{**_facts(found, row), "status": _status(row)} for row in found.rows if not row.scored]
    columns = list(dict.fromkeys(column for record in records for column in record))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def title(found: Comparison, table: Table) -> str:
    """What a table shows."""
    what = f"{found.contents.plan.test['data']}, {table.split}"
    return f"{what}{f', {table.category}' if table.category else ''} ({table.instances:,} instances)"


def _scores(found: Comparison, table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows of one table."""
    against = f"− {short_baseline(found)}"
    head = [
        NAMES[found.contents.plan.kind],
        *found.marks,
        "seeds",
        *table.groups,
        "mean",
        against,
        "95 % interval",
        "verdict",
    ]
    rows = []
    for line in table.lines:
        difference = line.differences.get("mean")
        rows.append(
            [
                _name(line.row),
                *(shown_mark(line.row.marks.get(mark)) for mark in found.marks),
                str(len(line.row.scored)),
                *(shown(line.groups.get(group)) for group in table.groups),
                shown(line.mean),
                *(("", "", "baseline") if line.row.name == found.baseline else _compared(difference)),
            ]
        )
    return head, rows


def short_baseline(found: Comparison) -> str:
    """Its name where that fits the head of a column."""
    return found.baseline if len(found.baseline) <= SHORT else "baseline"


def _compared(difference: Difference | None) -> tuple[str, str, str]:
    if difference is None:
        return "", "", "no seed in common"
    one = " (one seed)" if difference.seeds == 1 else f" ({difference.seeds} seeds)"
    span = f"{signed(difference.low)} to {signed(difference.high)}"
    return signed(difference.value), span, f"{difference.verdict}{one}"


def _costs(found: Comparison) -> tuple[list[str], list[list[str]]]:
    head = [
        NAMES[found.contents.plan.kind],
        "uses",
        "time",
        "images/s",
        "device",
        "scored step",
        "checkpoint chosen by",
        "target labels",
        "code",
    ]
    selections = _selections(found)
    rows = [
        [
            _name(row),
            row.method,
            *cost_cells(row),
            row.device,
            ", ".join(map(str, dict.fromkeys(row.steps))),
            selections[row.selection],
            row.labels,
            ", ".join(row.code),
        ]
        for row in found.rows
        if row.scored
    ]
    return head, rows


def _selections(found: Comparison) -> dict[str, str]:
    """What chose the checkpoints, in full, and what stands for it in a cell: the part before a colon, if one has it."""
    texts = dict.fromkeys(row.selection for row in found.rows if row.scored)
    begins = [text.partition(":")[0] for text in texts]
    return {text: begin if begins.count(begin) == 1 else text for text, begin in zip(texts, begins, strict=True)}


def cost_cells(row: Row) -> tuple[str, str]:
    """Time and images a second, as shown."""
    if row.cost is None:
        return "", ""
    rate = row.cost.images_per_second
    return f"{'' if row.cost.whole else '≥ '}{duration(row.cost.seconds)}", "" if rate is None else f"{rate:.0f}"


def _name(row: Row) -> str:
    return f"{row.name} ({ORACLE})" if row.oracle else row.name


def shown(value: Estimate | None) -> str:
    """``34.1 ± 0.2``; a dash where nothing counts."""
    if value is None:
        return "–"
    return f"{value.mean:.1f}" if value.error is None else f"{value.mean:.1f} ± {value.error:.1f}"


def shown_mark(value: Any) -> str:
    """A value beside a row's name: a tick for what is on."""
    return {True: "✓", False: "", None: ""}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def signed(value: float) -> str:
    """With its sign."""
    return f"{value:+.1f}".replace("-", "−")


def duration(seconds: float) -> str:
    """In the unit that reads best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _facts(found: Comparison, row: Row) -> dict[str, Any]:
    marks = {mark: row.marks.get(mark, "") for mark in found.marks}
    return {NAMES[found.contents.plan.kind]: row.name, **marks, "uses": row.method}


def _status(row: Row) -> str:
    reasons = "; ".join(f"seed {seed}: {why}" for seed, why in row.missing.items())
    if row.scored:
        return f"scored; {reasons}" if reasons else "scored"
    return reasons


def _record(found: Comparison, table: Table, line: Line) -> dict[str, Any]:
    row, cost = line.row, line.row.cost
    record = _facts(found, row) | {"data": found.contents.plan.test["data"], "split": table.split}
    record |= {"category": table.category, "seeds": " ".join(map(str, row.scored)), "status": _status(row)}
    for name, value in {**line.groups, "mean": line.mean, "labelled": line.labelled}.items():
        record |= {name: _number(value.mean if value else None)}
        record |= {f"{name} standard error": _number(value.error if value else None)}
    record["against"] = found.baseline
    for name in (*table.groups, "mean"):
        one: Mapping[str, Any] = vars(line.differences[name]) if name in line.differences else {}
        record |= {f"{name} {key}": _number(one.get(kind)) for key, kind in _DIFFERENCE.items()}
    record["verdict"] = line.differences["mean"].verdict if "mean" in line.differences else ""
    record |= {"seconds": _number(cost.seconds if cost else None), "seconds are whole": bool(cost and cost.whole)}
    record |= {"images per second": _number(cost.images_per_second if cost else None), "device": row.device}
    record |= {"scored steps": " ".join(map(str, row.steps)), "selection": row.selection, "target labels": row.labels}
    record["code"] = " ".join(row.code)
    return record


_DIFFERENCE = {"difference": "value", "low": "low", "high": "high"}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _piped(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(map(_piped_cell, cells)) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _piped_cell(text: str) -> str:
    return text.replace("|", r"\|")


def _tex_row(cells: list[str]) -> str:
    return " & ".join("".join(_TEX.get(letter, letter) for letter in cell) for cell in cells) + r" \\"


def _comment(text: str) -> str:
    return " ".join(text.split())
