"""Options that several commands share, and those of `predict`, which has many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from poseshift.errors import UsageError

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Which = Annotated[str, typer.Option("--checkpoint", help="best (by the run's selection rule), last, or a step.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="[coco|table|deeplabcut|lightning_pose|parquet]",
        help="Instead of what the ending of --out means.",
    ),
]
Overlay = Annotated[
    Path | None, typer.Option(help="An mp4 to write: the one video that is given, with the skeletons drawn in.")
]
Adapt = Annotated[
    str | None,
    typer.Option(
        metavar="[statistics|entropy|consistency]",
        help="Adapt a copy of the net to these images as they come: its BatchNorm statistics; with entropy or "
        "consistency of two views their scales and shifts too. The run stays as it is.",
    ),
]
Engine = Annotated[
    str, typer.Option(help="here; or ray: over the workers of a Ray cluster, --out being a folder of Parquet files.")
]
Boxes = Annotated[
    Path | None,
    typer.Option(
        help="COCO json or csv (file, [frame,] x, y, width, height, [id]) with a box for each instance; else whole "
        "images."
    ),
]


def which_of(text: str) -> Any:
    """What ``--checkpoint`` means. Raises :class:`UsageError`."""
    if text in ("best", "last"):
        return text
    if not text.isdecimal():
        raise UsageError(f"--checkpoint {text!r}: expected best, last or a step")
    return int(text)
