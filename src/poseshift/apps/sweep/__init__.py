"""A study of a method's settings: a grid of them, or a search guided by the score without labels.

``axes`` reads what is swept, ``guided`` asks Optuna, ``figure`` draws; training, scoring and tables are those of
:mod:`poseshift.apps.compare`.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poseshift.apps import recipes
from poseshift.apps.compare import (
    Comparison,
    Say,
    execute,
    folder,
    page,
    planning,
    prepare,
    scoring,
    silent,
    todo,
    work,
)
from poseshift.apps.compare.planning import Plan
from poseshift.apps.recipes import Recipe
from poseshift.apps.sweep import axes as axes_of
from poseshift.apps.sweep import figure, guided
from poseshift.apps.sweep.axes import Axis, Range
from poseshift.engine import checkpoint
from poseshift.engine.run import open_run
from poseshift.errors import UsageError

__all__ = ["Range", "Swept", "sweep"]

NOTE = "Error bars are standard errors over seeds. Labels of the test data score finished runs, as in the tables below."


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found.

    Attributes:
        comparison: The tables; None for a guided sweep of a recipe without ``study.test``.
        trials: Of a guided sweep.
    """

    comparison: Comparison | None
    trials: tuple[guided.Trial, ...] = ()

    @property
    def best(self) -> guided.Trial | None:
        """The trial of the highest score without labels."""
        return max((one for one in self.trials if one.score is not None), key=_score, default=None)


def _score(trial: guided.Trial) -> float:
    return -1.0 if trial.score is None else trial.score


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """What a call says, checked."""

    recipe: Recipe
    name: str
    stage: str
    axes: Sequence[Axis]
    seeds: tuple[int, ...]
    out: Path
    jobs: int
    add: tuple[Path, ...]
    command: str
    quiet: bool
    say: Say

    def plan(self, settings: Sequence[Mapping[str, Any]], scores: Mapping[str, float] | None = None) -> Plan:
        """Stages and rows of settings, each once; ``scores`` without labels stand beside them."""
        named = {axes_of.name_of(values): values for values in settings}
        stages = {name: planning.varied(self.recipe, self.stage, axes_of.tree(v)) for name, v in named.items()}
        rows: dict[str, dict[str, Any]] = {}
        for name, values in named.items():
            rows[name] = {axis.name: axes_of.mark(values[axis.key]) for axis in self.axes}
            if scores is not None:
                rows[name][guided.GUIDE] = f"{scores[name]:.1f}"
        own = axes_of.name_of(self.own())
        return Plan(
            kind="sweep",
            recipe=replace(self.recipe, stages={**self.recipe.stages, **stages}).only(stages),
            rows=rows,
            seeds=self.seeds,
            test=self.recipe.study.get("test", {}),
            baseline=own if own in stages else next(iter(stages)),
        )

    def own(self) -> dict[str, Any]:
        """The recipe's own values."""
        return {axis.key: axes_of.own_value(self.recipe, self.stage, axis.key) for axis in self.axes}


def sweep(
    recipe: str | Path,
    out: str | Path,
    *,
    grid: Mapping[str, Sequence[Any] | Range],
    seeds: Iterable[int] = (0,),
    each: bool = False,
    guided: int | None = None,
    storage: str | None = None,
    baseline: str | None = None,
    overrides: Sequence[str] = (),
    jobs: int = 1,
    add: Sequence[str | Path] = (),
    command: str = "",
    quiet: bool = False,
    say: Say = silent,
) -> Swept:
    """Trains the recipe's last stage with other settings over seeds; writes tables, a report and ``figure.svg``.

    Args:
        recipe: A recipe file.
        out: Folder for runs and tables; the same call goes on there.
        grid: Key of a run's configuration (``method.domain_weight``) to its values, or to a :class:`Range`.
        seeds: Each setting is trained with all of them.
        each: One key at a time, the others as the recipe has them, in place of every combination.
        guided: Search so many settings with Optuna by their score without labels, in place of all.
        storage: Of a guided search: Optuna's storage URL or a journal file, which processes and machines may share.
        baseline: The row to compare with; by default the recipe's own values, else the first; a search has its best.
        overrides: ``common.a.b=c`` or ``stages.NAME.a=c``.
        jobs: Runs at the same time, each in a process of its own with one thread.
        add: ``scores.json`` of other folders: their rows stand in the tables too, and are not trained again.
        command: Noted in manifests and tables.
        quiet: No progress bars.
        say: Called with a line about what is going on.

    Returns:
        What stands in the tables, and the trials of a guided search.

    Raises:
        UsageError: A key, a value, a seed, an option or the folder does not fit; nothing was started.
        DataError: The test data cannot be read.
        Interrupted: By a signal; runs were saved.
    """
    file = Path(recipe)
    loaded = recipes.load(file).overridden(overrides)
    stage = list(loaded.stages)[-1]
    planning.refuse_unscorable(loaded, stage)
    _refuse_options(loaded, origin=str(file), each=each, trials=guided, storage=storage, baseline=baseline)
    asked = _Sweep(
        recipe=loaded, name=file.stem, stage=stage, seeds=planning.checked_seeds(seeds), out=Path(out),
        axes=axes_of.checked(loaded, stage, grid, guided=guided is not None),
        jobs=jobs, add=tuple(map(Path, add)), command=command, quiet=quiet, say=say,
    )  # fmt: skip
    return _gridded(asked, baseline, each=each) if guided is None else _searched(asked, guided, storage)


def _refuse_options(
    recipe: Recipe, *, origin: str, each: bool, trials: int | None, storage: str | None, baseline: str | None
) -> None:
    if trials is None or "test" in recipe.study:
        scoring.held_out(recipe.study, origin=origin)
    if trials is not None and trials < 1:
        raise UsageError(f"--guided: {trials} is less than 1; give how many settings to try")
    if trials is not None and each:
        raise UsageError("--each: is for a sweep of all values; leave it out, or --guided")
    if trials is not None and baseline is not None:
        raise UsageError("--baseline: a guided sweep compares with the best of its scores without labels; leave it out")
    if trials is None and storage is not None:
        raise UsageError("--storage: is for --guided N; add that, or leave it out")


def _gridded(asked: _Sweep, baseline: str | None, *, each: bool) -> Swept:
    settings = axes_of.one_at_a_time(asked.axes, asked.own()) if each else axes_of.grid(asked.axes)
    plan = asked.plan(list(settings))
    contents = prepare(plan, asked.out, baseline=baseline, jobs=asked.jobs, add=asked.add)
    with folder.alone(asked.out):
        return Swept(comparison=_finished(asked, contents, plan))


def _finished(asked: _Sweep, contents: folder.Contents, plan: Plan) -> Comparison:
    """Trains and scores what is lacking; tables, figure and page."""
    found = execute(
        contents,
        plan,
        asked.out,
        name=asked.name,
        jobs=asked.jobs,
        command=asked.command,
        quiet=asked.quiet,
        say=asked.say,
    )
    drawn = figure.svg(found, asked.axes)
    if drawn is not None:
        checkpoint.write_text(asked.out / "figure.svg", drawn)
    page.write(found, asked.out / "report.html", charts=figure.charts(found, asked.axes), charts_note=NOTE)
    return found


def _searched(asked: _Sweep, trials: int, storage: str | None) -> Swept:
    """The search, without labels; then, where the recipe names a test, the scores of what was trained here."""
    if asked.add:
        raise UsageError("--add: is for a sweep of all values; a guided one shares its trials by --storage")
    guided.installed()
    middle = {axis.key: axis.values[0] if axis.span is None else axis.span.low for axis in asked.axes}
    checked = asked.plan([middle])
    prepare(checked, asked.out, baseline=None, jobs=asked.jobs)
    with folder.alone(asked.out):
        empty = replace(checked, recipe=asked.recipe.only([asked.stage]), rows={}, baseline="")
        folder.write_plan(asked.out, folder.joined(asked.out, empty, baseline=None))
        found = guided.search(
            asked.axes,
            asked.out,
            name=_study_name(asked),
            trials=trials,
            batch=max(1, asked.jobs // len(asked.seeds)),
            storage=storage,
            train=lambda settings: _trained(asked, settings),
        )
        checkpoint.write_text(asked.out / "trials.csv", _listed(asked.axes, found))
        here = [one for one in found if one.here and one.score is not None]
        if "test" not in asked.recipe.study or not here:
            return Swept(comparison=None, trials=tuple(found))
        plan = asked.plan([one.values for one in here], {axes_of.name_of(one.values): _score(one) for one in here})
        chosen = axes_of.name_of(max(here, key=_score).values)
        contents = prepare(plan, asked.out, baseline=chosen, jobs=asked.jobs)
        return Swept(comparison=_finished(asked, contents, plan), trials=tuple(found))


def _trained(asked: _Sweep, settings: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Trains settings; returns their scores without labels."""
    plan = asked.plan(settings)
    contents = folder.joined(asked.out, plan, baseline=None)
    folder.write_plan(asked.out, contents)
    tasks = todo(asked.out, contents, plan, command=asked.command, quiet=asked.quiet or asked.jobs > 1, score=False)
    work(tasks, asked.out, jobs=asked.jobs, say=asked.say)
    found = {name: _label_free(asked, contents, name) for name in plan.rows}
    for name, score in found.items():
        asked.say(f"{name}: {guided.GUIDE} {'none' if score is None else f'{score:.1f}'}")
    return [found[axes_of.name_of(values)] for values in settings]


def _label_free(asked: _Sweep, contents: folder.Contents, name: str) -> float | None:
    runs = planning.sharing(contents.plan.recipe)[1]
    paths = [folder.runs_of(asked.out, seed) / runs[name] for seed in asked.seeds]
    finished = [open_run(path) for path in paths if (path / "manifest.json").is_file()]
    finished = [run for run in finished if run.finished]
    return guided.label_free(finished) if len(finished) == len(paths) else None


def _study_name(asked: _Sweep) -> str:
    """Processes of the same recipe, keys, values and seeds share a study, wherever their data lies; others never do."""
    settings = planning.settings_of(asked.recipe.only([asked.stage]))
    machine = {"device", "workers", "cache_mib"}
    told = [_portable(one.model_dump(mode="json", exclude=machine)) for one in settings.values()]
    digest = hashlib.sha256(f"{told} {asked.axes} {sorted(asked.seeds)}".encode()).hexdigest()
    return f"{asked.name}-{asked.stage}-{digest[:12]}"


def _portable(tree: Any) -> Any:
    """Paths by their last part: what differs between machines that have the same data."""
    if isinstance(tree, Mapping):
        return {key: _portable(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_portable(value) for value in tree]
    if isinstance(tree, str) and "/" in tree:
        kind, _, path = tree.rpartition(":")
        return f"{kind}:{path.rstrip('/').rpartition('/')[2]}"
    return tree


def _listed(axes: Sequence[Axis], trials: Sequence[guided.Trial]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", *(axis.key for axis in axes), guided.GUIDE, "state", "here"])
    for one in trials:
        values = ["" if one.values[axis.key] is None else axes_of.mark(one.values[axis.key]) for axis in axes]
        writer.writerow([one.number, *values, "" if one.score is None else f"{one.score:.4g}", one.state, one.here])
    return stream.getvalue()
