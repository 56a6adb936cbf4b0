"""Which stages a comparison trains and scores, decided and checked before anything starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poseshift import config
from poseshift.apps.recipes import Recipe
from poseshift.config import PARENTS, RunConfig
from poseshift.engine.parents import INIT, PRIOR, STYLE
from poseshift.errors import ConfigError, UsageError
from poseshift.methods import METHODS
from poseshift.methods.base import MethodConfig

DATA = ("source", "validation")
"""What a method that reads no source is not given."""
AVERAGED = "ema_decay"
"""An option that belongs to the evaluation: equal for all methods that have it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What stands in a table.

    Attributes:
        kind: The command: ``compare``, ``ablate`` or ``sweep``.
        recipe: The stages to score and what they start from, no others.
        rows: Each stage to score, in the order of the table, with what its row shows beside its name.
        seeds: Those of this call.
        test: The recipe's ``study.test``.
        baseline: The row that others are compared with, where nobody asks for another.
    """

    kind: str
    recipe: Recipe
    rows: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    test: Mapping[str, Any]
    baseline: str


def settings_of(recipe: Recipe) -> dict[str, RunConfig]:
    """The configuration of every stage, parents by their names.

    Raises:
        ConfigError: One does not validate, or lacks data or a start that its method needs.
    """
    found = {name: recipe.stage(name, Path()) for name in recipe.stages}
    for name, settings in found.items():
        if "seed" in recipe.stages[name]:
            raise ConfigError(f"stage {name!r}: sets `seed`; remove it, seeds are those of --seeds")
        for place in _needed(settings.method):
            if getattr(settings, place) is None:
                hint = "{data: FORMAT:PATH}" if place in ("source", "target") else "a stage"
                raise ConfigError(
                    f"stage {name!r}: the method {settings.method.name!r} needs `{place}`, which neither the stage nor "
                    f"`common` gives; give `{place}: {hint}`"
                )
    return found


def _needed(method: MethodConfig) -> list[str]:
    """Fields of a run's configuration that a method cannot do without."""
    parents = {INIT: method.needs_init, STYLE: method.needs_style, PRIOR: method.needs_prior}
    return [*sorted(method.needs), *(place for place, needed in parents.items() if needed)]


def with_methods(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with a stage for each name that is none yet: the last stage with that method.

    Raises:
        ConfigError: A name is neither a stage nor a method, repeats, or makes no pose net; or its options do not fit.
    """
    if not names:
        raise ConfigError(
            "--methods: the list is empty; name stages of the recipe or methods, with commas between them"
        )
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--methods: {repeated[0]!r} stands there {names.count(repeated[0])} times; name it once")
    for name in names:
        if name not in recipe.stages and name not in METHODS:
            known = [*recipe.stages, *(method for method in METHODS if method not in recipe.stages)]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"--methods: {name!r} is unknown; {hint}stages of this recipe: {', '.join(recipe.stages)}; "
                f"methods: {', '.join(METHODS)}"
            )
    added = {name: derived(recipe, name) for name in names if name not in recipe.stages}
    whole = replace(recipe, stages={**recipe.stages, **added})
    for name in names:
        refuse_unscorable(whole, name)
    return whole


def refuse_unscorable(recipe: Recipe, stage: str) -> None:
    """Raises :class:`ConfigError` where a stage makes nothing to score."""
    method = recipe.stage(stage, Path()).method.name
    if METHODS[method].makes != "pose net":
        able = [name for name in recipe.stages if METHODS[recipe.stage(name, Path()).method.name].makes == "pose net"]
        raise ConfigError(f"{stage!r}: a run of {method!r} makes no pose net to score; choose from {', '.join(able)}")


def derived(recipe: Recipe, method: str) -> dict[str, Any]:
    """The last stage with another method: the same data, starts, steps and views, as far as the method may see them.

    ``methods.METHOD`` of the recipe is laid over it. What the method does not need is taken away: a source from one
    that reads none, a style net from one that restyles nothing. What it needs and the last stage lacks is taken from
    the latest stage that has it.
    """
    last = list(recipe.stages)[-1]
    own = recipe.methods.get(method, {})
    stage = config.merge({**recipe.stages[last], "method": {}}, own)
    stage["method"] = {**_averaging(recipe, last, method), **stage["method"], "name": method}
    # Checked as a whole when it is a stage; here only to know what it needs.
    options: MethodConfig = config.parse(stage["method"], METHODS[method].Config, origin=f"methods.{method}: method")
    if "source" not in options.needs:
        stage |= dict.fromkeys(DATA)
    for place in PARENTS:
        if place in _needed(options):
            stage[place] = stage.get(place) or recipe.common.get(place) or _latest(recipe, place)
    return _without_idle_style(stage, options)


def varied(recipe: Recipe, stage: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """A stage with a change laid over it; without its style net where it then restyles nothing."""
    changed = config.merge(recipe.stages[stage], change)
    method = type(recipe.stage(stage, Path()).method)
    return _without_idle_style(changed, config.parse(changed["method"], method, origin=f"stage {stage!r}: method"))


def _without_idle_style(stage: Mapping[str, Any], options: MethodConfig) -> dict[str, Any]:
    return dict(stage) if options.needs_style else {**stage, STYLE: None}


def _averaging(recipe: Recipe, stage: str, method: str) -> dict[str, Any]:
    value = getattr(recipe.stage(stage, Path()).method, AVERAGED, None)
    return {AVERAGED: value} if value is not None and AVERAGED in METHODS[method].Config.model_fields else {}


def _latest(recipe: Recipe, place: str) -> str | None:
    """What the latest stage that has it starts from."""
    return next((stage[place] for stage in list(recipe.stages.values())[::-1] if stage.get(place)), None)


def checked_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """The seeds. Raises :class:`UsageError` where there are none, one repeats or is negative."""
    found = tuple(seeds)
    if not found:
        raise UsageError("--seeds: the list is empty; give whole numbers with commas between them, such as 0,1,2")
    for seed in found:
        if seed < 0:
            raise UsageError(f"--seeds: {seed} is negative; give whole numbers from 0 on")
        if found.count(seed) > 1:
            raise UsageError(f"--seeds: {seed} stands there {found.count(seed)} times; each seed counts once")
    return found


def refuse_other_baseline(baseline: str, rows: Iterable[str]) -> None:
    """Raises :class:`UsageError` for a baseline that is no row."""
    if baseline not in rows:
        raise UsageError(f"--baseline {baseline!r}: is no row of this table; choose from {', '.join(rows)}")


def sharing(recipe: Recipe) -> tuple[Recipe, dict[str, str]]:
    """The recipe without stages that equal an earlier one, and every stage to the one whose run it shares."""
    first: dict[str, str] = {}
    runs: dict[str, str] = {}
    stages: dict[str, Mapping[str, Any]] = {}
    for name, settings in settings_of(recipe).items():
        starts = {place: runs.get(str(getattr(settings, place)), getattr(settings, place)) for place in PARENTS}
        runs[name] = first.setdefault(settings.model_copy(update=starts).model_dump_json(), name)
        if runs[name] == name:
            stages[name] = {**recipe.stages[name], **starts}
    return replace(recipe, stages=stages), runs
