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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from study_tables import LABEL_FREE, across_seeds, compare, markdown, summarise

from poseshift.apps import recipes
from poseshift.apps.compare import scoring
from poseshift.apps.compare.scoring import Scored, splits_of
from poseshift.apps.compare.tasks import Key, Task, perform_all
from poseshift.apps.recipes import Recipe
from poseshift.engine.run import Run, open_run

HERE = Path(__file__).parent
PROCEDURAL = ("figures", "quadrupeds")


def label_free(run: Run, step: int) -> dict[str, float]:
    """The scores without labels of the checkpoint at ``step``, as the run logged them; none without target images."""
    logged = [line["scores"] for line in run.metrics() if line["step"] == step and "scores" in line]
    return {name: logged[-1][name] for name in LABEL_FREE if name in logged[-1]} if logged else {}


def train_and_score(tasks: list[Task], *, jobs: int) -> dict[Key, Scored]:
    """Scores of every task; the first failure ends the study."""
    found: dict[Key, Scored] = {}
    for done in perform_all(tasks, jobs=jobs):
        if done.failure is not None:
            raise done.failure
        assert done.scored is not None
        found[done.task.key] = done.scored
        if done.seconds:
            pck = {split: table["visible"]["pck@0.05"] for split, table in done.scored.tables.items()}
            print(f"seed {done.task.seed}: {done.task.stage}: {pck}, {done.seconds:.0f} s", flush=True)
    return found


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
    annotations = scoring.instances_of(run, test, split)
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
            recipe=recipe, seed=seed, stage=stage, folder=options.work / name / f"seed-{seed}", test=test,
            command=f"benchmarks/study.py {options.recipe.name}",
        )
        for stage in stages for seed in seeds_of(recipe, stage, seeds)
    ]  # fmt: skip
    found = train_and_score(tasks, jobs=options.jobs)
    by_stage = {
        stage: [found[stage, seed] for seed in seeds_of(recipe, stage, seeds)]
        for stage in recipe.stages
        if stage in stages and found[stage, seeds[0]].hits
    }
    if not by_stage:
        return  # a style net alone: nothing to score
    note_in_ledger(test, name, list(by_stage), revision)
    data, first = test["data"].partition(":")[0], next(iter(by_stage))
    run = open_run(tasks[0].folder / first)
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
