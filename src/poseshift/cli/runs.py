"""Commands that make a run, or read one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from poseshift.cli.options import AsJson, Device, Quiet, Set, Which, which_of


def _command() -> str:
    return shlex.join(["poseshift", *sys.argv[1:]])


def adapt(
    out: Annotated[Path, typer.Option(help="Folder for the runs (style, source, adapt).")],
    source: Annotated[str | None, typer.Option(help="Labelled images, FORMAT:PATH.")] = None,
    target: Annotated[str | None, typer.Option(help="Unlabelled images, FORMAT:PATH.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe file instead of the preset.")] = None,
    preset: Annotated[
        str, typer.Option(help="adapt (light net, works on a CPU) or adapt-paper (published sizes and losses).")
    ] = "adapt",
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Adapt a pose model to your images: style net, source-only model, adapted model.

    Example: poseshift adapt --source coco:rendered/train.json --target images:photos --out runs/mine
    """
    from poseshift.apps.adapt import adapt as run_adapt
    from poseshift.engine import processes

    processes.meet()
    with processes.together():
        run = run_adapt(
            source, target, out=out, recipe=recipe, preset=preset, overrides=set_ or (), command=_command(), quiet=quiet
        )
    if processes.main():
        print(f"adapted model: {run.path}")
        print(f"next: poseshift predict {run.path} IMAGES --out predictions.json")


def train(
    config: Annotated[Path, typer.Argument(help="A run configuration (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name of the configuration>.")] = None,
    set_: Set = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps; default as configured.")] = None,
    on_nonfinite: Annotated[
        str | None,
        typer.Option(metavar="[stop|skip]", help="What to do where a loss or gradient is not finite; default stop."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train one run of any method; the same command goes on with an unfinished run.

    Example: poseshift train source.yaml --set optimiser.rate=0.0005 --out runs/source

    On two GPUs: torchrun --nproc-per-node 2 -m poseshift train source.yaml --out runs/source
    """
    from poseshift.config import load, parse
    from poseshift.engine import processes
    from poseshift.engine.train import train as run_train

    named = {"device": device, "on_nonfinite": on_nonfinite}
    overrides = [*(set_ or ()), *(f"{key}={value}" for key, value in named.items() if value)]
    processes.meet()
    with processes.together():
        settings = parse(load(config, overrides), origin=str(config))
        run = run_train(settings, out or Path("runs") / config.stem, command=_command(), quiet=quiet)
    if processes.main():
        print(f"finished: {run.path}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[str, typer.Option(help="Labelled images, FORMAT:PATH.")],
    split: Annotated[str | None, typer.Option(help="Split of that format, or groups_0_80.")] = None,
    protocol: Annotated[
        str, typer.Option(help="exact (coordinates, pooled) or reference (the field's code).")
    ] = "exact",
    checkpoint: Which = "best",
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored image.")] = False,
    boxes: Annotated[
        str | None, typer.Option(help="Cut by given, from_keypoints or whole; else as the run's target was cut.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score a run on labelled images: PCK@0.05 by keypoint and group, with a 95 % interval.

    Example: poseshift evaluate runs/mine/adapt --data lsp:data/lsp --split test
    """
    from poseshift.apps.tables import evaluation_table
    from poseshift.engine import processes
    from poseshift.engine.evaluate import crop_by, protocol_of
    from poseshift.engine.evaluate import evaluate as run_evaluate
    from poseshift.engine.progress import bar
    from poseshift.engine.run import open_run

    processes.meet()
    with processes.together(), bar("evaluate") as advance:
        opened = open_run(run)
        result = run_evaluate(
            opened,
            data,
            split=split,
            protocol=protocol_of(protocol),
            which=which_of(checkpoint),
            flip_test=flip_test,
            crop=None if boxes is None else crop_by(opened, boxes),
            device=device,
            advance=advance,
        )
    if processes.main():
        print(json.dumps(result, indent=1) if as_json else evaluation_table(result))


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    data: Annotated[str | None, typer.Option(help="Target images for the picture grid, FORMAT:PATH.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of that format, or groups_0_80.")] = None,
    device: Device = "auto",
) -> None:
    """Write one self-contained HTML file about runs: tables, curves, pictures, configuration.

    Example: poseshift report runs/mine/source runs/mine/adapt --out report.html
    """
    from poseshift.apps.report import report as run_report

    print(run_report(runs, out, data=data, split=split, device=device))


def demo(
    out: Annotated[Path, typer.Option(help="Folder for runs, report and summary.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="In under 90 s: shows that it works, not how well.")] = False,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Run the main job on procedural figures, without any download.

    Example: poseshift demo --out runs/demo
    """
    from poseshift.apps.demo import demo as run_demo
    from poseshift.apps.demo import spread
    from poseshift.apps.tables import text_table

    found = run_demo(out, quick=quick, seed=seed, quiet=quiet, say=lambda line: print(line, flush=True))
    title = "PCK@0.05 (%) on held-out target images, visible keypoints"
    print(text_table(title, {name: result["visible"] for name, result in found.results.items()}))
    if not quick and (line := spread()):
        print(line)
    print(f"report: {found.report}\nsummary: {out / 'summary.json'}\n{found.summary['seconds']:.0f} s")


def info(
    run: Annotated[Path | None, typer.Argument(help="A run folder; without it, this installation.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this installation can do, or what a run is.

    Example: poseshift info runs/mine/adapt
    """
    from poseshift.apps import info as facts

    found = facts.installation() if run is None else facts.run_summary(run)
    print(json.dumps(found, indent=1) if as_json else facts.text(found))


def bench(
    rows: Annotated[str | None, typer.Option(help="Some rows, with commas between them; default all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: shows that it works, not how fast.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast training is here: ratios to bare network passes and to the field's usual code, with goals.

    Example: poseshift bench --rows heatmaps,images_cached
    """
    from poseshift.apps import bench as benches

    chosen = [name.strip() for name in rows.split(",") if name.strip()] if rows else []
    found = benches.bench(chosen, quick=quick, say=lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(found, indent=1) if as_json else f"{benches.text(found)}\n\n{benches.machine()}")
