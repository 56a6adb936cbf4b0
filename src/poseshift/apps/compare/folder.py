"""The folder of a comparison: what stands in it, so that a later call goes on or adds, and never mixes two.

::

    DIR/plan.json            the recipe's stages, what is scored on what, and over which seeds
    DIR/failures.json        why a stage has no score for a seed
    DIR/added.json           what --add brought: scored runs of other folders
    DIR/scores.json          all scored runs, for --add elsewhere
    DIR/runs/seed-N/STAGE    a run folder each
    DIR/table.md, …          what is written anew after every call
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from poseshift.apps.compare import results
from poseshift.apps.compare.planning import Plan
from poseshift.apps.compare.results import Results
from poseshift.apps.recipes import Recipe
from poseshift.engine import checkpoint, files
from poseshift.engine.differences import unlike
from poseshift.errors import DataError, UsageError

SCHEMA = 1
PLAN, FAILURES, LOCK = "plan.json", "failures.json", ".lock"
ADDED, SCORES = "added.json", "scores.json"
PLACES = ("data", "weights")
"""Keys of configurations whose values are paths."""
WHAT = {"compare": "a comparison", "ablate": "an ablation", "sweep": "a sweep"}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a folder's table shows: what earlier calls asked for and what this one adds.

    Attributes:
        plan: Of all calls together; its seeds are those of any row.
        seeds: Of each row, in the order in which they were asked for.
        added: Scored runs of other folders.
    """

    plan: Plan
    seeds: Mapping[str, tuple[int, ...]]
    added: Results = field(default_factory=Results)


def runs_of(out: Path, seed: int) -> Path:
    """Where the runs of one seed lie."""
    return out / "runs" / f"seed-{seed}"


def joined(out: Path, plan: Plan, *, baseline: str | None, add: Sequence[Path] = ()) -> Contents:
    """What is in the folder together with ``plan``, and with the scored runs of other folders; nothing is written.

    Args:
        out: The folder; it may be new.
        plan: Of this call.
        baseline: As asked for in this call; None keeps that of the folder, or takes the plan's.
        add: ``scores.json`` of other folders. A run of this folder counts instead of one that a file holds, and one of
            a later file instead of one of an earlier.

    Raises:
        UsageError: The folder or a file holds something else, or a comparison of another configuration.
        DataError: One of them cannot be read.
    """
    contents = _own(out, plan, baseline=baseline)
    for file in [*([out / ADDED] if (out / ADDED).is_file() else []), *add]:
        contents = _with_added(contents, file)
    return contents


def _own(out: Path, plan: Plan, *, baseline: str | None) -> Contents:
    """What is in the folder itself together with ``plan``."""
    if not (out / PLAN).is_file():
        left = {LOCK} | {file.name for file in files.drafts(out, PLAN)}
        if out.exists() and (not out.is_dir() or {child.name for child in out.iterdir()} - left):
            raise UsageError(f"{out}: exists and is no folder of `poseshift {plan.kind}`; choose another --out")
        return Contents(
            plan=replace(plan, baseline=baseline or plan.baseline), seeds=dict.fromkeys(plan.rows, plan.seeds)
        )
    before = _read(out / PLAN)
    _refuse_another_kind(out, before, plan, "--out")
    rows = {**before["rows"], **plan.rows}
    known = {name: tuple(before["seeds"].get(name, ())) for name in rows}
    asked = {name: plan.seeds if name in plan.rows else () for name in rows}
    whole = replace(
        plan,
        recipe=replace(plan.recipe, stages={**before["stages"], **plan.recipe.stages}),
        rows=rows,
        seeds=tuple(dict.fromkeys([*(seed for seeds in known.values() for seed in seeds), *plan.seeds])),
        baseline=baseline or before["baseline"] or plan.baseline,
    )
    _refuse_another(out, before, whole)
    return Contents(plan=whole, seeds={name: tuple(dict.fromkeys([*known[name], *asked[name]])) for name in rows})


def _with_added(contents: Contents, file: Path) -> Contents:
    """With the scored runs of a ``scores.json``; the places of data and weights may be others there."""
    if not file.is_file():
        raise UsageError(f"--add: {file} is no file; give the scores.json of a comparison")
    before, plan = _read(file), contents.plan
    _refuse_another_kind(file, before, plan, "file to --add")
    found = results.loaded(before, origin=str(file))
    rows = {**plan.rows, **before["rows"]}
    seeds = {name: tuple(dict.fromkeys([*contents.seeds.get(name, ()), *found.rows.get(name, {})])) for name in rows}
    whole = replace(
        plan,
        recipe=replace(plan.recipe, stages={**before["stages"], **plan.recipe.stages}),
        rows=rows,
        seeds=tuple(dict.fromkeys(seed for own in seeds.values() for seed in own)),
    )
    _refuse_another(file, before, whole, anywhere=True)
    return Contents(plan=whole, seeds=seeds, added=found.over(contents.added))


def _refuse_another_kind(place: Path, before: Mapping[str, Any], plan: Plan, option: str) -> None:
    if before["kind"] != plan.kind:
        raise UsageError(f"{place}: holds {WHAT[before['kind']]}, not {WHAT[plan.kind]}; choose another {option}")


def _refuse_another(place: Path, before: Mapping[str, Any], whole: Plan, *, anywhere: bool = False) -> None:
    """Every stage must be of the same configuration, seeds apart, and scored on the same data.

    ``anywhere``: whatever folders data and weights lie in.
    """
    named = _placeless if anywhere else dict
    there = Recipe(common=before["common"], stages=before["stages"])
    found = unlike({"study": {"test": named(before["test"])}}, {"study": {"test": named(whole.test)}})
    for name in there.stages:
        pair = [one.stage(name, Path()).model_dump(mode="json", exclude={"seed"}) for one in (there, whole.recipe)]
        found += unlike({name: named(pair[0])}, {name: named(pair[1])})
    if found:
        hint = "it cannot be added" if anywhere else "choose another --out, or remove the folder"
        raise UsageError(f"{place}: holds {WHAT[whole.kind]} of another configuration ({', '.join(found[:3])}); {hint}")


def _placeless(tree: Mapping[str, Any]) -> dict[str, Any]:
    """With no more of a path than its last part: ``lsp:../data/lsp`` is ``lsp:lsp``."""
    return {
        key: _placeless(v) if isinstance(v, Mapping) else _name(v) if key in PLACES else v for key, v in tree.items()
    }


def _name(place: Any) -> Any:
    if not isinstance(place, str) or "/" not in place:
        return place
    form, colon, path = place.rpartition(":")
    return f"{form}{colon}{Path(path).name}"


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
    files.clear_drafts(out, PLAN)
    checkpoint.write_text(out / PLAN, json.dumps(_content(contents), indent=1) + "\n")
    if contents.added.rows:
        write_scores(out / ADDED, contents, contents.added)


def write_scores(file: Path, contents: Contents, known: Results) -> None:
    """What ``--add`` reads."""
    checkpoint.write_text(file, _spread({**_content(contents), **results.dumped(known)}, levels=3) + "\n")


def _spread(tree: Any, *, levels: int) -> str:
    """JSON with a line for each run, so that a file that grows shows what came to it."""
    if not levels or not isinstance(tree, Mapping) or not tree:
        return json.dumps(tree)
    lines = (f"{json.dumps(key)}: {_spread(value, levels=levels - 1)}" for key, value in tree.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _content(contents: Contents) -> dict[str, Any]:
    plan = contents.plan
    return {
        "schema": SCHEMA,
        "kind": plan.kind,
        "baseline": plan.baseline,
        "test": plan.test,
        "rows": plan.rows,
        "seeds": contents.seeds,
        "common": plan.recipe.common,
        "stages": plan.recipe.stages,
    }


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
