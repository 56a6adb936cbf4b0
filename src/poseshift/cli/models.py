"""Commands that use a trained model: predict with it, calibrate it, export it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from poseshift.cli.launched import refuse_torchrun
from poseshift.cli.options import Adapt, AsJson, Boxes, Device, Engine, Format, Overlay, Set, Which, which_of


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, or an exported model (.onnx).")],
    inputs: Annotated[list[Path], typer.Argument(help="Images, videos, folders of them, and globs in quotes.")],
    out: Annotated[
        Path,
        typer.Option(
            help="predictions.json (COCO results), .csv (a table; of one video, DeepLabCut's), .h5 (DeepLabCut's) or "
            ".parquet."
        ),
    ] = Path("predictions.json"),
    format_: Format = None,
    overlay: Overlay = None,
    boxes: Boxes = None,
    checkpoint: Which = "best",
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored image.")] = False,
    adapt: Adapt = None,
    raw_scores: Annotated[
        bool, typer.Option("--raw-scores", help="Heights of heatmap peaks instead of calibrated probabilities.")
    ] = False,
    device: Device = "auto",
    engine: Engine = "here",
    workers: Annotated[int | None, typer.Option(help="Of --engine ray; default one a processor.")] = None,
) -> None:
    """Predict keypoints of images and videos; a score is the probability that the keypoint is right, if calibrated.

    Example: poseshift predict runs/mine/adapt film.mp4 --out film.csv --overlay film-poses.mp4
    """
    from poseshift.apps.predict import predict as run_predict
    from poseshift.apps.predict.on_ray import chosen_engine
    from poseshift.engine.progress import bar, speaks

    if engine != "here" or run.suffix == ".onnx":
        refuse_torchrun("predict with an exported model or on Ray")
    given = {"--format": format_, "--overlay": overlay, "--boxes": boxes, "--adapt": adapt}
    if chosen_engine(engine, given=given, workers=workers):
        options = {"which": which_of(checkpoint), "flip_test": flip_test, "raw_scores": raw_scores, "device": device}
        _predict_on_ray(run, inputs, out, options, workers)
        return
    with bar("predict") as advance:
        instances, found = run_predict(
            run,
            inputs,
            out=out,
            format=format_,
            overlay=overlay,
            boxes=boxes,
            which=which_of(checkpoint),
            flip_test=flip_test,
            adapt=adapt,
            raw_scores=raw_scores,
            device=device,
            expect=advance.expect,
            advance=advance,
        )
    if not speaks():
        return
    without = f", {len(instances) - found.count} without a prediction" if found.count < len(instances) else ""
    print(f"{found.count} instances{without}: {out}; scores are {'calibrated' if found.calibrated else 'raw'}")
    if overlay is not None:
        print(f"overlay: {overlay}")


def _predict_on_ray(run: Path, inputs: list[Path], out: Path, options: dict[str, Any], workers: int | None) -> None:
    from poseshift.apps.predict import on_ray
    from poseshift.engine.progress import bar

    with bar("parts") as advance:
        done = on_ray.predict(
            run, inputs, out=out, options=options, workers=workers, expect=advance.expect, advance=advance
        )
    there = f", {done.skipped} of them were there" if done.skipped else ""
    without = f", {done.failed} without a prediction" if done.failed else ""
    print(f"{done.instances} instances{without}: {out} ({done.parts} parts{there})")


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    checkpoint: Which = "best",
    set_: Set = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Calibrate the scores of a finished run and look for collapse, without target labels; training does so itself.

    For runs of earlier versions, or whose data moved. Example: poseshift calibrate runs/mine/adapt
    """
    from poseshift.apps.tables import trust_lines
    from poseshift.engine.run import open_run
    from poseshift.engine.trust import calibrate as run_calibrate

    opened, which = open_run(run), which_of(checkpoint)
    run_calibrate(opened, which=which, overrides=set_ or (), device=device)
    examined = opened.trust(f"step-{opened.checkpoint(which).step}") or {}
    print(json.dumps(examined, indent=1) if as_json else "\n".join(trust_lines(examined)))


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    format_: Annotated[str, typer.Option("--format", help="onnx, or torch (torch.export's .pt2).")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file; default RUN/export/model.onnx and the like.")] = None,
    checkpoint: Which = "best",
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored image, inside.")] = False,
    raw_scores: Annotated[
        bool, typer.Option("--raw-scores", help="Heights of heatmap peaks instead of calibrated probabilities.")
    ] = False,
    quantise: Annotated[
        str | None, typer.Option(metavar="[int8]", help="Eight-bit integers for CPUs; says what that changes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's model as one file for machines without torch, once it says what torch says of real images.

    Example: poseshift export runs/mine/adapt --format onnx
    """
    from poseshift.apps.export import export as run_export
    from poseshift.apps.export import format_of, quantise_of
    from poseshift.apps.export.words import facts, lines

    made = run_export(
        run,
        out=out,
        format=format_of(format_),
        which=which_of(checkpoint),
        flip_test=flip_test,
        raw_scores=raw_scores,
        quantise=quantise_of(quantise),
    )
    print(json.dumps(facts(made), indent=1) if as_json else "\n".join(lines(made)))
