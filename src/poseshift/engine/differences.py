"""What two configurations do not have in common, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from poseshift import config
from poseshift.config import RunConfig
from poseshift.engine.run import Run


def differences(run: Run, settings: RunConfig) -> list[str]:
    """What a configuration has other than an existing run: ``steps is 8 there, 10 now``; empty where they agree.

    A parent may be named by another path that leads to the same folder.
    """
    there, now = (dict(_flat(one.model_dump(mode="json"))) for one in (run.config, settings))
    for key in config.PARENTS:
        if there[key] and now[key] and Path(there[key]).resolve() == Path(now[key]).resolve():
            there[key] = now[key]
    return unlike(there, now)


def unlike(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two trees of mappings differ: ``stages.source.steps is 8 there, 10 now``; empty where they agree."""
    one, other = dict(_flat(there)), dict(_flat(now))
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return [f"{key} is {one.get(key)!r} there, {other.get(key)!r} now" for key in keys]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
