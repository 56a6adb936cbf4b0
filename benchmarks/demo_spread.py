"""Runs the demo over seeds and writes the spread that the demo prints beside its own result.

    python benchmarks/demo_spread.py --seeds 0,1,2,3,4 --jobs 2

Writes ``src/poseshift/apps/presets/demo-spread.json``. With two jobs each runs on one thread, so the seconds are not
those of a user.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path

import numpy as np
import torch

from poseshift.apps.demo import SPREAD, demo
from poseshift.engine import checkpoint
from poseshift.engine.run import open_run

PRESETS = Path(__file__).parents[1] / "src/poseshift/apps/presets"


def one(task: tuple[int, str, int]) -> dict[str, float]:
    """PCK@0.05 of each method for one seed."""
    seed, folder, threads = task
    torch.set_num_threads(threads)
    found = demo(Path(folder) / f"seed-{seed}", seed=seed, quiet=True)
    print(f"seed {seed}: {found.summary}", flush=True)
    return {name: part["pck@0.05"] for name, part in found.summary.items() if isinstance(part, dict)}


def main() -> None:
    """Runs all seeds and writes the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/demo-spread"))
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    threads = 1 if options.jobs > 1 else torch.get_num_threads()
    tasks = [(seed, str(options.work), threads) for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        found = pool.map(one, tasks, chunksize=1)
    names = list(found[0])
    values = {name: np.array([row[name] for row in found]) for name in names}
    gain = values[names[-1]] - values[names[0]]
    rows = {**values, "gain": gain}
    manifest = open_run(options.work / f"seed-{seeds[0]}" / "adapt").manifest
    result = {
        "command": f"python benchmarks/demo_spread.py --seeds {options.seeds}",
        "commit": manifest["commit"],
        "torch": torch.__version__,
        "seeds": seeds,
        "pck@0.05": {
            name: {
                "mean": round(float(row.mean()), 2),
                "standard_error": round(float(row.std(ddof=1) / np.sqrt(len(row))), 2),
                "values": [round(float(v), 2) for v in row],
            }
            for name, row in rows.items()
        },
    }
    checkpoint.write_text(PRESETS / SPREAD, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
