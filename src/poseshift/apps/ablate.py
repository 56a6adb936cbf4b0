"""The ablation of a method's levels: every combination of them on and off, all else equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

from poseshift.apps import recipes
from poseshift.apps.compare import Comparison, Say, carry_out, planning, scoring, silent
from poseshift.apps.compare.planning import Plan
from poseshift.apps.recipes import Recipe
from poseshift.errors import ConfigError
from poseshift.methods import METHODS

LEVELS = "levels"
"""The option of a method that names what can be switched off."""


def ablate(
    recipe: str | Path,
    out: str | Path,
    *,
    seeds: Iterable[int] = (0,),
    baseline: str | None = None,
    overrides: Sequence[str] = (),
    jobs: int = 1,
    add: Sequence[str | Path] = (),
    command: str = "",
    quiet: bool = False,
    say: Say = silent,
) -> Comparison:
    """Trains every on/off combination of a method's levels over seeds, and writes the ablation table.

    The stage is the recipe's last one whose method has ``levels``. Everything else about its runs stays as the recipe
    has it; a style net is left out where the combination restyles nothing. The rest is as in
    :func:`poseshift.apps.compare.compare`.

    Args:
        recipe: A recipe file.
        out: Folder for runs and tables.
        seeds: Each trains everything once.
        baseline: The row to compare with; by default the one without any level.
        overrides: ``common.a.b=c`` or ``stages.NAME.a=c``.
        jobs: Runs at the same time, each in a process of its own with one thread.
        add: ``scores.json`` of other folders: their rows stand in the tables too, and are not trained again.
        command: Noted in manifests and tables.
        quiet: No progress bars.
        say: Called with a line about what is going on.

    Returns:
        What stands in the tables.

    Raises:
        UsageError: No stage has levels, or a seed, an option or the folder does not fit; nothing was started.
        DataError: The test data cannot be read.
        Interrupted: By a signal; runs were saved.
    """
    file = Path(recipe)
    loaded = recipes.load(file).overridden(overrides)
    stage, levels = with_levels(loaded)
    marks, stages = combined(loaded, stage, levels)
    plan = Plan(
        kind="ablate",
        recipe=replace(loaded, stages={**loaded.stages, **stages}).only(stages),
        rows=marks,
        seeds=planning.checked_seeds(seeds),
        test=scoring.held_out(loaded.study, origin=str(file)),
        baseline=next(iter(stages)),
    )
    return carry_out(
        plan, Path(out), baseline=baseline, name=file.stem, jobs=jobs, add=[Path(one) for one in add],
        command=command, quiet=quiet, say=say,
    )  # fmt: skip


def combined(
    recipe: Recipe, stage: str, levels: Sequence[str]
) -> tuple[dict[str, dict[str, bool]], dict[str, dict[str, Any]]]:
    """Of every combination of levels, by name: which are on, and the stage with them."""
    marks: dict[str, dict[str, bool]] = {}
    stages: dict[str, dict[str, Any]] = {}
    for count in range(len(levels) + 1):
        for on in combinations(levels, count):
            name = f"{stage}-{'-'.join(on) or 'none'}"
            stages[name] = planning.varied(recipe, stage, {"method": {LEVELS: list(on)}})
            marks[name] = {level: level in on for level in levels}
    return marks, stages


def with_levels(recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    """The last stage whose method has levels, and all of them. Raises :class:`ConfigError` where there is none."""
    for stage in reversed(list(recipe.stages)):
        method = METHODS[recipe.stage(stage, Path()).method.name]
        if LEVELS in method.Config.model_fields:
            # A tuple of any length of literals.
            known = get_args(get_args(method.Config.model_fields[LEVELS].annotation)[0])
            return stage, tuple(map(str, known))
    able = [name for name, method in METHODS.items() if LEVELS in method.Config.model_fields]
    raise ConfigError(
        f"no stage of this recipe has a method with `{LEVELS}` to switch off; its stages: {', '.join(recipe.stages)}; "
        f"methods that have them: {', '.join(able)}"
    )
