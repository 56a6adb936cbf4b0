"""The command line: parse, call, turn our errors into one line and an exit code. Imports torch only when it must.

``runs``, ``models``, ``studies`` and ``data`` hold the commands, a function each, in the order of the help below.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from poseshift.cli import data, models, runs, studies
from poseshift.cli.launched import SHARED, refuse_torchrun
from poseshift.errors import DataError, PoseshiftError
from poseshift.version import __version__

app = typer.Typer(
    name="poseshift",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Adapt a 2D pose model from labelled synthetic images to unlabelled real ones.\n\n"
    "Example: poseshift demo --out runs/demo",
)


def main() -> None:
    """Entry point of the console script."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("lightning_fabric", "httpx", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        app()
    except PoseshiftError as error:
        if not error.said:
            print(f"poseshift: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"poseshift: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(DataError.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand not in (None, *SHARED):
        refuse_torchrun(str(context.invoked_subcommand))


for command in (
    *(runs.adapt, runs.train, runs.evaluate, models.predict, models.calibrate, models.export, runs.report),
    *(studies.compare, studies.ablate, studies.sweep),
    *(data.check, data.doctor, data.convert, data.pack),
    *(runs.demo, runs.info, runs.bench),
):
    app.command()(command)
