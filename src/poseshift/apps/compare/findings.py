"""What a comparison found, read from the folder's runs: rows, and a table for each split and category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from poseshift import metrics
from poseshift.apps.compare import folder, planning, results, scoring
from poseshift.apps.compare.cost import Cost, cost, taken
from poseshift.apps.compare.folder import Contents
from poseshift.apps.compare.results import Instances, Result, Results
from poseshift.apps.compare.scoring import Scored
from poseshift.apps.compare.statistics import Difference, Estimate, differences, estimate
from poseshift.engine.run import Run, open_run
from poseshift.metrics import Hits

WAITING = "not finished; the same command goes on"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stage of a table.

    Attributes:
        name: Of the stage.
        method: Its method.
        marks: What stands beside its name, such as the levels that are on.
        scored: By seed.
        missing: Seeds without a score, and why.
        labels: What training did with target labels: ``no``, ``monitoring only`` or ``yes: oracle``.
        selection: The rule by which checkpoints were chosen.
        steps: The scored checkpoint of each seed.
        cost: None without a finished run.
        device: That it was trained on.
        code: Commits that trained it, ten digits of each; versions where an installed package did.
    """

    name: str
    method: str
    marks: Mapping[str, Any]
    scored: Mapping[int, Scored]
    missing: Mapping[int, str]
    labels: str
    selection: str
    steps: tuple[int, ...]
    cost: Cost | None
    device: str
    code: tuple[str, ...]

    @property
    def oracle(self) -> bool:
        """Whether target labels shaped it."""
        return self.labels.startswith("yes")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row's numbers in one table, percent.

    Attributes:
        row: The row.
        groups: By keypoint group, over visible keypoints; None where no keypoint of a group counts.
        mean: Over the keypoints that the field's tables average.
        labelled: The same mean, occluded keypoints included; None where a table has none.
        differences: Against the baseline, by group and ``mean``; empty for the baseline itself.
    """

    row: Row
    groups: Mapping[str, Estimate | None]
    mean: Estimate | None
    labelled: Estimate | None
    differences: Mapping[str, Difference]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One split, or one category of it.

    Attributes:
        split: Of the test data.
        category: Empty for all.
        groups: Columns.
        instances: Scored.
        lines: Of the rows that have a score.
    """

    split: str
    category: str
    groups: tuple[str, ...]
    instances: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that the written tables show.

    Attributes:
        name: Of the recipe.
        contents: What was asked for.
        rows: One a stage.
        tables: One a split and category.
        starts: What the starts that rows share cost: name to mean seconds a seed.
        command: Of this call.
        known: The scored runs themselves.
    """

    name: str
    contents: Contents
    rows: tuple[Row, ...]
    tables: tuple[Table, ...]
    starts: Mapping[str, float]
    command: str
    known: Results

    @property
    def baseline(self) -> str:
        """The row that others are compared with."""
        return self.contents.plan.baseline

    @property
    def marks(self) -> tuple[str, ...]:
        """Columns beside the rows' names."""
        return tuple(dict.fromkeys(key for row in self.rows for key in row.marks))

    @property
    def failed(self) -> dict[str, dict[int, str]]:
        """Seeds without a score, by row, and why."""
        return {row.name: dict(row.missing) for row in self.rows if row.missing}


def gather(out: Path, contents: Contents, *, name: str, command: str) -> Comparison:
    """Reads what is there; rows without any score keep their reasons.

    Raises:
        DataError: The test data cannot be read, or are not what runs were scored on.
    """
    recipe, runs = planning.sharing(contents.plan.recipe)
    known = known_of(out, contents)
    results.refuse_other_instances(known, out)
    reasons = folder.failures(out)
    rows = [
        _row(stage, recipe.stage(runs[stage], Path()).method.name, contents, known, reasons.get(runs[stage], {}))
        for stage in contents.plan.rows
    ]
    return Comparison(
        name=name,
        contents=contents,
        rows=tuple(rows),
        tables=tuple(_tables(rows, known, contents.plan.baseline)),
        starts={stage: sum(s.values()) / len(s) for stage, s in known.starts.items() if s},
        command=command,
        known=known,
    )


def known_of(out: Path, contents: Contents) -> Results:
    """Scored runs of the folder, and those that were added to it."""
    _, runs = planning.sharing(contents.plan.recipe)
    found: dict[str, dict[int, Result]] = {}
    for row, seeds in contents.seeds.items():
        each = {seed: results.of_run(folder.runs_of(out, seed) / runs[row], contents.plan.test) for seed in seeds}
        found[row] = {seed: one for seed, one in each.items() if one is not None}
    shared = [
        stage for stage in runs if runs[stage] == stage and stage not in {runs[row] for row in contents.plan.rows}
    ]
    own = Results(rows=found, starts={stage: _seconds(out, contents, stage) for stage in shared})
    whole = own.over(contents.added)
    return replace(whole, instances={**whole.instances, **_instances(out, contents, own, runs)})


def _instances(out: Path, contents: Contents, own: Results, runs: Mapping[str, str]) -> dict[str, Instances]:
    """What the folder's own runs were scored on, read from the test data as they are now."""
    scored = ((row, seed, one) for row, seeds in own.rows.items() for seed, one in seeds.items())
    first = next(scored, None)
    if first is None:
        return {}
    row, seed, one = first
    run = open_run(folder.runs_of(out, seed) / runs[row])
    found = {}
    for split in one.scored.hits:
        found[split] = Instances.of(scoring.instances_of(run, contents.plan.test, split))
    return found


def _row(stage: str, method: str, contents: Contents, known: Results, reasons: Mapping[str, str]) -> Row:
    each = {seed: known.rows[stage][seed] for seed in contents.seeds[stage] if seed in known.rows.get(stage, {})}
    found = list(each.values())
    return Row(
        name=stage,
        method=method,
        marks=contents.plan.rows[stage],
        scored={seed: one.scored for seed, one in each.items()},
        missing={seed: reasons.get(str(seed), WAITING) for seed in contents.seeds[stage] if seed not in each},
        labels=found[0].labels if found else "unknown",
        selection=found[0].selection if found else "unknown",
        steps=tuple(one.scored.step for one in found),
        cost=cost([one.taken for one in found]),
        device=", ".join(dict.fromkeys(one.scored.device for one in found)),
        code=tuple(dict.fromkeys(one.code for one in found)),
    )


def _seconds(out: Path, contents: Contents, stage: str) -> dict[int, float]:
    paths = {seed: folder.runs_of(out, seed) / stage for seed in contents.plan.seeds}
    there: dict[int, Run] = {s: open_run(path) for s, path in paths.items() if (path / "manifest.json").is_file()}
    return {seed: taken(run).seconds for seed, run in there.items() if run.finished}


def _tables(rows: Sequence[Row], known: Results, baseline: str) -> list[Table]:
    filled = [row for row in rows if row.scored]
    if not filled:
        return []
    tables = []
    for split in next(iter(filled[0].scored.values())).hits:
        instances = known.instances[split]
        tables.append(_table(filled, baseline, split, "", instances))
        names = sorted(set(instances.categories.tolist()))
        if len(names) > 1:
            tables += [_table(filled, baseline, split, name, instances) for name in names]
    return tables


def _table(rows: Sequence[Row], baseline: str, split: str, category: str, instances: Instances) -> Table:
    whole = np.ones(len(instances.categories), np.bool_)
    mask = instances.categories == category if category else whole
    weights = metrics.bootstrap_weights(instances.image_index[mask])
    hits = {row.name: {seed: _part(one.hits[split], mask) for seed, one in row.scored.items()} for row in rows}
    lines = []
    for row in rows:
        found = [
            one.tables[split]["categories"][category] if category else one.tables[split]["visible"]
            for one in row.scored.values()
        ]
        labelled = [] if category else [one.tables[split]["labelled"]["pck@0.05"] for one in row.scored.values()]
        compared = row.name != baseline and baseline in hits
        lines.append(
            Line(
                row=row,
                groups={group: estimate([one["groups"][group] for one in found]) for group in found[0]["groups"]},
                mean=estimate([one["pck@0.05"] for one in found]),
                labelled=estimate(labelled),
                differences=differences(hits[row.name], hits[baseline], weights, instances.skeleton)
                if compared
                else {},
            )
        )
    groups = tuple(lines[0].groups)
    return Table(split=split, category=category, groups=groups, instances=int(mask.sum()), lines=tuple(lines))


def _part(hits: Hits, mask: metrics.BoolArray) -> Hits:
    return Hits(right=hits.right[mask], counted=hits.counted[mask])
