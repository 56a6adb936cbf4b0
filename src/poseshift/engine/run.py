"""The run folder: a result that explains itself. :func:`open_run` is the only way in; see ``docs/run-folder.md``."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from poseshift import config
from poseshift.config import RunConfig
from poseshift.engine import checkpoint
from poseshift.engine.checkpoint import Checkpoint
from poseshift.errors import CheckpointError, UsageError
from poseshift.models.pose_net import PoseNet
from poseshift.types import Skeleton
from poseshift.version import __version__

SCHEMA = 1
KEEP = 2

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
        raw = dict(self.manifest["skeleton"])
        for key in ("flip_pairs", "edges"):
            raw[key] = tuple((int(a), int(b)) for a, b in raw[key])
        raw["keypoints"], raw["mean_groups"] = tuple(raw["keypoints"]), tuple(raw["mean_groups"])
        raw["groups"] = {name: tuple(rows) for name, rows in raw["groups"].items()}
        raw["sigmas"] = tuple(raw["sigmas"]) if raw["sigmas"] is not None else None
        return Skeleton(**raw)

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
        found = [Checkpoint(path) for path in self.checkpoints_path.glob("step-*")]
        return sorted(found, key=lambda one: one.step)

    def checkpoint(self, which: Pointer | int = "best") -> Checkpoint:
        """The checkpoint that a pointer names, or that of a step. Raises :class:`CheckpointError`."""
        if isinstance(which, int):
            chosen = Checkpoint(self.checkpoints_path / f"step-{which}")
        else:
            pointer = self.checkpoints_path / which
            if not pointer.is_file():
                raise CheckpointError(
                    f"{self.path}: no checkpoint {which!r} yet; run the training command (again) first"
                )
            chosen = Checkpoint(self.checkpoints_path / pointer.read_text(encoding="utf-8").strip())
        if not chosen.path.is_dir():
            steps = [one.step for one in self.checkpoints()]
            raise CheckpointError(f"{chosen.path}: no such checkpoint; this run has steps {steps}")
        chosen.verify()
        return chosen

    def point(self, pointer: Pointer, at: Checkpoint) -> None:
        """Lets a pointer name a checkpoint."""
        checkpoint.write_text(self.checkpoints_path / pointer, at.path.name + "\n")

    def prune(self) -> None:
        """Removes checkpoints beyond the newest two and those that a pointer names."""
        everything = self.checkpoints()
        named = {
            (self.checkpoints_path / p).read_text().strip()
            for p in ("best", "last")
            if (self.checkpoints_path / p).is_file()
        }
        for old in everything[:-KEEP]:
            if old.path.name not in named:
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
        return net.eval()


def open_run(path: str | Path) -> Run:
    """Opens a run folder.

    Raises:
        CheckpointError: No run folder, a broken manifest, or one of a newer schema.
    """
    run = Run(Path(path))
    _read_manifest(run.path)
    return run


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        inner = [child.name for child in sorted(path.glob("*/manifest.json"))] if path.is_dir() else []
        stages = sorted(child.parent.name for child in path.glob("*/manifest.json")) if inner else []
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
    return manifest


def create(path: Path, settings: RunConfig, *, skeleton: Skeleton, command: str, extra: Mapping[str, Any]) -> Run:
    """Makes a run folder. Raises :class:`UsageError` where the folder holds something else."""
    if path.exists() and any(path.iterdir()):
        raise UsageError(
            f"{path}: the folder exists and is no unfinished run of this configuration; choose another --out"
        )
    (path / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(path / "run.yaml", config.dump(settings))
    manifest = {
        "schema": SCHEMA,
        "version": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "command": command,
        "start": datetime.now(UTC).isoformat(timespec="seconds"),
        "end": None,
        "outcome": "running",
        "skeleton": asdict(skeleton),
        **extra,
    }
    checkpoint.write_text(path / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return open_run(path)


def same_configuration(run: Run, settings: RunConfig) -> bool:
    """Whether an existing run was started with this configuration."""
    stored = yaml.safe_load((run.path / "run.yaml").read_text(encoding="utf-8"))
    return bool(stored == yaml.safe_load(config.dump(settings)))


def _commit() -> str | None:
    """The commit of a source checkout, None for an installed package."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
