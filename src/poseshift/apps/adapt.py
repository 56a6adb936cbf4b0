"""The main job: labelled source and unlabelled target in, an adapted pose model out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poseshift.apps import recipes
from poseshift.apps.recipes import Recipe
from poseshift.engine.run import Run
from poseshift.errors import UsageError

DEFAULT = "adapt"


def adapt(
    source: str | None = None,
    target: str | None = None,
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    command: str = "",
    quiet: bool = False,
) -> Run:
    """Trains a style net, a source-only model and the adapted model, each a run in ``out``.

    Args:
        source: Labelled images, ``FORMAT:PATH``; None takes the recipe's. Of the format that the recipe names, it keeps
            the recipe's options (split, boxes, …); of another, it is cut by its boxes or else taken whole.
        target: Unlabelled images, likewise.
        out: Folder for the runs; the same call again goes on where it stopped.
        recipe: A recipe file, of which the last stage and those it starts from are trained; None takes ``preset``.
        preset: A recipe of the package: ``adapt`` (a light net, works on a CPU), ``adapt-paper`` (published sizes and
            losses).
        overrides: ``common.a.b=c`` or ``stages.NAME.a=c``.
        command: Noted in the manifests.
        quiet: No progress bars.

    Returns:
        The run of the last stage.

    Raises:
        ConfigError, DataError: Something does not fit; one line says what.
    """
    chosen = planned(source, target, recipe=recipe, preset=preset, overrides=overrides)
    result: Run | None = None
    for _, run in recipes.train_stages(chosen, Path(out), command=command, quiet=quiet):
        result = run
    if result is None:
        raise AssertionError("a recipe has at least one stage")
    return result


def planned(
    source: str | None = None,
    target: str | None = None,
    *,
    recipe: str | Path | None = None,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
) -> Recipe:
    """The stages that :func:`adapt` trains for the same arguments.

    Raises:
        ConfigError: The recipe, the preset or an override does not fit.
        UsageError: No source or no target is named.
    """
    chosen = recipes.load(Path(recipe)) if recipe is not None else recipes.preset(preset)
    named = {role: spec for role, spec in (("source", source), ("target", target)) if spec is not None}
    common = {role: _data(spec, chosen.common.get(role)) for role, spec in named.items()}
    chosen = replace(chosen, common={**chosen.common, **common}).overridden(overrides).needed()
    for role in ("source", "target"):
        if not any(role in settings for settings in (chosen.common, *chosen.stages.values())):
            raise UsageError(f"{role}: neither the command nor the recipe names it; give --{role} FORMAT:PATH")
    return chosen


def _data(spec: str, recipes_own: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's data; a recipe's split (a held-out part stays held out) and boxes go with its format."""
    same = recipes_own is not None and str(recipes_own.get("data", "")).partition(":")[0] == spec.partition(":")[0]
    return {**(recipes_own if same and recipes_own is not None else {}), "data": spec}
