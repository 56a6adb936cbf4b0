"""Commands about data, before there is a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from poseshift.cli.options import AsJson, Set


def check(
    data: Annotated[str, typer.Argument(help="FORMAT:PATH.")],
    split: Annotated[str | None, typer.Option(help="Split of that format, or groups_0_80.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with thumbnails and overlays.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read everything of a data set and say what one must know before training with it.

    Example: poseshift check coco:rendered/train.json --html check.html
    """
    from poseshift.apps import check as checks
    from poseshift.apps import pages
    from poseshift.engine.progress import bar

    if html is not None:
        pages.refuse_folder(html)
    with bar("check") as advance:
        checked = checks.check(data, split=split, advance=advance)
    print(json.dumps(checked.facts, indent=1) if as_json else checks.text(checked))
    if html is not None:
        print(f"page: {checks.write_page(checked, html)}", file=sys.stderr if as_json else sys.stdout)


def doctor(
    source: Annotated[str | None, typer.Option(help="Labelled images, FORMAT:PATH.")] = None,
    target: Annotated[str | None, typer.Option(help="Unlabelled images, FORMAT:PATH.")] = None,
    source_split: Annotated[str | None, typer.Option(help="Split of the source's format.")] = None,
    target_split: Annotated[str | None, typer.Option(help="Split of the target's format.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe file instead of the preset.")] = None,
    preset: Annotated[str, typer.Option(help="As for adapt: what would be trained.")] = "adapt",
    set_: Set = None,
    weights: Annotated[
        str | None, typer.Option(help="Backbone weights (.safetensors) to measure the gap with; else a descriptor.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Their timm net; default as configured.")] = None,
    images: Annotated[int, typer.Option(help="Decode at most so many images of each domain.")] = 400,
    seed: Annotated[int, typer.Option(help="Of the choice of images.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures of both domains.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say before training what is likely to hurt an adaptation, and what to do about it.

    Example: poseshift doctor --source coco:rendered/train.json --target images:photos --html doctor.html
    """
    from poseshift.apps import doctor as doctors
    from poseshift.apps import pages
    from poseshift.engine.progress import bar

    if html is not None:
        pages.refuse_folder(html)
    with bar("doctor") as advance:
        found = doctors.examine(
            source,
            target,
            source_split=source_split,
            target_split=target_split,
            recipe=recipe,
            preset=preset,
            overrides=set_ or (),
            backbone=backbone,
            weights=weights,
            images=images,
            seed=seed,
            advance=advance,
        )
    print(json.dumps(doctors.facts(found), indent=1, allow_nan=False) if as_json else doctors.text(found))
    if html is not None:
        print(f"page: {doctors.write_page(found, html)}", file=sys.stderr if as_json else sys.stdout)


def convert(
    source: Annotated[str, typer.Argument(help="Labelled images, FORMAT:PATH.")],
    target: Annotated[
        str, typer.Argument(help="New folder or file, as coco, deeplabcut, lightning_pose, sleap or yolo_pose:PATH.")
    ],
    split: Annotated[str | None, typer.Option(help="Split of the source's format.")] = None,
    images: Annotated[
        str,
        typer.Option(help="copy or link (hard) files beside the labels, frames as PNG; keep: leave files in place."),
    ] = "copy",
) -> None:
    """Convert labels to another format, with images that they can refer to; say what the format cannot hold.

    Example: poseshift convert sleap:labels.slp coco:converted
    """
    from poseshift.apps.convert import convert as run_convert
    from poseshift.engine.progress import bar

    with bar("convert") as advance:
        done = run_convert(source, target, split=split, images=images, advance=advance)
    print(f"{done.instances} instances in {done.images} images: {done.data}")
    for change, what in (("lost", done.lost), ("added", done.added)):
        if what:
            print(f"{change}: {', '.join(what)}")


def pack(
    data: Annotated[str, typer.Argument(help="FORMAT:PATH.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Split of that format, or groups_0_80; may be repeated.")
    ] = None,
    shard_size: Annotated[int, typer.Option(help="Encoded images in a shard, MiB.")] = 256,
    image_side: Annotated[int | None, typer.Option(help="Scale images down to this longer side, pixels.")] = None,
    quality: Annotated[
        int | None, typer.Option(help="JPEG quality of images that are scaled or no files; default: PNG.")
    ] = None,
) -> None:
    """Pack a data set into Parquet shards with encoded images; files are kept as they are.

    Example: poseshift pack coco:rendered/train.json packed/train
    """
    from poseshift.apps.pack import pack as run_pack
    from poseshift.engine.progress import bar

    with bar("pack") as advance:
        packed = run_pack(
            data,
            out,
            splits=split or (),
            shard_mib=shard_size,
            image_side=image_side,
            quality=quality,
            advance=advance,
        )
    if packed.unreadable:
        print(packed.complaint, file=sys.stderr)
    print(f"{packed.line}\nnext: poseshift check packed:{packed.path}")
