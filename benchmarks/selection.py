"""How well do scores without labels choose? Scores every checkpoint of finished runs, with and without labels.

    python benchmarks/selection.py runs/selection/procedural --data figures:middle,side=80,count=250 --split val \\
        --name procedural

Every run below the folders that has an ``init``, a target and several checkpoints counts (``keep`` in its configuration
says how many there are). Its start, step 0, is the net of its ``init``. Scores are computed as training does; truth is
PCK@0.05 on ``--data``. Rows go to ``<folder>/selection.json``, so that labels are looked at once; the tables to
``benchmarks/results/selection-<name>.md``. ``--train RECIPE --work DIR`` makes such runs first, those that
fail left where they failed. Each scoring of a real data set's labels is a line in ``benchmarks/ledger.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from selection_tables import markdown
from study import PROCEDURAL, commit

from poseshift import metrics
from poseshift.apps import recipes
from poseshift.apps.recipes import Recipe
from poseshift.data import sources
from poseshift.data.crops import Crops
from poseshift.engine import checkpoint, evaluate, inference, poses, scoring, setup
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.errors import PoseshiftError
from poseshift.methods.base import Method
from poseshift.models.pose_net import PoseNet

HERE = Path(__file__).parent
DEVICE = torch.device("cpu")
UNRELATED = 256
"""Pictures in each of the folders ``noise`` and ``unrelated``."""


def write_unrelated(folder: Path) -> None:
    """Pictures that a model of people cannot be adapted to: ``noise``, blurred, and ``unrelated``, of animals."""
    animals = sources.read(f"quadrupeds:middle,side=80,count={UNRELATED}")
    generator = np.random.default_rng(0)
    for number in range(UNRELATED):
        coarse = Image.fromarray(generator.integers(0, 255, (10, 10, 3), dtype=np.uint8))
        pictures = {
            "noise": coarse.resize((80, 80)),
            "unrelated": Image.fromarray(animals.images.read(int(animals.image_index[number]))),
        }
        for name, picture in pictures.items():
            (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
            picture.save(folder / "pictures" / name / f"{number:04}.png")


def placed(recipe: Recipe, work: Path) -> Recipe:
    """The recipe with the working folder in the place of WORK."""
    text = json.dumps({"common": recipe.common, "stages": recipe.stages}).replace("WORK", str(work))
    return recipes.recipe_of(json.loads(text), origin="selection")


def train_all(recipe: Recipe, work: Path) -> None:
    """Trains every stage; of one that fails, what it saved until then is kept, and the others go on."""
    store: setup.CropStore = {}
    for name in recipe.stages:
        try:
            train(recipe.stage(name, work), work / name, command="benchmarks/selection.py", quiet=True, store=store)
            print(f"{name}: done", flush=True)
        except PoseshiftError as error:
            print(f"{name}: {error}", flush=True)


def runs_below(folders: Iterable[Path]) -> Iterator[Run]:
    """Runs that adapt from a start and hold more than one later checkpoint."""
    for folder in folders:
        for file in sorted(folder.rglob("manifest.json")):
            if (file.parent / "run.yaml").is_file() and (file.parent / "parents" / "init").is_dir():
                run = open_run(file.parent)
                whole = [one for one in run.checkpoints() if one.step and (one.path / "method.safetensors").is_file()]
                if "target" in run.config.method.needs and len(whole) > 1:
                    yield run


def loaded(run: Run, method: Method) -> Iterator[int]:
    """Loads the start, then each checkpoint of a run into ``method``; yields its step."""
    yield 0  # as it was made, from the run's `init`
    for one in run.checkpoints():
        if one.step:
            method.load_state_dict(one.tensors("method"))
            yield one.step


def measure(run: Run, test: Crops, images: int, store: setup.CropStore) -> dict[str, Any]:
    """The scores and the truth of every checkpoint of a run."""
    config = run.config.model_copy(update={"agreement_images": images, "device": "cpu"})
    data = setup.data_of(config, store, begun=run)
    method = setup.method_of(config, run, data)
    kept = poses.of_run(run.path, data.source)
    known = None if kept is None else torch.from_numpy(kept)
    scores, truth = {}, {}
    for step in loaded(run, method):
        method.eval()
        scores[step] = scoring.scores(method, data, config, step=step, device=DEVICE, known=known)
        truth[step] = pck(method, test)
    return {"run": run.path.name, "method": config.method.name, "scores": scores, "truth": truth}


def pck(method: Method, test: Crops) -> float:
    """PCK@0.05 of the predictor, in percent."""
    if not isinstance(method.predictor, PoseNet):
        raise TypeError("a method that makes no pose net")
    said = inference.infer(method.predictor, test, device=DEVICE).predictions
    labels = test.annotations
    hits = metrics.exact_hits(said.keypoints, labels.keypoints, labels.visible == 2, said.crop_side)
    return 100 * metrics.group_means(metrics.pck(hits), labels.skeleton)["mean"]


def test_crops(run: Run, options: argparse.Namespace) -> Crops:
    """The labelled images of the truth, cut as the run cuts its target."""
    annotations = sources.read(options.data, split=options.split)
    labels = sources.to_skeleton(annotations, run.skeleton, {}, origin=options.data)
    labels = labels.select(range(0, len(labels), options.every))
    return Crops(labels, evaluate.default_crop(run, labels), size=run.config.input_size, cache_bytes=2**30)


def part_of(options: argparse.Namespace) -> str:
    """The labelled images in words."""
    name = options.data.partition(":")[0]
    return f"{name} {options.split}" + (f", every {options.every}th" if options.every > 1 else "")


def note_in_ledger(options: argparse.Namespace, runs: Sequence[str], revision: str) -> None:
    """One line for each scoring of real labels."""
    name = options.data.partition(":")[0]
    if name in PROCEDURAL or not runs:
        return
    when = datetime.now(UTC).isoformat(timespec="minutes")
    with (HERE / "ledger.md").open("a", encoding="utf-8") as ledger:
        ledger.write(
            f"| {when} | {part_of(options)} | selection.py, every checkpoint | {', '.join(runs)} | {revision[:12]} |\n"
        )


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="Folders, searched for runs.")
    parser.add_argument("--data", help="FORMAT:PATH of the labelled target images.")
    parser.add_argument("--split")
    parser.add_argument("--every", type=int, default=1, help="Take every so many instances.")
    parser.add_argument("--images", type=int, default=256, help="Target images for the scores.")
    parser.add_argument("--name", help="Name of the results.")
    parser.add_argument("--train", type=Path, help="A recipe whose stages are trained first.")
    parser.add_argument("--work", type=Path, default=Path("runs/selection"), help="Folder for those runs.")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="Changes to the recipe.")
    return parser.parse_args()


def main() -> None:
    """Trains, measures what was not measured yet, and writes the tables."""
    options = arguments()
    if options.train is not None:
        write_unrelated(options.work)
        train_all(placed(recipes.load(options.train).overridden(options.overrides), options.work), options.work)
    if options.data is None:
        return
    store: setup.CropStore = {}
    rows, fresh = [], []
    for run in runs_below(options.runs):
        kept = run.path / "selection.json"
        key = {"data": options.data, "split": options.split, "every": options.every, "images": options.images}
        row = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        if {name: row.get(name) for name in key} != key:
            row = key | measure(run, test_crops(run, options), options.images, store)
            checkpoint.write_text(kept, json.dumps(row) + "\n")
            fresh.append(str(run.path.name))
            print(f"{run.path}: {row['truth']}", flush=True)
        rows.append(json.loads(kept.read_text(encoding="utf-8")))
    if not rows:
        raise SystemExit(f"{[str(folder) for folder in options.runs]}: no adapted run with several checkpoints")
    note_in_ledger(options, fresh, commit())
    text = markdown(options.name, rows, f"PCK@0.05 on {part_of(options)}; commit {commit()[:12]}")
    print(text)
    if options.name:
        checkpoint.write_text(HERE / "results" / f"selection-{options.name}.md", text)


if __name__ == "__main__":
    main()
