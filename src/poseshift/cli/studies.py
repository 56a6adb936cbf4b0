"""Commands that train many runs and put them side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poseshift.cli.options import Quiet, Set
from poseshift.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from poseshift.apps.compare import Comparison

Recipe = Annotated[Path, typer.Argument(help="A recipe (YAML) with a `study.test` section.")]
Seeds = Annotated[str, typer.Option(help="Whole numbers with commas between them; each trains everything once.")]
Jobs = Annotated[int, typer.Option(help="Runs at the same time, each in a process with one thread.")]
Add = Annotated[
    list[Path] | None,
    typer.Option(help="scores.json of another folder: its runs count here and are not trained again. May be repeated."),
]
Out = Annotated[Path, typer.Option(help="Folder for runs and tables; the same command goes on there.")]


def names(text: str) -> list[str]:
    """Words with commas between them."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them. Raises :class:`UsageError`."""
    for word in names(text):
        if not word.removeprefix("-").isdecimal():
            raise UsageError(f"--seeds: {word!r} is no whole number; give for example --seeds 0,1,2")
    return [int(word) for word in names(text)]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _command() -> str:
    return shlex.join(["poseshift", *sys.argv[1:]])


def _show(found: Comparison, out: Path) -> None:
    """The first table's means, and where everything is. Raises :class:`TrainingError` where nothing has a score."""
    from poseshift.apps.compare import complaint, summary

    if (said := complaint(found)) is not None:
        raise TrainingError(f"{out}: {said}")
    print(summary(found))
    print(f"tables: {out / 'table.md'}, table.tex, table.csv\nreport: {out / 'report.html'}")


def compare(
    config: Recipe,
    methods: Annotated[
        str,
        typer.Option(help="Stages of the recipe or methods, with commas; a method takes the last stage's settings."),
    ],
    out: Out,
    seeds: Seeds = "0",
    baseline: Annotated[str | None, typer.Option(help="What others are compared with; default the first.")] = None,
    set_: Set = None,
    jobs: Jobs = 1,
    add: Add = None,
    quiet: Quiet = False,
) -> None:
    """Compare methods on one recipe's data, starts, schedule and views, over seeds; labels only score finished runs.

    Example: poseshift compare recipe.yaml --methods source,dann,multilevel --seeds 0,1,2 --out runs/compared
    """
    from poseshift.apps.compare import compare as run_compare

    found = run_compare(
        config,
        out,
        methods=names(methods),
        seeds=numbers(seeds),
        baseline=baseline,
        overrides=set_ or (),
        jobs=jobs,
        add=add or (),
        command=_command(),
        quiet=quiet,
        say=_say,
    )
    _show(found, out)


def ablate(
    config: Recipe,
    out: Out,
    seeds: Seeds = "0",
    baseline: Annotated[str | None, typer.Option(help="Row to compare with; default the one without levels.")] = None,
    set_: Set = None,
    jobs: Jobs = 1,
    add: Add = None,
    quiet: Quiet = False,
) -> None:
    """Switch the levels of a recipe's method on and off in every combination: the ablation table.

    Example: poseshift ablate recipe.yaml --seeds 0,1,2 --out runs/ablation
    """
    from poseshift.apps.ablate import ablate as run_ablate

    found = run_ablate(
        config,
        out,
        seeds=numbers(seeds),
        baseline=baseline,
        overrides=set_ or (),
        jobs=jobs,
        add=add or (),
        command=_command(),
        quiet=quiet,
        say=_say,
    )
    _show(found, out)


def sweep(
    config: Recipe,
    out: Out,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUES",
            help="Values of a key of the last stage with commas, as in a YAML list (method.domain_weight=0.01,0.1; "
            "method.levels=[image],[image,pose]; quote what has commas of its own); with --guided also 0.001..1. "
            "Keys that begin with common, stages, methods or study change the recipe. May be repeated.",
        ),
    ] = None,
    seeds: Seeds = "0",
    each: Annotated[bool, typer.Option("--each", help="One key at a time, not every combination.")] = False,
    guided: Annotated[
        int | None, typer.Option(help="Let Optuna try so many settings, guided by the score without labels.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Of --guided: Optuna's storage URL or journal file, for several processes.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Row to compare with; default the recipe's own values, else the first.")
    ] = None,
    jobs: Jobs = 1,
    add: Add = None,
    quiet: Quiet = False,
) -> None:
    """Train a recipe's last stage with other settings: a grid, or a guided search; tables, report and figure.svg.

    Example: poseshift sweep recipe.yaml --set method.domain_weight=0.001,0.01,0.1,1 --seeds 0,1 --out runs/swept
    """
    from poseshift.apps.sweep import sweep as run_sweep
    from poseshift.apps.sweep.axes import parsed

    overrides, grid = parsed(set_ or ())
    found = run_sweep(
        config,
        out,
        grid=grid,
        seeds=numbers(seeds),
        each=each,
        guided=guided,
        storage=storage,
        baseline=baseline,
        overrides=overrides,
        jobs=jobs,
        add=add or (),
        command=_command(),
        quiet=quiet,
        say=_say,
    )
    if found.best is not None:
        values = ", ".join(f"{key}={value}" for key, value in found.best.values.items())
        print(f"best of {len(found.trials)} trials without labels: {values} (agreement {found.best.score:.1f} %)")
        print(f"trials: {out / 'trials.csv'}")
    if found.comparison is not None:
        _show(found.comparison, out)
    elif found.best is None:
        raise TrainingError(f"{out}: no trial has a score; {out / 'failures.json'} says why")
