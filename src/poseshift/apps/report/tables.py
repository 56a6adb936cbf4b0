"""Tables of runs by keypoint group, from the runs' evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poseshift.apps.report.entries import Entry, Evaluation, base

OWN_LABELS = "trained on labels of this data"
ALL_OWN_LABELS = "All runs were trained with labels of this data set."


@dataclass(frozen=True, kw_only=True)
class Score:
    """PCK@0.05 in percent of one run over one kind of keypoints; None where nothing counts."""

    mean: float | None
    low: float | None
    high: float | None
    groups: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run in one table.

    Attributes:
        entry: The run.
        mark: What it did with labels of this data.
        visible: Over visible keypoints.
        labelled: Over visible and occluded ones; None where that is the same.
        best: Highest mean of the runs that saw no target labels.
        note: Checkpoint and options of the evaluation.
    """

    entry: Entry
    mark: str
    visible: Score
    labelled: Score | None
    best: bool
    note: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table of all instances, or of one category.

    Attributes:
        name: Of the category, or empty.
        groups: Columns.
        rows: One a run.
        limit: Percent at the right end of the interval plots.
        count: Visible keypoints counted.
    """

    name: str
    groups: tuple[str, ...]
    rows: tuple[Row, ...]
    limit: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """One data set, split and protocol; the first part is of all instances, more are of categories."""

    data: str
    split: str
    protocol: str
    instances: int
    note: str
    parts: tuple[Part, ...]


def tables(shown: Sequence[Entry]) -> list[Table]:
    """One table for each data set, split and protocol, in the order in which the runs bring them."""
    keys = {one.key: None for entry in shown for one in entry.evaluations}
    # Target data first: what a run was evaluated on beside it, such as its source, comes after.
    targets = {base(entry.run.config.target) for entry in shown if entry.run.config.target}
    ordered = sorted(keys, key=lambda key: (base(key[0]) not in targets, key[2] != "exact"))
    return [_table([(entry, one) for entry in shown for one in entry.evaluations if one.key == key]) for key in ordered]


def _table(found: Sequence[tuple[Entry, Evaluation]]) -> Table:
    first = found[0][1].content
    names = list(dict.fromkeys(name for _, one in found for name in one.content.get("categories", {})))
    own = len(found) > 1 and all(_own(entry, one.content) for entry, one in found)
    parts = [_part("", [(entry, one.content, one.content) for entry, one in found])]
    for name in names:
        chosen = [
            (e, one.content, one.content["categories"][name])
            for e, one in found
            if name in one.content.get("categories", {})
        ]
        parts.append(_part(name, [(entry, content, {"visible": scores}) for entry, content, scores in chosen]))
    return Table(
        data=first["data"],
        split=first["split"] or "all",
        protocol=first["protocol"],
        instances=first.get("instances", 0),
        note=" ".join(part for part in (sentence(first.get("note", "")), ALL_OWN_LABELS if own else "") if part),
        parts=tuple(parts),
    )


def _part(name: str, found: Sequence[tuple[Entry, dict[str, Any], dict[str, Any]]]) -> Part:
    """One table of ``(run, evaluation, scores of this part)``."""
    groups = tuple(dict.fromkeys(group for _, _, scores in found for group in scores["visible"]["groups"]))
    fair = [scores["visible"]["pck@0.05"] for entry, _, scores in found if not entry.oracle]
    best = max((value for value in fair if value is not None), default=None)
    marked = len(found) == 1 or not all(_own(entry, content) for entry, content, _ in found)
    highs = [high for _, _, scores in found if (high := scores["visible"]["interval"][1]) is not None]
    return Part(
        name=name,
        groups=groups,
        rows=tuple(
            _row(entry, content, scores, best if len(found) > 1 else None, marked) for entry, content, scores in found
        ),
        limit=min(100.0, max(10.0, 10 * math.ceil(max(highs, default=0.0) / 10))),
        count=found[0][2]["visible"].get("count", 0),
    )


def _row(entry: Entry, content: dict[str, Any], scores: dict[str, Any], best: float | None, marked: bool) -> Row:
    visible = _score(scores["visible"])
    labelled = _score(scores["labelled"]) if "labelled" in scores else None
    mark = OWN_LABELS if marked and not entry.oracle and _own(entry, content) else entry.mark
    notes = [f"step {content['checkpoint']}"] if "checkpoint" in content else []
    notes += [str(content["pointer"])] if content.get("pointer") in ("best", "last") else []
    notes += ["flip test"] if content.get("flip_test") else []
    return Row(
        entry=entry,
        mark=mark,
        visible=visible,
        labelled=labelled if labelled != visible else None,
        best=best is not None and visible.mean == best and not entry.oracle,
        note=" · ".join(notes),
    )


def _own(entry: Entry, content: dict[str, Any]) -> bool:
    """Whether the run was trained on labels of the data set that it was evaluated on."""
    source = entry.run.config.source
    return source is not None and base(source) == base(content["data"])


def sentence(text: str) -> str:
    """``text`` as a sentence, with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _score(scores: Mapping[str, Any]) -> Score:
    low, high = scores["interval"]
    return Score(mean=scores["pck@0.05"], low=low, high=high, groups=scores["groups"])
