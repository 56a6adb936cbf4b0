"""A run goes on from what it saved: which checkpoint, and what a killed process left is tidied."""

from __future__ import annotations

from pathlib import Path

from poseshift.config import RunConfig
from poseshift.engine import checkpoint, files, processes, select
from poseshift.engine import run as runs
from poseshift.engine.checkpoint import Checkpoint
from poseshift.engine.differences import differences
from poseshift.engine.journal import Journal
from poseshift.engine.optimise import Optimisers
from poseshift.engine.run import Run
from poseshift.errors import CheckpointError, UsageError
from poseshift.methods.base import Method


def begun(path: Path, settings: RunConfig) -> Run | None:
    """The run in a folder, where one was begun.

    Raises:
        UsageError: It has another configuration, or its batches do not divide by the processes.
    """
    if settings.batch_size % processes.size():
        raise UsageError(
            f"batch_size {settings.batch_size} does not divide by {processes.size()} processes; change either"
        )
    if not (path / "manifest.json").is_file():
        return None
    existing = runs.open_run(path)
    if different := differences(existing, settings):
        raise UsageError(
            f"{path}: holds a run of another configuration ({', '.join(different[:3])}); choose another --out, "
            "or remove the folder"
        )
    return existing


def take_up(run: Run, method: Method, optimisers: Optimisers, journal: Journal, config: RunConfig) -> Checkpoint | None:
    """Takes up the newest intact checkpoint and returns it, None without one; of several processes the first tidies.

    Raises:
        CheckpointError: It does not fit this version, or the folder cannot be written.
    """
    if processes.main():
        checkpoint.clear_drafts(run.checkpoints_path)
        for folder in (run.path, run.checkpoints_path):
            files.clear_drafts(folder)
    found = run.newest_intact()
    step = 0 if found is None else found.step
    if processes.main():
        run.set_aside_beyond(step)
        journal.cut(-1 if found is None else step)
    if found is not None:
        _load(found, method, optimisers, config)
        if processes.main():
            run.point("last", found)
            run.point("best", select.best(run, config).checkpoint)
    return found


def _load(found: Checkpoint, method: Method, optimisers: Optimisers, config: RunConfig) -> None:
    try:
        method.load_state_dict(found.tensors("method"))
        optimisers.load_state_dict(found.state()["optimisers"])
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{found.path}: does not fit this version's {config.method.name!r} ({reason}); "
            "go on with the version in the run's manifest, or train into another folder"
        ) from error
