"""Commands about data, before there is a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from poseshift.cli.options import AsJson


def check(
    data: Annotated[str, typer.Argument(help="FORMAT:PATH.")],
    split: Annotated[str | None, typer.Option(help="Split of that format.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with thumbnails and overlays.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read everything of a data set and say what one must know before training with it.

    Example: poseshift check coco:rendered/train.json --html check.html
    """
    from poseshift.apps import check as checks
    from poseshift.engine.progress import bar

    with bar("check") as advance:
        checked = checks.check(data, split=split, advance=advance)
    print(json.dumps(checked.facts, indent=1) if as_json else checks.text(checked))
    if html is not None:
        print(f"page: {checks.write_page(checked, html)}", file=sys.stderr if as_json else sys.stdout)


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
    split: Annotated[list[str] | None, typer.Option(help="Split of that format; may be repeated.")] = None,
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
            *(data, out),
            splits=split or (),
            shard_mib=shard_size,
            image_side=image_side,
            quality=quality,
            advance=advance,
        )
    if packed.unreadable:
        print(f"{len(packed.unreadable)} images cannot be read; training passes over them:", file=sys.stderr)
        print(*(f"  {line}" for line in packed.unreadable[:5]), sep="\n", file=sys.stderr)
    print(f"{packed.line}\nnext: poseshift check packed:{packed.path}")
