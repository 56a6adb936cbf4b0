"""The run folder: a result that explains itself. :func:`open_run` is the only way in; see ``docs/run-folder.md``."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from poseshift import config
from poseshift.config import RunConfig
from poseshift.engine import checkpoint, files, poses
from poseshift.engine.checkpoint import Checkpoint
from poseshift.errors import CheckpointError, UsageError
from poseshift.models.pose_net import PoseNet
from poseshift.types import Skeleton
from poseshift.version import __version__

log = logging.getLogger(__name__)

SCHEMA = 1
BEFORE_MANIFEST = {"run.yaml", "parents", "checkpoints"}
OWN = BEFORE_MANIFEST | {"manifest.json", poses.FILE}

Pointer = Literal["best", "last"]


class Run:
    """One run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints_path = path / "checkpoints"

    @cached_property
    def config(self) -> RunConfig:
        """The whole resolved configuration."""
        file = self.path / "run.yaml"
        parsed: RunConfig = config.parse(config.load(file), origin=str(file))
        return parsed

    @property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``."""
        return _read_manifest(self.path)

    @property
    def skeleton(self) -> Skeleton:
        """Names of the keypoints that the run predicts."""
        return Skeleton.restored(self.manifest["skeleton"])

    @property
    def finished(self) -> bool:
        """Whether training reached its last step."""
        return bool(self.manifest["outcome"] == "finished")

    @property
    def makes_pose_net(self) -> bool:
        """Whether there is a pose net to evaluate, predict with and export."""
        return any((one.path / "predictor.safetensors").is_file() for one in self.checkpoints())

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        file = self.path / "metrics.jsonl"
        if file.is_file():
            with file.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.endswith("\n"))

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, oldest first."""
        folders = self.checkpoints_path.glob("step-*")
        found = [Checkpoint(path) for path in folders if path.name.removeprefix("step-").isdecimal()]
        return sorted(found, key=lambda one: one.step)

    def checkpoint(self, which: Pointer | int = "best") -> Checkpoint:
        """The checkpoint that a pointer names, or that of a step; ``last`` is the newest one that is intact.

        Raises:
            CheckpointError: There is none, or it is damaged; the message names the file and the reason.
        """
        if which == "last" and (newest := self.newest_intact()) is not None:
            return newest
        if isinstance(which, int):
            chosen = Checkpoint(self.checkpoints_path / f"step-{which}")
        else:
            name = self.pointed(which)
            if name is None:
                raise CheckpointError(
                    f"{self.path}: no checkpoint {which!r} yet; run the training command (again) first"
                )
            chosen = Checkpoint(self.checkpoints_path / name)
        if not chosen.path.is_dir():
            steps = [one.step for one in self.checkpoints()]
            raise CheckpointError(f"{chosen.path}: no such checkpoint; this run has steps {steps}")
        chosen.verify()
        return chosen

    def pointed(self, pointer: Pointer) -> str | None:
        """The name of the checkpoint that a pointer names; None as long as it names none."""
        file = self.checkpoints_path / pointer
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None

    def newest_intact(self) -> Checkpoint | None:
        """The newest checkpoint that is as it was written; says loudly where a newer one is not."""
        for candidate in reversed(self.checkpoints()):
            try:
                candidate.verify()
            except CheckpointError as error:
                log.warning("%s; falling back to the checkpoint before it", error)
                continue
            return candidate
        return None

    def set_aside_beyond(self, step: int) -> None:
        """Renames checkpoints beyond ``step``, which are damaged, to ``damaged-step-N``: no pointer may choose them."""
        for one in self.checkpoints():
            if one.step > step:
                aside = one.path.with_name(f"damaged-{one.path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                one.path.rename(aside)

    def trust(self, name: str) -> dict[str, Any] | None:
        """A file of ``trust/``: ``step-N``, what was examined of a checkpoint, or ``reference``; None without one.

        Raises:
            CheckpointError: It does not read.
        """
        file = self.path / "trust" / f"{name}.json"
        if not file.is_file():
            return None
        try:
            content: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); remove it, then `poseshift calibrate`") from error
        return content

    def point(self, pointer: Pointer, at: Checkpoint) -> None:
        """Lets a pointer name a checkpoint."""
        checkpoint.write_text(self.checkpoints_path / pointer, at.path.name + "\n")

    def prune(self) -> None:
        """Removes checkpoints but the newest (``keep``), those that a pointer names, and the start."""
        everything = self.checkpoints()
        named = {self.pointed("best"), self.pointed("last")}
        for old in everything[: -self.config.keep]:
            if old.path.name not in named and old.step:
                shutil.rmtree(old.path)

    def note(self, **changes: Any) -> None:
        """Changes entries of the manifest."""
        checkpoint.write_text(self.path / "manifest.json", json.dumps({**self.manifest, **changes}, indent=1) + "\n")

    def predictor(self, which: Pointer | int = "best") -> PoseNet:
        """The pose net of a checkpoint, in evaluation mode, on the CPU.

        Raises:
            UsageError: This run makes no pose net.
            CheckpointError: There is none, or it is damaged.
        """
        chosen = self.checkpoint(which)
        if not (chosen.path / "predictor.safetensors").is_file():
            raise UsageError(f"{self.path}: a run of {self.config.method.name!r} has no pose net to predict with")
        net = PoseNet(self.config.model.model_copy(update={"weights": None}), len(self.skeleton))
        net.load_state_dict(chosen.tensors("predictor"))
        net.logit_sigma = self.config.logit_sigma
        return net.eval()


def open_run(path: str | Path) -> Run:
    """Opens a run folder.

    Raises:
        CheckpointError: No run folder, a broken manifest, or one of a newer schema; says which version is needed.
    """
    run = Run(Path(path))
    _read_manifest(run.path)
    return run


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        stages = sorted(child.parent.name for child in path.glob("*/manifest.json")) if path.is_dir() else []
        hint = (
            f"; it holds the runs {stages}, name one of them"
            if stages
            else "; give the folder that `train` or `adapt` wrote"
        )
        raise CheckpointError(f"{path}: no run folder (no manifest.json){hint}")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema = int(manifest["schema"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: not a manifest ({error}); restore it from a copy") from error
    if schema > SCHEMA:
        needed = manifest.get("version", "newer")
        raise CheckpointError(
            f"{file}: schema {schema}, this version reads up to {SCHEMA}; install poseshift {needed} or newer"
        )
    if missing := sorted({"outcome", "skeleton"} - set(manifest)):
        raise CheckpointError(f"{file}: has no {missing[0]!r}; restore it from a copy")
    return manifest


def create(
    path: Path,
    settings: RunConfig,
    *,
    skeleton: Skeleton,
    command: str,
    extra: Mapping[str, Any],
    parents: Callable[[Path], Mapping[str, Any]] = lambda folder: {},
) -> Run:
    """Makes a run folder; its manifest is written last, so that a folder with one is whole.

    Args:
        path: The folder; it may exist if it is empty, or holds only what a killed process left of a creation.
        settings: Goes into ``run.yaml``.
        skeleton: Of what the run predicts.
        command: The command line.
        extra: More entries of the manifest.
        parents: Copies the weights of parent runs into the folder, and returns what the manifest says of them.

    Raises:
        UsageError: The folder holds something else.
        CheckpointError: The disk refuses.
    """
    left = BEFORE_MANIFEST | {file.name for file in files.drafts(path, *OWN)}
    if path.exists() and (not path.is_dir() or {child.name for child in path.iterdir()} - left):
        raise UsageError(
            f"{path}: exists and is no unfinished run of this configuration; choose another --out, or remove it"
        )
    files.clear_drafts(path, *OWN)
    checkpoint.write_text(path / "run.yaml", config.dump(settings))
    (path / "checkpoints").mkdir(exist_ok=True)
    manifest = {
        "schema": SCHEMA,
        "version": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "command": command,
        "start": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "end": None,
        "outcome": "running",
        "skeleton": asdict(skeleton),
        **extra,
        "parents": dict(parents(path)),
    }
    checkpoint.write_text(path / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return open_run(path)


def _commit() -> str | None:
    """The commit of a source checkout, None for an installed package."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
