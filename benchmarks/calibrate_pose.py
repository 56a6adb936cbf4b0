"""Fixes the weight of the calibrated pose term: its gradient at the student's heatmaps against the consistency term's.

    python benchmarks/calibrate_pose.py recipes/daml/figures-middle.yaml --work runs/studies/figures-middle/seed-0

Takes the recipe's stage ``multilevel`` (its parents must be trained: ``benchmarks/study.py`` does), adapts for its
steps and measures, every 10 steps, the norm of the gradient of each raw term at the student's target heatmaps. Prints
the median ratio of the pose term (certainty minus diversity, weight 1) to the consistency term, and the weight that
makes it ``--share``.
Writes ``benchmarks/results/calibrate_pose.md``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from poseshift.apps import recipes
from poseshift.engine.train import Session

EVERY = 10
HERE = Path(__file__).parent


def norms(update_terms: dict[str, Tensor], heatmaps: Tensor) -> dict[str, float]:
    """Gradient norm of each term that depends on the heatmaps."""
    found = {}
    for name, value in update_terms.items():
        (gradient,) = torch.autograd.grad(value, heatmaps, retain_graph=True, allow_unused=True)
        if gradient is not None:
            found[name] = float(gradient.norm())
    return found


def measure(session: Session, steps: int) -> dict[str, list[float]]:
    """Ratios to the consistency term over an adaptation."""
    seen: list[Tensor] = []
    student = session.method.student
    if not isinstance(student, nn.Module):
        raise SystemExit("the stage has no student")
    student.final.register_forward_hook(lambda module, inputs, output: seen.append(output))
    session.method.train()
    session.method.refresh(session.batches.plain_targets(batch_size=session.config.batch_size))
    batches = session.batches(0)
    ratios: dict[str, list[float]] = {"certainty": [], "diversity": [], "pose": []}
    for step in range(steps):
        batch, progress = next(batches), step / steps
        session.optimisers.set_rates(progress)
        seen.clear()
        for update in session._updates(batch, progress):
            terms = {name: term.value for name, term in update.terms.items()}
            if step % EVERY == 0:
                terms["pose"] = terms["certainty"] - terms["diversity"]
                found = norms(terms, seen[-1])
                for name in ratios:
                    ratios[name].append(found[name] / found["consistency"])
            session.optimisers.gradients(session.fabric, update)
            session.optimisers.step(update.on)
        session.method.after_step(progress)
    return ratios


def main() -> None:
    """Prints and writes the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--stage", default="multilevel")
    parser.add_argument("--share", type=float, default=0.15)
    parser.add_argument("--beta", default="1,3,10,30")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="Changes to the recipe.")
    parser.add_argument("--name", default="calibrate_pose", help="Of the results.")
    options = parser.parse_args()
    lines = ["| β | certainty / consistency | diversity / consistency | pose / consistency | weight for "
             f"{options.share:.0%} | 5–95 % of the ratio at that weight |", "|---|---|---|---|---|---|"]  # fmt: skip
    for beta in map(float, options.beta.split(",")):
        changes = [*options.overrides, f"stages.{options.stage}.method.inverse_temperature={beta}"]
        recipe = recipes.load(options.recipe).overridden(changes)
        folder = Path(tempfile.mkdtemp())
        config = recipe.stage(options.stage, options.work)
        session = Session(config, folder / "run", None, command="benchmarks/calibrate_pose.py", quiet=True)
        ratios = measure(session, config.steps)
        medians = {name: float(np.median(values)) for name, values in ratios.items()}
        weight = options.share / medians["pose"]
        low, high = np.percentile(ratios["pose"], [5, 95]) * weight
        shown = " | ".join(f"{medians[name]:.3g}" for name in ("certainty", "diversity", "pose"))
        lines.append(f"| {beta:g} | {shown} | {weight:.3g} | {low:.0%} to {high:.0%} |")
        print(lines[-1], flush=True)
        shutil.rmtree(folder)
    head = f"# Weight of the calibrated pose term\n\n`{options.recipe}`, stage {options.stage}; weight 1, medians.\n\n"
    (HERE / "results" / f"{options.name}.md").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
