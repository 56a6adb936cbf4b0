"""Trains every stage of a recipe over seeds, scores each on held-out labelled data, and writes the comparison.

    python benchmarks/study.py recipes/daml/figures-middle.yaml --seeds 0,1,2 --jobs 2

The recipe's ``study`` says what to test on and which stages to compare. Runs go to ``runs/studies/<recipe>/seed-N``
(finished ones are kept, unfinished ones go on); ``benchmarks/results/<recipe>.json`` and ``.md`` are committed. With
``--jobs N``, N stages whose parents are finished train at the same time, over all seeds, and share decoded crops.
Each scoring of a real data set's labels is a line in ``benchmarks/ledger.md``. Intervals are 95 % paired bootstraps
over images and seeds. ``--tuning`` is for choosing settings: it writes no results, and needs a ``study.tuning`` data
set, a declared labelled part of the unlabelled side. Stages in ``study.one_seed`` (an oracle, say, that costs more than
all others) are trained for the first seed alone; differences with them are over that seed.
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
from study_tables import LABEL_FREE, across_seeds, compare, markdown, summarise

from poseshift.apps import recipes
from poseshift.apps.recipes import Recipe
from poseshift.config import PARENTS
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import checkpoint, devices, evaluate, inference, setup
from poseshift.engine.parents import LABELS
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
    """What the test says of one stage, by split; nothing for a stage without a pose net.

    It is kept in the run folder, so labels are looked at once.
    """

    hits: dict[str, Hits]
    tables: dict[str, dict[str, Any]]
    step: int
    oracle: bool
    device: str
    curve: list[float]

    def save(self, folder: Path, test: dict[str, Any]) -> None:
        """Writes ``study.json`` and ``study.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        columns = {f"{s}/{c}": getattr(h, c) for s, h in self.hits.items() for c in ("right", "counted")}
        np.savez_compressed(folder / "study.npz", **columns)
        rest = {"test": test, "tables": self.tables, "step": self.step, "oracle": self.oracle}
        rest |= {"device": self.device, "curve": self.curve}
        checkpoint.write_text(folder / "study.json", json.dumps(rest) + "\n")

    @classmethod
    def load(cls, folder: Path, test: dict[str, Any]) -> Scored | None:
        """What :meth:`save` kept, if it was of the same test."""
        if not (folder / "study.json").is_file():
            return None
        rest = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        if rest.pop("test") != test:
            return None
        with np.load(folder / "study.npz") as columns:
            hits = {
                split: Hits(right=columns[f"{split}/right"], counted=columns[f"{split}/counted"])
                for split in rest["tables"]
            }
        return cls(hits=hits, **rest)


def take(store: setup.CropStore, threads: int) -> None:
    """Readies a process."""
    STORE.update(store)
    torch.set_num_threads(threads)


def perform(task: Task) -> Scored:
    """Trains and scores, unless that was done."""
    began, folder = time.perf_counter(), Path(task.folder)
    kept = folder / task.stage / "evaluation"
    if (known := Scored.load(kept, task.test)) is not None:
        return known
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
    scored = Scored(
        hits=hits,
        tables=tables,
        step=run.checkpoint(task.test.get("checkpoint", "best")).step,
        oracle=str(run.manifest[LABELS]).startswith("yes"),
        device=str(run.manifest["device"]),
        curve=curve(run),
    )
    scored.save(kept, task.test)
    return scored


def curve(run: Run) -> list[float]:
    """Mean supervised loss in each tenth of a run."""
    values = [line["terms"]["supervised"]["value"] for line in run.metrics() if "supervised" in line.get("terms", {})]
    return [float(np.mean(part)) for part in np.array_split(values, 10)] if len(values) >= 10 else []


def label_free(run: Run, step: int) -> dict[str, float]:
    """The scores without labels of the checkpoint at ``step``, as the run logged them; none without target images."""
    logged = [line["scores"] for line in run.metrics() if line["step"] == step and "scores" in line]
    return {name: logged[-1][name] for name in LABEL_FREE if name in logged[-1]} if logged else {}


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
    # A parent that is not among the tasks was trained before; training says so if it was not.
    needed = {key: {(parent, task.seed) for parent in parents(task)} & set(waiting) for key, task in waiting.items()}
    running: dict[Future[Scored], tuple[str, int]] = {}
    done: set[tuple[str, int]] = set()
    while waiting or running:
        ready = [key for key in waiting if done.issuperset(needed[key])]
        for key in reversed(ready):  # the last stages are the longest and the ones that matter
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
    return hits, tables


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


def tabulate(
    by_stage: dict[str, list[Scored]], run: Run, test: dict[str, Any], split: str, pairs: list[list[str]]
) -> dict[str, Any]:
    """Rows and differences of one split."""
    hits = {stage: [one.hits[split] for one in rows] for stage, rows in by_stage.items()}
    rows = {
        stage: summarise([one.tables[split] for one in rows], [one.step for one in rows])
        for stage, rows in by_stage.items()
    }
    annotations = evaluate.labelled(run, test["data"], split)
    annotations = annotations.select(range(0, len(annotations), test.get("every", 1)))
    return {"stages": rows, "differences": compare(hits, annotations, pairs)}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", type=int, default=1, help="Stages trained at the same time, one thread each.")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="Changes to the recipe.")
    parser.add_argument("--work", type=Path, default=Path("runs/studies"))
    parser.add_argument("--name", help="Name of the results; default that of the recipe.")
    parser.add_argument("--stages", help="Only these, in this order; parents before their children.")
    parser.add_argument("--revision", help="Commit of the code, on a machine that has a copy without its history.")
    parser.add_argument("--tuning", action="store_true", help="Score on `study.tuning`; write no results.")
    return parser.parse_args()


def seeds_of(recipe: Recipe, stage: str, seeds: list[int]) -> list[int]:
    """The seeds that a stage is trained for."""
    return seeds[:1] if stage in recipe.study.get("one_seed", []) else seeds


def main() -> None:
    """Runs the study."""
    options = arguments()
    recipe = recipes.load(options.recipe).overridden(options.overrides)
    part = "tuning" if options.tuning else "test"
    if part not in recipe.study:
        raise SystemExit(f"{options.recipe} has no `study.{part}` section")
    test, seeds = dict(recipe.study[part]), [int(seed) for seed in options.seeds.split(",")]
    name, revision = options.name or options.recipe.stem, options.revision or commit()
    stages = options.stages.split(",") if options.stages else list(recipe.stages)
    tasks = [
        Task(
            recipe=str(options.recipe), overrides=tuple(options.overrides), seed=seed, stage=stage,
            folder=str(options.work / name / f"seed-{seed}"), test=test,
        )
        for stage in stages for seed in seeds_of(recipe, stage, seeds)
    ]  # fmt: skip
    found = perform_all(tasks, jobs=options.jobs)
    by_stage = {
        stage: [found[stage, seed] for seed in seeds_of(recipe, stage, seeds)]
        for stage in recipe.stages
        if stage in stages and found[stage, seeds[0]].hits
    }
    if not by_stage:
        return  # a style net alone: nothing to score
    note_in_ledger(test, name, list(by_stage), revision)
    data, first = test["data"].partition(":")[0], next(iter(by_stage))
    run = open_run(Path(tasks[0].folder) / first)
    pairs = [pair for pair in recipe.study.get("pairs", []) if set(pair) <= set(by_stage)]
    oracles = [stage for stage, rows in by_stage.items() if rows[0].oracle]
    unlabelled = {
        stage: [
            label_free(open_run(options.work / name / f"seed-{seed}" / stage), one.step)
            for seed, one in zip(seeds_of(recipe, stage, seeds), rows, strict=True)
        ]
        for stage, rows in by_stage.items()
    }
    result: dict[str, Any] = {
        "recipe": name,
        "command": f"python benchmarks/study.py {options.recipe} --seeds {options.seeds}"
        + (f" --stages {options.stages}" if options.stages else ""),
        "commit": revision,
        "torch": run.manifest["torch"],
        "device": ", ".join(sorted({one.device for rows in by_stage.values() for one in rows})),
        "test": test["data"] if data in PROCEDURAL else data,
        "seeds": seeds,
        "oracles": oracles,
        "curves": {stage: np.mean([one.curve for one in by_stage[stage]], axis=0).tolist() for stage in oracles},
        "label_free": {stage: across_seeds(rows) for stage, rows in unlabelled.items() if all(rows)},
        "splits": {split: tabulate(by_stage, run, test, split, pairs) for split in splits_of(test)},
    }
    print(markdown(result))
    if not options.tuning:
        out = HERE / "results"
        out.mkdir(exist_ok=True)
        (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
