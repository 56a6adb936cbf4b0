"""What a sweep varies: keys of a stage's configuration, each with values or a range."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from poseshift import config
from poseshift.apps import recipes
from poseshift.apps.recipes import Recipe
from poseshift.errors import ConfigError

RANGE = re.compile(r"^\s*([^,\[\]]+?)\.\.([^,\[\]]+?)\s*$")
HOW = "--set KEY=VALUE,VALUE sweeps a key of the last stage, such as method.domain_weight=0.001,0.01,0.1"
LONGEST = 100
"""Characters of a run folder's name."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """All numbers from ``low`` to ``high``, for a guided sweep; by their logarithm where they span a decade or more."""

    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        """Whether the ends span a decade or more."""
        return self.low > 0 and self.high >= 10 * self.low


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One key and what it takes.

    Attributes:
        key: Such as ``method.domain_weight``.
        values: As the configuration reads them.
        span: A range in place of values.
    """

    key: str
    values: tuple[Any, ...] = ()
    span: Range | None = None

    @property
    def name(self) -> str:
        """The key without ``method.``, for tables."""
        return self.key.removeprefix("method.")


def parsed(words: Iterable[str]) -> tuple[list[str], dict[str, Sequence[Any] | Range]]:
    """``--set`` options as changes of the whole recipe and, by key, what is swept.

    Values are those of a YAML list without its brackets, so ``0.1,1``, ``[image, pose],[image]`` and ``'a,b',c`` are
    two each; ``0.001..1`` is a range. Raises :class:`ConfigError`.
    """
    overrides: list[str] = []
    swept: dict[str, Sequence[Any] | Range] = {}
    for word in words:
        key, separator, text = word.partition("=")
        if key.partition(".")[0] in recipes.KEYS:
            overrides.append(word)
            continue
        if not separator or not all(key.split(".")):
            raise ConfigError(f"--set {word!r}: expected KEY.KEY=VALUE,VALUE; {HOW}")
        if key in swept:
            raise ConfigError(f"--set {key}: stands there twice; give all of its values in one")
        swept[key] = _range(key, *match.groups()) if (match := RANGE.match(text)) else _values(key, text)
    return overrides, swept


def _values(key: str, text: str) -> list[Any]:
    try:
        found = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--set {key}={text}: no list of values ({reason}); quote what has commas of its own"
        ) from error
    return list(found)


def _range(key: str, low: str, high: str) -> Range:
    try:
        ends = float(low), float(high)
    except ValueError as error:
        raise ConfigError(f"--set {key}={low}..{high}: a range has two numbers, such as 0.001..1") from error
    return Range(low=ends[0], high=ends[1])


def checked(recipe: Recipe, stage: str, swept: Mapping[str, Sequence[Any] | Range], *, guided: bool) -> list[Axis]:
    """The axes. Raises :class:`ConfigError` for a key or value that the stage's configuration does not take."""
    if not swept:
        raise ConfigError(f"--set: nothing to sweep; {HOW}")
    axes = []
    for key, values in swept.items():
        if key == "seed":
            raise ConfigError("--set seed: seeds are not swept; every setting is trained for all of --seeds")
        if isinstance(values, Range):
            axes.append(_span(recipe, stage, key, values, guided=guided))
            continue
        if not values:
            raise ConfigError(f"--set {key}=: the list of values is empty; {HOW}")
        found = [resolved(recipe, stage, key, value) for value in values]
        if repeated := [value for number, value in enumerate(found) if value in found[:number]]:
            raise ConfigError(f"--set {key}: {mark(repeated[0])} stands there twice; each value counts once")
        axes.append(Axis(key=key, values=tuple(found)))
    return axes


def _span(recipe: Recipe, stage: str, key: str, span: Range, *, guided: bool) -> Axis:
    where = f"--set {key}={span.low:g}..{span.high:g}"
    if not guided:
        raise ConfigError(f"{where}: a range is for --guided; give values with commas between them")
    if not math.isfinite(span.low) or not span.low < span.high < math.inf:
        raise ConfigError(f"{where}: expected two numbers of which the first is the lower")
    for end in (span.low, span.high):
        resolved(recipe, stage, key, end)
    if isinstance(own_value(recipe, stage, key), bool):
        raise ConfigError(f"{where}: is true or false; give values with commas between them")
    return Axis(key=key, span=span)


def resolved(recipe: Recipe, stage: str, key: str, value: Any) -> Any:
    """What the stage's configuration makes of a value. Raises :class:`ConfigError` where it takes no such value."""
    stages = {**recipe.stages, stage: config.merge(recipe.stages[stage], tree({key: value}))}
    try:
        return own_value(replace(recipe, stages=stages), stage, key)
    except ConfigError as error:
        said = str(error).removeprefix(f"stage {stage!r}: ")
        raise ConfigError(f"--set {key}={mark(value)}: {said}") from error


def own_value(recipe: Recipe, stage: str, key: str) -> Any:
    """What the stage has under a key. Raises :class:`ConfigError` for an unknown one."""
    found: Any = recipe.stage(stage, Path())
    for part in key.split("."):
        known = found if isinstance(found, Mapping) else dict(found) if isinstance(found, BaseModel) else {}
        if part not in known:
            raise ConfigError(f"unknown key {key!r}; {part!r} is none of {', '.join(map(str, known)) or 'nothing'}")
        found = known[part]
    return _plain(found)


def _plain(value: Any) -> Any:
    """As JSON has it, so that a plan that was read back is equal."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def tree(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key as nested mappings."""
    whole: dict[str, Any] = {}
    for key, value in values.items():
        branch = value
        for part in reversed(key.split(".")):
            branch = {part: branch}
        whole = config.merge(whole, branch)
    return whole


def grid(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Every combination of the values."""
    for values in product(*(axis.values for axis in axes)):
        yield {axis.key: value for axis, value in zip(axes, values, strict=True)}


def one_at_a_time(axes: Sequence[Axis], own: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The recipe's own values, then each value of each key with the others as the recipe has them."""
    seen = [dict(own)]
    yield dict(own)
    for axis in axes:
        for value in axis.values:
            changed = {**own, axis.key: value}
            if changed not in seen:
                seen.append(changed)
                yield changed


def name_of(values: Mapping[str, Any]) -> str:
    """A folder name for one setting; equal for equal settings only."""
    whole = ",".join(f"{key.removeprefix('method.')}={mark(value)}" for key, value in values.items())
    text = re.sub(r"[^A-Za-z0-9._=,+-]+", "_", whole)
    if text != whole or len(text) > LONGEST:
        text = f"{text[: LONGEST - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return text


def mark(value: Any) -> str | float:
    """A value as a table shows it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value
    return " ".join(yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").split())
