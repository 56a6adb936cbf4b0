"""Compares methods on one pair of data sets: everything but the method is equal, and every number has its spread.

``planning`` decides which stages are trained, ``folder`` keeps what a folder holds, ``tasks`` trains, ``scoring``
scores, ``findings`` gathers, ``statistics`` and ``cost`` work out, ``tables`` and ``page`` write. ``poseshift ablate``
and ``poseshift sweep`` are other plans for the same.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from poseshift.apps import recipes
from poseshift.apps.compare import folder, page, planning, scoring, tables, tasks
from poseshift.apps.compare.findings import Comparison, gather
from poseshift.apps.compare.folder import Contents
from poseshift.apps.compare.planning import Plan
from poseshift.apps.compare.tasks import Done, Task
from poseshift.engine import checkpoint
from poseshift.errors import PoseshiftError, UsageError

__all__ = ["Comparison", "carry_out", "compare"]

Say = Callable[[str], None]


def silent(line: str) -> None:
    """Says nothing."""
    del line


def compare(
    recipe: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str],
    seeds: Iterable[int] = (0,),
    baseline: str | None = None,
    overrides: Sequence[str] = (),
    jobs: int = 1,
    add: Sequence[str | Path] = (),
    command: str = "",
    quiet: bool = False,
    say: Say = silent,
) -> Comparison:
    """Trains methods over seeds on one recipe's data, starts and schedule, scores them, and writes the tables.

    Target labels score finished runs (the recipe's ``study.test``), nothing else. The same call again skips what is
    done and goes on with what is not; with other seeds or methods the folder's tables grow.

    Args:
        recipe: A recipe file.
        out: Folder for runs and tables.
        methods: Stages of the recipe, or methods: a method that is no stage gets the last stage's data, starts, steps
            and views, and the options that the recipe's ``methods`` section names for it.
        seeds: Each trains everything once.
        baseline: The row that others are compared with; by default the folder's, else the first of ``methods``.
        overrides: ``common.a.b=c``, ``stages.NAME.a=c`` or ``methods.NAME.a=c``.
        jobs: Runs at the same time, each in a process of its own with one thread.
        add: ``scores.json`` of other folders: their rows stand in the tables too, and are not trained again.
        command: Noted in manifests and tables.
        quiet: No progress bars.
        say: Called with a line about what is going on.

    Returns:
        What stands in the tables, failures with their reasons.

    Raises:
        UsageError: A name, a seed, an option or the folder does not fit; nothing was started.
        DataError: The test data cannot be read.
        Interrupted: By a signal; runs were saved.
    """
    file = Path(recipe)
    loaded = recipes.load(file).overridden(overrides)
    whole = planning.with_methods(loaded, list(methods))
    plan = Plan(
        kind="compare",
        recipe=whole.only(methods),
        rows={name: {} for name in methods},
        seeds=planning.checked_seeds(seeds),
        test=scoring.held_out(loaded.study, origin=str(file)),
        baseline=methods[0],
    )
    return carry_out(
        plan, Path(out), baseline=baseline, name=file.stem, jobs=jobs, add=[Path(one) for one in add],
        command=command, quiet=quiet, say=say,
    )  # fmt: skip


def carry_out(
    plan: Plan,
    out: Path,
    *,
    name: str,
    baseline: str | None = None,
    jobs: int = 1,
    add: Sequence[Path] = (),
    command: str = "",
    quiet: bool = False,
    say: Say = silent,
) -> Comparison:
    """Trains and scores what a plan lacks in its folder, then writes the tables; arguments as of :func:`compare`."""
    contents = prepare(plan, out, baseline=baseline, jobs=jobs, add=add)
    with folder.alone(out):
        return execute(contents, plan, out, name=name, jobs=jobs, command=command, quiet=quiet, say=say)


def prepare(plan: Plan, out: Path, *, baseline: str | None, jobs: int, add: Sequence[Path] = ()) -> Contents:
    """Checks everything before anything starts; raises as :func:`compare`."""
    if jobs < 1:
        raise UsageError(f"--jobs: {jobs} is less than 1; give how many runs may train at the same time")
    planning.settings_of(plan.recipe)
    contents = folder.joined(out, plan, baseline=baseline, add=add)
    planning.refuse_other_baseline(contents.plan.baseline, contents.plan.rows)
    if plan.test and any(lacking(contents, plan, seed) for seed in plan.seeds):
        scoring.refuse_missing(plan.test)
    return contents


def execute(
    contents: Contents, plan: Plan, out: Path, *, name: str, jobs: int, command: str, quiet: bool, say: Say
) -> Comparison:
    """Does the work of a folder that is held."""
    folder.write_plan(out, contents)
    work(todo(out, contents, plan, command=command, quiet=quiet or jobs > 1), out, jobs=jobs, say=say)
    found = gather(out, contents, name=name, command=command)
    write(found, out)
    return found


def todo(out: Path, contents: Contents, plan: Plan, *, command: str, quiet: bool, score: bool = True) -> list[Task]:
    """The tasks of a call: every stage that it needs, once for each of its seeds; trained alone where not to score."""
    recipe, runs = planning.sharing(contents.plan.recipe)
    scored = {runs[name] for name in plan.rows}
    needed = {seed: recipe.only({runs[name] for name in lacking(contents, plan, seed)}) for seed in plan.seeds}
    return [
        Task(
            recipe=needed[seed], seed=seed, stage=stage, folder=folder.runs_of(out, seed),
            test=contents.plan.test if score and stage in scored else None, command=command, quiet=quiet,
        )
        for stage in recipe.stages for seed in plan.seeds if stage in needed[seed].stages
    ]  # fmt: skip


def lacking(contents: Contents, plan: Plan, seed: int) -> list[str]:
    """Rows of a call that no other folder's scores have for a seed."""
    return [row for row in plan.rows if seed not in contents.added.rows.get(row, {})]


def work(todo: Sequence[Task], out: Path, *, jobs: int, say: Say) -> None:
    """Performs tasks, keeps the reasons of those that fail, and says what becomes of each."""
    say(f"{len(todo)} runs, {jobs} at a time, in {out}")
    for number, done in enumerate(tasks.perform_all(todo, jobs=jobs), 1):
        task = done.task
        reason = None if done.failure is None else _reason(done, out)
        folder.note_failure(out, task.stage, task.seed, reason)
        say(f"[{number}/{len(todo)}] seed {task.seed}: {task.stage}: {_outcome(done, reason)}")


def _outcome(done: Done, reason: str | None) -> str:
    if reason is not None:
        return f"failed: {reason}"
    took = f", {tables.duration(done.seconds)}" if done.seconds else ", was there"
    if done.scored is None:
        return f"trained{took}" if done.seconds else "was there"
    found = ", ".join(f"{split} {table['visible']['pck@0.05']}" for split, table in done.scored.tables.items())
    return f"PCK@0.05 {found}{took}"


def _reason(done: Done, out: Path) -> str:
    """One line; what no rule of ours foresaw leaves its traceback in a file."""
    error = done.failure
    if error is None or isinstance(error, PoseshiftError):
        return " ".join(str(error).split())
    file = out / f"failure-{done.task.stage}-{done.task.seed}.txt"
    checkpoint.write_text(file, "".join(traceback.format_exception(error)))
    return " ".join(f"{type(error).__name__}: {error} (see {file.name})".split())


def write(found: Comparison, out: Path) -> None:
    """``table.md``, ``table.tex``, ``table.csv``, ``report.html``, and ``scores.json`` for tables elsewhere."""
    checkpoint.write_text(out / "table.md", tables.markdown(found))
    checkpoint.write_text(out / "table.tex", tables.latex(found))
    checkpoint.write_text(out / "table.csv", tables.comma_separated(found))
    page.write(found, out / "report.html")
    folder.write_scores(out / folder.SCORES, found.contents, found.known)


def complaint(found: Comparison) -> str | None:
    """Why nothing could be compared; None where any row has a score."""
    if any(row.scored for row in found.rows):
        return None
    return "no run could be scored: " + "; ".join(f"{n}: {next(iter(s.values()))}" for n, s in found.failed.items())


def summary(found: Comparison) -> str:
    """The means of the first table, for a terminal."""
    table = found.tables[0]
    rows = [(line.row.name, tables.shown(line.mean), line.differences.get("mean")) for line in table.lines]
    width = max(len(name) for name, _, _ in rows)
    text = [f"PCK@0.05 (%) on {tables.title(found, table)}"]
    for name, mean, difference in rows:
        beside = "" if difference is None else f"  {tables.signed(difference.value)}: {difference.statement}"
        text.append(f"{name.ljust(width)}  {mean}{beside}")
    for name, seeds in found.failed.items():
        text += [f"{name}, seed {seed}, has no score: {why}" for seed, why in seeds.items()]
    return "\n".join(text)
