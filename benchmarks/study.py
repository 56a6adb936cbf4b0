"""Trains every stage of a recipe over seeds, scores each on held-out labelled data, and writes the comparison.

    python benchmarks/study.py recipes/daml/figures-middle.yaml --seeds 0,1,2 --jobs 2

The recipe's ``study`` says what to test on and which stages to compare. Runs go to ``runs/studies/<recipe>/seed-N``
(finished ones are kept, unfinished ones go on); ``benchmarks/results/<recipe>.json`` and ``.md`` are committed. With
``--jobs N``, N stages whose parents are finished train at the same time, over all seeds, and share decoded crops.
Each scoring of a real data set's labels is a line in ``benchmarks/ledger.md``. Intervals are 95 % paired bootstraps
over images and seeds. ``--tuning`` is for choosing settings: it writes no results, and needs a ``study.tuning`` data
set, a declared labelled part of the unlabelled side.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseshift import metrics
from poseshift.apps import recipes
from poseshift.apps.recipes import Recipe
from poseshift.config import PARENTS
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import devices, evaluate, inference, setup
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.metrics import Hits
from poseshift.types import Annotations

HERE = Path(__file__).parent
PROCEDURAL = ("figures", "quadrupeds")

STORE: setup.CropStore = {}
"""Decoded crops in shared memory, the same for all processes of a study."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One stage of one seed: train it, then score it."""

    recipe: str
    overrides: tuple[str, ...]
    seed: int
    stage: str
    folder: str
    test: dict[str, Any]

    def loaded(self) -> Recipe:
        """The recipe with this seed."""
        return recipes.load(Path(self.recipe)).overridden([*self.overrides, f"common.seed={self.seed}"])


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the test says of one stage, by split; nothing for a stage without a pose net."""

    hits: dict[str, Hits]
    tables: dict[str, dict[str, Any]]
    step: int
    oracle: bool


def take(store: setup.CropStore, threads: int) -> None:
    """Readies a process."""
    STORE.update(store)
    torch.set_num_threads(threads)


def perform(task: Task) -> Scored:
    """Trains and scores."""
    began, folder = time.perf_counter(), Path(task.folder)
    command = f"benchmarks/study.py {Path(task.recipe).name}"
    run = train(task.loaded().stage(task.stage, folder), folder / task.stage, command=command, quiet=True, store=STORE)
    seconds = time.perf_counter() - began
    hits: dict[str, Hits] = {}
    tables: dict[str, dict[str, Any]] = {}
    if run.makes_pose_net:
        for split in splits_of(task.test):
            hits[split], tables[split] = score(run, task.test, split)
    found = {split: table["visible"]["pck@0.05"] for split, table in tables.items()}
    print(f"seed {task.seed}: {task.stage}: {found}, {seconds:.0f} s", flush=True)
    step = run.checkpoint(task.test.get("checkpoint", "best")).step
    return Scored(hits=hits, tables=tables, step=step, oracle=str(run.manifest[setup.LABELS]).startswith("yes"))


def perform_all(tasks: list[Task], *, jobs: int) -> dict[tuple[str, int], Scored]:
    """All tasks, each after its parents."""
    if jobs == 1:
        return {(task.stage, task.seed): perform(task) for task in tasks}
    one = tasks[0].loaded()
    for stage in one.stages:  # makes the shared caches, which the processes then fill
        config = one.stage(stage, Path(tasks[0].folder)).model_copy(update=dict.fromkeys(PARENTS))
        setup.data_of(config, STORE)
    for split in splits_of(tasks[0].test):
        crops_of(sources.read(tasks[0].test["data"], split=split), tasks[0].test, config.input_size, split)
    context = torch.multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=take, initargs=(STORE, 1)) as pool:
        return dict(_in_order(pool, tasks))


def _in_order(pool: ProcessPoolExecutor, tasks: list[Task]) -> Iterator[tuple[tuple[str, int], Scored]]:
    """Hands in every task once its parents are done."""
    waiting = {(task.stage, task.seed): task for task in tasks}
    running: dict[Future[Scored], tuple[str, int]] = {}
    done: set[tuple[str, int]] = set()
    while waiting or running:
        ready = [key for key, task in waiting.items() if all((p, key[1]) in done for p in parents(task))]
        for key in ready:
            running[pool.submit(perform, waiting.pop(key))] = key
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            key = running.pop(future)
            done.add(key)
            yield key, future.result()


def parents(task: Task) -> list[str]:
    """The earlier stages that a task starts from."""
    recipe = task.loaded()
    stage = recipe.stages[task.stage]
    return [str(stage[role]) for role in PARENTS if stage.get(role) in recipe.stages]


def splits_of(test: dict[str, Any]) -> list[str]:
    """Splits to score."""
    return list(test.get("splits", ["test"]))


def crops_of(annotations: Annotations, test: dict[str, Any], size: int, split: str) -> Crops:
    """The test's crops, decoded once for all processes."""
    annotations = annotations.select(range(0, len(annotations), test.get("every", 1)))
    crop = CropConfig(boxes=test.get("boxes", "given"), padding=test.get("padding", 1.25))
    crops = Crops(annotations, crop, size=size, cache_bytes=2**31)
    crops.share(STORE, f"test {json.dumps(test)} {split} {size}")
    return crops


def score(run: Run, test: dict[str, Any], split: str) -> tuple[Hits, dict[str, Any]]:
    """Hits on the visible keypoints of a split, and the tables."""
    annotations = evaluate.labelled(run, test["data"], split)
    crops = crops_of(annotations, test, run.config.input_size, split)
    net = run.predictor(test.get("checkpoint", "best"))
    found = inference.infer(net, crops, device=devices.choose("auto"))
    hits = evaluate.hits_of(crops, found, stride=net.stride, protocol="exact", occluded=False)
    tables = evaluate.score(crops, found, stride=net.stride, protocol="exact")
    reference = evaluate.score(crops, found, stride=net.stride, protocol="reference")
    tables["reference"] = reference["visible"]["pck@0.05"]
    return hits, {**tables, "images": crops.annotations.image_index, "skeleton": annotations.skeleton}


def compare(scores: dict[str, list[Hits]], table: dict[str, Any], pairs: list[list[str]]) -> list[dict[str, Any]]:
    """Paired differences in points."""
    weights = metrics.bootstrap_weights(table["images"])
    rows = []
    for ours, theirs in pairs:
        found = metrics.paired_difference(scores[ours], scores[theirs], weights, table["skeleton"])
        numbers = {"difference": found.value, "low": found.low, "high": found.high}
        rows.append({"a": ours, "b": theirs, **{key: round(100 * value, 2) for key, value in numbers.items()}})
    return rows


def summarise(tables: list[dict[str, Any]], steps: list[int]) -> dict[str, Any]:
    """Mean and standard error over seeds, by group."""
    values = np.array([table["visible"]["pck@0.05"] for table in tables])
    spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    groups = {
        name: round(float(np.mean([t["visible"]["groups"][name] for t in tables])), 2)
        for name in tables[0]["visible"]["groups"]
    }
    row: dict[str, Any] = {
        "pck@0.05": round(float(values.mean()), 2),
        "standard_error": None if np.isnan(spread) else round(float(spread), 2),
        "seeds": [round(float(v), 2) for v in values],
        "interval_of_seed_0": tables[0]["visible"]["interval"],
        "labelled": round(float(np.mean([t["labelled"]["pck@0.05"] for t in tables])), 2),
        "reference": round(float(np.mean([t["reference"] for t in tables])), 2),
        "groups": groups,
        "steps": steps,
    }
    if "categories" in tables[0]:
        row["categories"] = {
            name: {
                "pck@0.05": round(float(np.mean([t["categories"][name]["pck@0.05"] for t in tables])), 2),
                "groups": {
                    g: round(float(np.mean([t["categories"][name]["groups"][g] for t in tables])), 2)
                    for g in part["groups"]
                },
            }
            for name, part in tables[0]["categories"].items()
        }
    return row


def markdown(result: dict[str, Any]) -> str:
    """The tables as text."""
    lines = [
        f"# {result['recipe']}",
        "",
        f"{result['command']}; commit {result['commit'][:12]}; torch {result['torch']} on {result['device']}",
        "",
    ]
    for split, part in result["splits"].items():
        groups = list(next(iter(part["stages"].values()))["groups"])
        lines += [f"## {result['test']}, {split}: PCK@0.05 (%), visible keypoints, {len(result['seeds'])} seed(s)", ""]
        lines += ["| stage | " + " | ".join(groups) + " | mean | ± s.e. | 95 % of seed 0 | labelled | reference |"]
        lines += ["|" + "---|" * (len(groups) + 6)]
        for name, row in part["stages"].items():
            cells = [
                name + (" (uses target labels)" if name in result["oracles"] else ""),
                *(f"{row['groups'][g]:.1f}" for g in groups),
            ]
            low, high = row["interval_of_seed_0"]
            spread = "–" if row["standard_error"] is None else f"{row['standard_error']:.1f}"
            cells += [
                f"**{row['pck@0.05']:.1f}**",
                spread,
                f"{low:.1f} to {high:.1f}",
                f"{row['labelled']:.1f}",
                f"{row['reference']:.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        for category in sorted({c for row in part["stages"].values() for c in row.get("categories", {})}):
            lines += [
                "",
                f"{category}:",
                "",
                "| stage | " + " | ".join(groups) + " | mean |",
                "|" + "---|" * (len(groups) + 2),
            ]
            for name, row in part["stages"].items():
                own = row["categories"][category]
                lines.append(
                    f"| {name} | "
                    + " | ".join(f"{own['groups'][g]:.1f}" for g in groups)
                    + f" | {own['pck@0.05']:.1f} |"
                )
        lines += ["", "| paired difference | points | 95 % interval |", "|---|---|---|"]
        lines += [
            f"| {d['a']} − {d['b']} | {d['difference']:+.1f} | {d['low']:+.1f} to {d['high']:+.1f} |"
            for d in part["differences"]
        ]
        lines.append("")
    return "\n".join(lines) + "\n"


def commit() -> str:
    """The commit of this checkout."""
    done = subprocess.run(["git", "-C", str(HERE), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def note_in_ledger(test: dict[str, Any], recipe: str, stages: list[str], revision: str) -> None:
    """One line for each scoring of real labels."""
    data = test["data"].partition(":")[0]
    if data in PROCEDURAL:
        return
    when = datetime.now(UTC).isoformat(timespec="minutes")
    part = f"{data} {', '.join(splits_of(test))}" + (f", every {test['every']}th" if "every" in test else "")
    with (HERE / "ledger.md").open("a", encoding="utf-8") as ledger:
        ledger.write(f"| {when} | {part} | {recipe} | {', '.join(stages)} | {revision[:12]} |\n")


def tabulate(recipe: Recipe, found: dict[tuple[str, int], Scored], seeds: list[int], split: str) -> dict[str, Any]:
    """Rows and differences of one split."""
    scored = [stage for stage in recipe.stages if found[stage, seeds[0]].hits]
    by_stage = {stage: [found[stage, seed] for seed in seeds] for stage in scored}
    hits = {stage: [one.hits[split] for one in rows] for stage, rows in by_stage.items()}
    rows = {
        stage: summarise([one.tables[split] for one in rows], [one.step for one in rows])
        for stage, rows in by_stage.items()
    }
    table = by_stage[scored[0]][0].tables[split]
    return {"stages": rows, "differences": compare(hits, table, recipe.study.get("pairs", []))}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", type=int, default=1, help="Stages trained at the same time, one thread each.")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="Changes to the recipe.")
    parser.add_argument("--work", type=Path, default=Path("runs/studies"))
    parser.add_argument("--name", help="Name of the results; default that of the recipe.")
    parser.add_argument("--tuning", action="store_true", help="Score on `study.tuning`; write no results.")
    return parser.parse_args()


def main() -> None:
    """Runs the study."""
    options = arguments()
    recipe = recipes.load(options.recipe).overridden(options.overrides)
    part = "tuning" if options.tuning else "test"
    if part not in recipe.study:
        raise SystemExit(f"{options.recipe} has no `study.{part}` section")
    test, seeds = dict(recipe.study[part]), [int(seed) for seed in options.seeds.split(",")]
    name, revision = options.name or options.recipe.stem, commit()
    tasks = [
        Task(
            recipe=str(options.recipe), overrides=tuple(options.overrides), seed=seed, stage=stage,
            folder=str(options.work / name / f"seed-{seed}"), test=test,
        )
        for stage in recipe.stages for seed in seeds
    ]  # fmt: skip
    found = perform_all(tasks, jobs=options.jobs)
    scored = [stage for stage in recipe.stages if found[stage, seeds[0]].hits]
    note_in_ledger(test, name, scored, revision)
    data = test["data"].partition(":")[0]
    result: dict[str, Any] = {
        "recipe": name,
        "command": f"python benchmarks/study.py {options.recipe} --seeds {options.seeds}",
        "commit": revision,
        "torch": torch.__version__,
        "device": open_run(Path(tasks[0].folder) / scored[0]).manifest["device"],
        "test": test["data"] if data in PROCEDURAL else data,
        "seeds": seeds,
        "oracles": [stage for stage in scored if found[stage, seeds[0]].oracle],
        "splits": {split: tabulate(recipe, found, seeds, split) for split in splits_of(test)},
    }
    print(markdown(result))
    if not options.tuning:
        out = HERE / "results"
        out.mkdir(exist_ok=True)
        (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
