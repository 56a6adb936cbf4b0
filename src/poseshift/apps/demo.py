"""The demo: the main job on procedural figures, no download, in minutes on a CPU."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from poseshift.apps import recipes, report
from poseshift.engine import checkpoint
from poseshift.engine.evaluate import evaluate
from poseshift.engine.run import Run

SPREAD = "demo-spread.json"
"""What ``benchmarks/demo_spread.py`` measured over seeds."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo leaves.

    Attributes:
        summary: The content of ``summary.json``.
        results: Each method's result of the evaluation, by name.
        report: The report's path.
    """

    summary: dict[str, Any]
    results: dict[str, dict[str, Any]]
    report: Path


def demo(
    out: str | Path,
    *,
    quick: bool = False,
    seed: int = 0,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Generates the procedural pair, trains, adapts, evaluates on held-out target images, reports.

    Args:
        out: Folder for the runs, ``report.html`` and ``summary.json``.
        quick: Fewer and shorter steps: shows that everything works, not how well.
        seed: Of the training.
        quiet: No progress bars.
        say: Called with a line about what is going on.
    """
    began, folder = time.monotonic(), Path(out)
    recipe = recipes.preset("demo-quick" if quick else "demo").overridden([f"common.seed={seed}"])
    data, split = str(recipe.study["test"]["data"]), str(recipe.study["test"]["split"])
    results: dict[str, dict[str, Any]] = {}
    runs: list[Run] = []
    say(f"recipe: {', '.join(recipe.stages)}; runs in {folder}")
    for stage, run in recipes.train_stages(recipe, folder, command="poseshift demo", quiet=quiet):
        say(f"{stage}: done after {time.monotonic() - began:.0f} s")
        if run.makes_pose_net:
            runs.append(run)
            name, found = run.config.method.name, evaluate(run, data, split=split)
            if name not in results or found["visible"]["pck@0.05"] > results[name]["visible"]["pck@0.05"]:
                results[name] = found
    page = report.report(runs, folder / "report.html", data=data, split=split)
    summary: dict[str, Any] = {
        name: {"pck@0.05": found["visible"]["pck@0.05"], "interval": found["visible"]["interval"]}
        for name, found in results.items()
    }
    summary["seconds"] = round(time.monotonic() - began, 1)
    checkpoint.write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return Demo(summary=summary, results=results, report=page)


def spread() -> str | None:
    """The committed result over seeds in one line, None where there is none."""
    file = resources.files("poseshift.apps").joinpath("presets", SPREAD)
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = [f"{name} {row['mean']:.1f} ± {row['standard_error']:.1f}" for name, row in found["pck@0.05"].items()]
    return f"over {len(found['seeds'])} seeds (mean ± standard error): {', '.join(rows)}"
