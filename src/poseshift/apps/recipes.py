"""A recipe: named stages over common settings. A stage is a run; ``init`` and ``style`` may name an earlier stage.

A file may extend another (``extends: ../daml/surreal-lsp.yaml``): what it says is laid over that one, so that the
recipes of all methods for one pair share its data, crops and views.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from poseshift import config
from poseshift.config import PARENTS, RunConfig
from poseshift.engine.run import Run
from poseshift.engine.setup import CropStore
from poseshift.engine.train import train
from poseshift.errors import ConfigError
from poseshift.methods import METHODS

KEYS = ("common", "stages", "methods", "study")
EXTENDS = "extends"
SET = "--set"
SINGLE = "a single run is for `poseshift train`"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that stages share, and what each stage changes; the last stage is the result.

    ``methods`` says what `poseshift compare` changes in the last stage for a method that is no stage: its options on
    this pair. ``study`` says on what comparisons test the stages; training reads neither.
    """

    common: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, Any]]
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)

    def stage(self, name: str, out: Path) -> RunConfig:
        """The configuration of one stage whose runs live in ``out``. Raises :class:`ConfigError`."""
        raw = config.merge(self.common, self.stages[name])
        earlier = list(self.stages)[: list(self.stages).index(name)]
        for key in PARENTS:
            if raw.get(key) in earlier:
                raw[key] = str(out / raw[key])
        parsed: RunConfig = config.parse(raw, origin=f"stage {name!r}")
        return parsed

    def needed(self) -> Recipe:
        """The last stage and what it starts from; not the baselines and oracles beside them."""
        return self.only(list(self.stages)[-1:])

    def only(self, chosen: Iterable[str]) -> Recipe:
        """The chosen stages and what they start from, in the recipe's order."""
        names, kept = list(self.stages), set(chosen)
        for name in reversed(names):
            if name in kept:
                kept |= {str(self.stages[name].get(role)) for role in PARENTS} & set(names)
        return replace(self, stages={name: stage for name, stage in self.stages.items() if name in kept})

    def overridden(self, overrides: Sequence[str]) -> Recipe:
        """With ``common.a.b=c`` or ``stages.NAME.a=c`` set. Raises :class:`ConfigError`."""
        raw = {"common": self.common, "stages": self.stages, "methods": self.methods, "study": self.study}
        found = recipe_of(config.override(raw, overrides), origin=SET)
        if unknown := sorted(set(found.stages) - set(self.stages)):
            raise ConfigError(f"{SET}: unknown stage {unknown[0]!r}; this recipe has {', '.join(self.stages)}")
        return found


def recipe_of(raw: Mapping[str, Any], *, origin: str) -> Recipe:
    """A recipe from a mapping. Raises :class:`ConfigError`."""
    unknown = sorted(map(str, set(raw) - set(KEYS)))
    stages = raw.get("stages")
    if unknown or not isinstance(stages, Mapping) or not stages:
        found = f"unknown key {unknown[0]!r}" if unknown else "no `stages` mapping"
        hint = "write common.KEY=VALUE or stages.NAME.KEY=VALUE" if origin == SET else SINGLE
        raise ConfigError(f"{origin}: {found}; a recipe has {', '.join(KEYS)} ({hint})")
    named = {str(name): stage or {} for name, stage in stages.items()}
    parts = {key: raw.get(key) or {} for key in ("common", "methods", "study")}
    for place, part in {**parts, **named}.items():
        if not isinstance(part, Mapping):
            raise ConfigError(f"{origin}: {place}: found {part!r}, expected a mapping")
    for name, change in parts["methods"].items():
        if name not in METHODS:
            raise ConfigError(f"{origin}: methods: unknown name {name!r}; known: {', '.join(METHODS)}")
        if not isinstance(change or {}, Mapping):
            raise ConfigError(f"{origin}: methods.{name}: found {change!r}, expected a mapping")
    parts["methods"] = {name: change or {} for name, change in parts["methods"].items()}
    return Recipe(stages=named, **parts)


def load(path: Path) -> Recipe:
    """A recipe from a YAML file, laid over the one that it extends. Raises :class:`ConfigError`."""
    return recipe_of(_whole(path, ()), origin=str(path))


def _whole(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping of a file with what it extends."""
    if path.resolve() in extending:
        raise ConfigError(f"{path}: extends itself, by way of {extending[-1]}; take one `{EXTENDS}` out")
    raw = config.load(path)
    base = raw.pop(EXTENDS, None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise ConfigError(f"{path}: {EXTENDS}: found {base!r}, expected the path of a recipe, relative to this file")
    stages = raw.get("stages") or {}
    if not isinstance(stages, Mapping) or not all(isinstance(one, (Mapping, NoneType)) for one in stages.values()):
        raise ConfigError(f"{path}: stages: expected a mapping of stages; `NAME: null` leaves one of {base} out")
    return extended(_whole(path.parent / base, (*extending, path.resolve())), raw)


def extended(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``change`` over ``base``: mappings are merged, all else is replaced.

    A stage that is given as nothing (``style: null``) is left out, a new one stands before the last, which stays the
    result, and the options of a stage's method do not outlive a change of its name.
    """
    old, new = base.get("stages") or {}, change.get("stages") or {}
    names = [*list(old)[:-1], *(name for name in new if name not in old), *list(old)[-1:]]
    left_out = {name for name, stage in new.items() if stage is None}
    stages = {name: changed(old.get(name, {}), new.get(name, {})) for name in names if name not in left_out}
    rest = {key: value for key, value in change.items() if key != "stages"}
    return {**config.merge(base, rest), "stages": stages}


def changed(stage: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A stage with ``change`` over it; another method starts from its own defaults."""
    name = _method_name(change)
    if name is not None and name != _method_name(stage):
        stage = {key: value for key, value in stage.items() if key != "method"}
    return config.merge(stage, change)


def _method_name(stage: Mapping[str, Any]) -> str | None:
    method = stage.get("method")
    return method.get("name") if isinstance(method, Mapping) else None


def preset(name: str) -> Recipe:
    """A recipe that comes with the package. Raises :class:`ConfigError` for an unknown name."""
    folder = resources.files("poseshift.apps").joinpath("presets")
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise ConfigError(f"preset {name!r} is unknown; expected one of {', '.join(known)}")
    return recipe_of(
        yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")), origin=f"preset {name}"
    )


def train_stages(recipe: Recipe, out: Path, *, command: str, quiet: bool = False) -> Iterator[tuple[str, Run]]:
    """Trains every stage in turn into ``out/<stage>``; finished ones are skipped, an unfinished one goes on."""
    settings = {name: recipe.stage(name, out) for name in recipe.stages}
    store: CropStore = {}
    for name, stage in settings.items():
        yield name, train(stage, out / name, command=command, quiet=quiet, store=store)
