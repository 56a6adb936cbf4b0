"""Trains every stage of a recipe over seeds, scores each on held-out labelled data, and writes the comparison.

    python benchmarks/study.py recipes/daml/figures-middle.yaml --seeds 0,1,2 --jobs 2

The recipe's ``study`` says what to test on and which stages to compare. Runs go to ``runs/studies/<recipe>/seed-N``
(finished ones are kept, unfinished ones go on); ``benchmarks/results/<recipe>.json`` and ``.md`` are committed.
Each scoring of a real test set is a line in ``benchmarks/ledger.md``. Intervals are 95 % paired bootstraps over images
and seeds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseshift import metrics
from poseshift.apps import recipes
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import devices, evaluate, inference
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.metrics import Hits
from poseshift.types import Annotations

HERE = Path(__file__).parent
PROCEDURAL = ("figures", "quadrupeds")


def train_seed(task: tuple[str, int, str, tuple[str, ...], int]) -> None:
    """Trains all stages of one seed."""
    path, seed, folder, overrides, threads = task
    torch.set_num_threads(threads)
    recipe = recipes.load(Path(path)).overridden([*overrides, f"common.seed={seed}"])
    for name in recipe.stages:
        config = recipe.stage(name, Path(folder))
        run = train(config, Path(folder) / name, command=f"benchmarks/study.py {Path(path).name}", quiet=True)
        last = [line for line in run.metrics() if "terms" in line][-1:]
        seconds = [line["seconds_per_step"] for line in last]
        print(f"seed {seed}: {name} done, {seconds} s a step", flush=True)


def score(run: Run, test: dict[str, Any], split: str) -> tuple[Hits, dict[str, Any], Annotations, int]:
    """Hits on the visible keypoints of the test split, the tables, the annotations and the step."""
    annotations = evaluate.labelled(run, test["data"], split)
    crop = CropConfig(boxes=test.get("boxes", "given"), padding=test.get("padding", 1.25))
    crops = Crops(annotations, crop, size=run.config.input_size)
    which = test.get("checkpoint", "best")
    net = run.predictor(which)
    found = inference.infer(net, crops, device=devices.choose("auto"))
    hits = evaluate.hits_of(crops, found, stride=net.stride, protocol="exact", occluded=False)
    tables = evaluate.score(crops, found, stride=net.stride, protocol="exact")
    reference = evaluate.score(crops, found, stride=net.stride, protocol="reference")
    tables["reference"] = reference["visible"]["pck@0.05"]
    return hits, tables, annotations, run.checkpoint(which).step


def compare(scores: dict[str, list[Hits]], annotations: Annotations, pairs: list[list[str]]) -> list[dict[str, Any]]:
    """Paired differences in points."""
    weights = metrics.bootstrap_weights(annotations.image_index)
    rows = []
    for ours, theirs in pairs:
        found = metrics.paired_difference(scores[ours], scores[theirs], weights, annotations.skeleton)
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
        f"{result['command']}; commit {result['commit'][:12]}; torch {result['torch']}",
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


def note_in_ledger(test: str, splits: list[str], recipe: str, stages: list[str], revision: str) -> None:
    """One line for each scoring of a real test set."""
    if test.partition(":")[0] in PROCEDURAL:
        return
    when = datetime.now(UTC).isoformat(timespec="minutes")
    data = test.partition(":")[0]
    with (HERE / "ledger.md").open("a", encoding="utf-8") as ledger:
        ledger.write(f"| {when} | {data} {', '.join(splits)} | {recipe} | {', '.join(stages)} | {revision[:12]} |\n")


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", type=int, default=1, help="Seeds trained at the same time, one thread each.")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="Changes to the recipe.")
    parser.add_argument("--work", type=Path, default=Path("runs/studies"))
    parser.add_argument("--name", help="Name of the results; default that of the recipe.")
    options = parser.parse_args()
    recipe = recipes.load(options.recipe).overridden(options.overrides)
    if not recipe.study:
        parser.error(f"{options.recipe} has no `study` section")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    name = options.name or options.recipe.stem
    folders = {seed: options.work / name / f"seed-{seed}" for seed in seeds}
    threads = 1 if options.jobs > 1 else torch.get_num_threads()
    tasks = [(str(options.recipe), seed, str(folders[seed]), tuple(options.overrides), threads) for seed in seeds]
    if options.jobs > 1:
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            pool.map(train_seed, tasks, chunksize=1)
    else:
        for task in tasks:
            train_seed(task)

    test, revision = dict(recipe.study["test"]), commit()
    splits = list(test.get("splits", ["test"]))
    scored = [stage for stage in recipe.stages if open_run(folders[seeds[0]] / stage).makes_pose_net]
    note_in_ledger(test["data"], splits, name, scored, revision)
    result: dict[str, Any] = {
        "recipe": name,
        "command": f"python benchmarks/study.py {options.recipe} --seeds {options.seeds}",
        "commit": revision,
        "torch": torch.__version__,
        "test": test["data"].partition(":")[0] if test["data"].partition(":")[0] not in PROCEDURAL else test["data"],
        "seeds": seeds,
        "oracles": [s for s in scored if open_run(folders[seeds[0]] / s).config.oracle],
        "splits": {},
    }
    for split in splits:
        hits: dict[str, list[Hits]] = {}
        rows: dict[str, Any] = {}
        for stage in scored:
            found = [score(open_run(folders[seed] / stage), test, split) for seed in seeds]
            hits[stage] = [one[0] for one in found]
            rows[stage] = summarise([one[1] for one in found], [one[3] for one in found])
            annotations = found[0][2]
        result["splits"][split] = {
            "stages": rows,
            "differences": compare(hits, annotations, recipe.study.get("pairs", [])),
        }
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
