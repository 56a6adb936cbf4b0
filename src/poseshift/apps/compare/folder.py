"""The folder of a comparison: what stands in it, so that a later call goes on or adds, and never mixes two.

::

    DIR/plan.json            the recipe's stages, what is scored on what, and over which seeds
    DIR/failures.json        why a stage has no score for a seed
    DIR/runs/seed-N/STAGE    a run folder each
    DIR/table.md, …          what is written anew after every call
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poseshift.apps.compare.planning import Plan
from poseshift.apps.recipes import Recipe
from poseshift.engine import checkpoint, files
from poseshift.engine.differences import unlike
from poseshift.errors import DataError, UsageError

SCHEMA = 1
PLAN, FAILURES, LOCK = "plan.json", "failures.json", ".lock"
WHAT = {"compare": "a comparison", "ablate": "an ablation", "sweep": "a sweep"}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a folder's table shows: what earlier calls asked for and what this one adds.

    Attributes:
        plan: Of all calls together; its seeds are those of any row.
        seeds: Of each row, in the order in which they were asked for.
    """

    plan: Plan
    seeds: Mapping[str, tuple[int, ...]]


def runs_of(out: Path, seed: int) -> Path:
    """Where the runs of one seed lie."""
    return out / "runs" / f"seed-{seed}"


def joined(out: Path, plan: Plan, *, baseline: str | None) -> Contents:
    """What is in the folder together with ``plan``; nothing is written.

    Args:
        out: The folder; it may be new.
        plan: Of this call.
        baseline: As asked for in this call; None keeps that of the folder, or takes the plan's.

    Raises:
        UsageError: The folder holds something else, or a comparison of another configuration.
        DataError: Its plan cannot be read.
    """
    if not (out / PLAN).is_file():
        left = {LOCK} | {file.name for file in files.drafts(out, PLAN)}
        if out.exists() and (not out.is_dir() or {child.name for child in out.iterdir()} - left):
            raise UsageError(f"{out}: exists and is no folder of `poseshift {plan.kind}`; choose another --out")
        return Contents(
            plan=replace(plan, baseline=baseline or plan.baseline), seeds=dict.fromkeys(plan.rows, plan.seeds)
        )
    before = _read(out / PLAN)
    if before["kind"] != plan.kind:
        raise UsageError(f"{out}: holds {WHAT[before['kind']]}, not {WHAT[plan.kind]}; choose another --out")
    rows = {**before["rows"], **plan.rows}
    known = {name: tuple(before["seeds"].get(name, ())) for name in rows}
    asked = {name: plan.seeds if name in plan.rows else () for name in rows}
    whole = Plan(
        kind=plan.kind,
        recipe=replace(plan.recipe, stages={**before["stages"], **plan.recipe.stages}),
        rows=rows,
        seeds=tuple(dict.fromkeys([*(seed for seeds in known.values() for seed in seeds), *plan.seeds])),
        test=plan.test,
        baseline=baseline or before["baseline"] or plan.baseline,
    )
    _refuse_another(out, before, whole)
    return Contents(plan=whole, seeds={name: tuple(dict.fromkeys([*known[name], *asked[name]])) for name in rows})


def _refuse_another(out: Path, before: Mapping[str, Any], whole: Plan) -> None:
    """Every stage of the folder must still be of the same configuration, seeds apart, and scored on the same data."""
    there = Recipe(common=before["common"], stages=before["stages"])
    found = unlike({"study": {"test": before["test"]}}, {"study": {"test": whole.test}})
    for name in there.stages:
        pair = [one.stage(name, Path()).model_dump(mode="json", exclude={"seed"}) for one in (there, whole.recipe)]
        found += unlike({name: pair[0]}, {name: pair[1]})
    if found:
        raise UsageError(
            f"{out}: holds {WHAT[whole.kind]} of another configuration ({', '.join(found[:3])}); choose another --out, "
            "or remove the folder"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema = int(content["schema"])
        missing = {"kind", "common", "stages", "rows", "seeds", "test", "baseline"} - set(content)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not a plan ({error!r}); restore it from a copy, or remove the folder") from error
    if schema > SCHEMA:
        raise DataError(f"{file}: schema {schema}, this version reads up to {SCHEMA}; install a newer poseshift")
    if missing:
        raise DataError(f"{file}: has no {min(missing)!r}; restore it from a copy, or remove the folder")
    return content


def write_plan(out: Path, contents: Contents) -> None:
    """Keeps what the folder's table shows, for later calls."""
    plan = contents.plan
    content = {
        "schema": SCHEMA,
        "kind": plan.kind,
        "baseline": plan.baseline,
        "test": plan.test,
        "rows": plan.rows,
        "seeds": contents.seeds,
        "common": plan.recipe.common,
        "stages": plan.recipe.stages,
    }
    files.clear_drafts(out, PLAN)
    checkpoint.write_text(out / PLAN, json.dumps(content, indent=1) + "\n")


def failures(out: Path) -> dict[str, dict[str, str]]:
    """Why a stage has no score, by stage and seed (as text)."""
    file = out / FAILURES
    try:
        found: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); remove it, it holds no more than reasons") from error
    return found


def note_failure(out: Path, stage: str, seed: int, reason: str | None) -> None:
    """Keeps the reason of a failure; None takes it away."""
    known = failures(out)
    own = {**known.get(stage, {}), str(seed): reason}
    known[stage] = {key: text for key, text in own.items() if text is not None}
    kept = {name: reasons for name, reasons in known.items() if reasons}
    if kept or (out / FAILURES).is_file():
        checkpoint.write_text(out / FAILURES, json.dumps(kept, indent=1) + "\n")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Holds the folder against a second process, as far as the system can. Raises :class:`UsageError`."""
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{out}: another process is at work there; wait for it, or choose another --out"
            ) from error
        yield
