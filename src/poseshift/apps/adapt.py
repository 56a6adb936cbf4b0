"""The main job: labelled source and unlabelled target in, an adapted pose model out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from poseshift.apps import recipes
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
        source: Labelled images, ``FORMAT:PATH``, cut by their boxes or else taken whole; None takes the recipe's.
        target: Unlabelled images, ``FORMAT:PATH``, cut by their boxes or else taken whole; None takes the recipe's.
        out: Folder for the runs; the same call again goes on where it stopped.
        recipe: A recipe file; None takes ``preset``.
        preset: A recipe of the package: ``adapt`` (a light net, works on a CPU), ``adapt-paper`` (published sizes).
        overrides: ``common.a.b=c`` or ``stages.NAME.a=c``.
        command: Noted in the manifests.
        quiet: No progress bars.

    Returns:
        The run of the last stage.

    Raises:
        ConfigError, DataError: Something does not fit; one line says what.
    """
    chosen = recipes.load(Path(recipe)) if recipe is not None else recipes.preset(preset)
    common = {role: {"data": spec} for role, spec in (("source", source), ("target", target)) if spec is not None}
    chosen = replace(chosen, common={**chosen.common, **common}).overridden(overrides)
    for role in ("source", "target"):
        if not any(role in settings for settings in (chosen.common, *chosen.stages.values())):
            raise UsageError(f"{role}: neither the command nor the recipe names it; give --{role} FORMAT:PATH")
    result: Run | None = None
    for _, run in recipes.train_stages(chosen, Path(out), command=command, quiet=quiet):
        result = run
    if result is None:
        raise AssertionError("a recipe has at least one stage")
    return result
