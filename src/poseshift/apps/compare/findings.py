"""What a comparison found, read from the folder's runs: rows, and a table for each split and category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseshift import metrics
from poseshift.apps.compare import folder, planning, scoring
from poseshift.apps.compare.cost import Cost, cost
from poseshift.apps.compare.folder import Contents
from poseshift.apps.compare.scoring import Scored
from poseshift.apps.compare.statistics import Difference, Estimate, differences, estimate
from poseshift.engine.parents import LABELS
from poseshift.engine.run import Run, open_run
from poseshift.errors import DataError
from poseshift.metrics import Hits
from poseshift.types import Annotations

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
    """

    name: str
    contents: Contents
    rows: tuple[Row, ...]
    tables: tuple[Table, ...]
    starts: Mapping[str, float]
    command: str

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
        DataError: The test data cannot be read.
    """
    recipe, runs = planning.sharing(contents.plan.recipe)
    reasons = folder.failures(out)
    rows = []
    for stage in contents.plan.rows:
        places = {seed: folder.runs_of(out, seed) / runs[stage] for seed in contents.seeds[stage]}
        settings = recipe.stage(runs[stage], Path())
        rows.append(_row(stage, settings.method.name, contents, places, reasons.get(runs[stage], {})))
    shared = [stage for stage in recipe.stages if stage not in {runs[row] for row in contents.plan.rows}]
    return Comparison(
        name=name,
        contents=contents,
        rows=tuple(rows),
        tables=tuple(_tables(out, contents, rows, runs)),
        starts={stage: seconds for stage in shared if (seconds := _seconds(out, contents, stage)) is not None},
        command=command,
    )


def _row(stage: str, method: str, contents: Contents, places: Mapping[int, Path], reasons: Mapping[str, str]) -> Row:
    kept = {seed: Scored.load(path, contents.plan.test) for seed, path in places.items()}
    scored = {seed: one for seed, one in kept.items() if one is not None}
    finished = [open_run(places[seed]) for seed in scored]
    first = finished[0].manifest if finished else {}
    return Row(
        name=stage,
        method=method,
        marks=contents.plan.rows[stage],
        scored=scored,
        missing={seed: reasons.get(str(seed), WAITING) for seed in places if seed not in scored},
        labels=str(first.get(LABELS, "unknown")),
        selection=str(first.get("selection", "unknown")),
        steps=tuple(one.step for one in scored.values()),
        cost=cost(finished),
        device=", ".join(dict.fromkeys(one.device for one in scored.values())),
        code=tuple(dict.fromkeys(_code(run.manifest) for run in finished)),
    )


def _code(manifest: Mapping[str, Any]) -> str:
    commit = manifest.get("commit")
    return commit[:10] if commit else str(manifest.get("version", "unknown"))


def _seconds(out: Path, contents: Contents, stage: str) -> float | None:
    paths = [folder.runs_of(out, seed) / stage for seed in contents.plan.seeds]
    runs: list[Run] = [open_run(path) for path in paths if (path / "manifest.json").is_file()]
    found = cost([run for run in runs if run.finished])
    return None if found is None else found.seconds


def _tables(out: Path, contents: Contents, rows: Sequence[Row], runs: Mapping[str, str]) -> list[Table]:
    filled = [row for row in rows if row.scored]
    if not filled:
        return []
    first = filled[0]
    run = open_run(folder.runs_of(out, next(iter(first.scored))) / runs[first.name])
    tables = []
    for split in scoring.splits_of(contents.plan.test):
        annotations = scoring.instances_of(run, contents.plan.test, split)
        _refuse_changed(out, filled, split, len(annotations))
        tables.append(_table(filled, contents.plan.baseline, split, "", annotations))
        names = sorted(set(annotations.categories.tolist()))
        if len(names) > 1:
            tables += [_table(filled, contents.plan.baseline, split, name, annotations) for name in names]
    return tables


def _table(rows: Sequence[Row], baseline: str, split: str, category: str, annotations: Annotations) -> Table:
    mask = annotations.categories == category if category else np.ones(len(annotations), np.bool_)
    chosen = annotations.select(mask)
    weights = metrics.bootstrap_weights(chosen.image_index)
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
                differences=differences(hits[row.name], hits[baseline], weights, chosen.skeleton) if compared else {},
            )
        )
    groups = tuple(lines[0].groups)
    return Table(split=split, category=category, groups=groups, instances=len(chosen), lines=tuple(lines))


def _refuse_changed(out: Path, rows: Sequence[Row], split: str, count: int) -> None:
    for row in rows:
        for seed, one in row.scored.items():
            if (before := len(one.hits[split].right)) != count:
                raise DataError(
                    f"{folder.runs_of(out, seed) / row.name}: scored on {before} instances of split {split}, which now "
                    f"has {count}; restore the test data, or remove evaluation/{scoring.KEPT}.json there"
                )


def _part(hits: Hits, mask: metrics.BoolArray) -> Hits:
    return Hits(right=hits.right[mask], counted=hits.counted[mask])
