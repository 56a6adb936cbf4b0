"""Which runs stand in a report, what they are called, and which of them saw target labels."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from poseshift.config import DataConfig, RunConfig
from poseshift.engine.parents import INIT
from poseshift.engine.run import Run, open_run
from poseshift.errors import DataError, UsageError

USES_LABELS = "uses target labels"
MONITORS = "target labels for monitoring"
COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One ``metrics*.json`` of a run.

    Attributes:
        folder: Of the file.
        content: What :func:`poseshift.engine.evaluate.evaluate` returned.
    """

    folder: Path
    content: dict[str, Any]

    @property
    def key(self) -> tuple[str, str | None, str]:
        """Data, split and protocol: results of equal keys stand in one table."""
        return self.content["data"], self.content["split"], self.content["protocol"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run as the report shows it.

    Attributes:
        run: The run.
        label: A short name, unique in the report: the last parts of its path.
        mark: What it did with target labels; empty where it saw none.
        number: Its position, which gives its colour and line style.
        given: Whether it was asked for, not brought in as a parent.
    """

    run: Run
    label: str
    mark: str
    number: int
    given: bool

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.run.config.method.name)

    @property
    def oracle(self) -> bool:
        """Whether target labels shaped it."""
        return self.mark == USES_LABELS

    @property
    def colour(self) -> int:
        """1 to :data:`COLOURS`, the number of a CSS variable."""
        return self.number % COLOURS + 1

    @property
    def dash(self) -> int:
        """0 to 3, so that lines differ without colour too."""
        return self.number % 4

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Those of the run folder, in the order of their names."""
        return tuple(evaluations_of(self.run))

    @cached_property
    def metrics(self) -> tuple[dict[str, Any], ...]:
        """The lines of ``metrics.jsonl``."""
        return tuple(self.run.metrics())

    @property
    def predicts(self) -> bool:
        """Whether it makes a pose net and holds one."""
        return any((one.path / "predictor.safetensors").is_file() for one in self.run.checkpoints())


def evaluations_of(run: Run) -> Iterator[Evaluation]:
    """Every ``RUN/evaluation/*/metrics*.json``. Raises :class:`DataError` where one does not read."""
    for file in sorted(run.path.glob("evaluation/*/metrics*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found = Evaluation(folder=file.parent, content=content)
            found.key, content["visible"]["pck@0.05"], content["visible"]["interval"], content["visible"]["groups"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}: no metrics of an evaluation ({error!r}); remove its folder, then evaluate again"
            ) from error
        yield found


def gather(runs: Sequence[Run | str | Path]) -> tuple[Entry, ...]:
    """The runs given and, before them, their parents that were evaluated on the same data; oracles stand last.

    Raises:
        UsageError: None was given.
        CheckpointError: A path is no run folder.
    """
    if not runs:
        raise UsageError("report: no run given; name one or more run folders, for example runs/demo/adapt")
    given = list({one.path.resolve(): one for one in map(_opened, runs)}.values())
    paths = {one.path.resolve() for one in given}
    parents: dict[Path, Run] = {}
    keys = {evaluation.key for one in given for evaluation in evaluations_of(one)}
    for one in given:
        parent = parent_of(one)
        if parent is not None and parent.path.resolve() not in paths and keys & {e.key for e in evaluations_of(parent)}:
            parents[parent.path.resolve()] = parent
    everything = [*parents.values(), *given]
    targets = {base(one.config.target) for one in everything if one.config.target}
    marks = {id(one): mark_of(one, targets) for one in everything}
    everything.sort(key=lambda one: marks[id(one)] == USES_LABELS)
    labels = _labels([one.path.resolve() for one in everything])
    return tuple(
        Entry(run=one, label=label, mark=marks[id(one)], number=number, given=one.path.resolve() in paths)
        for number, (one, label) in enumerate(zip(everything, labels, strict=True))
    )


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else open_run(run)


def parent_of(run: Run) -> Run | None:
    """The run that ``run`` was started from, where its folder still exists."""
    noted = run.manifest.get("parents", {}).get(INIT, {}).get("run")
    if noted is None:
        return None
    # A relative path was relative to where training began; folders of one experiment also move together.
    for path in (Path(noted), run.path.resolve().parent / Path(noted).name):
        if (path / "manifest.json").is_file() and path.resolve() != run.path.resolve():
            return open_run(path)
    return None


def base(data: DataConfig | str) -> str:
    """``FORMAT:PATH`` without options and spelling: the training and the test part of one data set have one base."""
    text = data if isinstance(data, str) else data.data
    name, _, path = text.partition(":")
    return f"{name}:{os.path.normpath(path.partition('@')[0].partition(',')[0])}"


def mark_of(run: Run, targets: set[str]) -> str:
    """What the run did with labels of ``targets`` (bases): itself or through the run that it was started from."""
    said = str(run.manifest.get("uses_target_labels", "no")).lower()
    chosen_by_labels = str(run.manifest.get("selection", "")).startswith("oracle")
    sources = {base(config.source) for config in _lineage(run) if config.source}
    if sources & targets or chosen_by_labels or said not in ("no", "false", "none", "monitoring only"):
        return USES_LABELS
    return MONITORS if said == "monitoring only" else ""


def _lineage(run: Run) -> Iterator[RunConfig]:
    yield run.config
    parent = run.path / "parents" / INIT
    if (parent / "run.yaml").is_file():
        yield Run(parent).config


def _labels(paths: Sequence[Path]) -> list[str]:
    """The shortest tails of the paths that differ from each other."""
    depth = 1
    while True:
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels) or depth > max(len(path.parts) for path in paths):
            return labels
        depth += 1


def subject_of(shown: Sequence[Entry]) -> Entry:
    """What the report is about: the last given run that adapts, else that predicts, else the last one."""
    given = [entry for entry in shown if entry.given]
    able = [entry for entry in given if entry.predicts and not entry.oracle] or [e for e in given if e.predicts]
    adapting = [entry for entry in able if "target" in entry.run.config.method.needs]
    return (adapting or able or given)[-1]
