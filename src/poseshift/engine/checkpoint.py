"""Checkpoints: written whole or not at all, checked before they are read.

A checkpoint is a folder ``step-N`` of safetensors files (``predictor``, ``method``), ``state.pt`` (optimisers; read
with ``weights_only``) and ``manifest.json`` with the sha256 of each. It is written under a temporary name, synced and
renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from poseshift.engine.files import append_line as append_line
from poseshift.engine.files import sync
from poseshift.engine.files import write_bytes as write_bytes
from poseshift.engine.files import write_text as write_text
from poseshift.errors import CheckpointError

SCHEMA = 1
# What torch's restricted unpickler says of a file that is none: it walks the stack of a machine that it does not trust.
UNREADABLE = (OSError, RuntimeError, UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError)
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk."""

    path: Path

    @property
    def step(self) -> int:
        """Steps taken when it was written."""
        return int(self.path.name.removeprefix("step-"))

    @property
    def info(self) -> dict[str, Any]:
        """What was noted beside the weights, such as label-free scores. Raises :class:`CheckpointError`."""
        info: dict[str, Any] = _manifest(self.path)["info"]
        return info

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each file as it was written, by name. Raises :class:`CheckpointError`."""
        found: dict[str, str] = _manifest(self.path)["sha256"]
        return found

    def verify(self) -> None:
        """Raises :class:`CheckpointError` naming the file and the reason where anything is not as it was written."""
        for name, expected in self.digests.items():
            file = self.path / name
            if not file.is_file():
                raise CheckpointError(f"{file}: missing; the checkpoint is incomplete, use another one of this run")
            found = digest(file)
            if found != expected:
                raise CheckpointError(f"{file}: sha256 {found[:12]}…, expected {expected[:12]}…; the file is damaged")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The state dict ``name`` (``predictor`` or ``method``), on the CPU. Raises :class:`CheckpointError`."""
        file = self.path / f"{name}.safetensors"
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); use another checkpoint of this run") from error

    def state(self) -> dict[str, Any]:
        """The training state. Raises :class:`CheckpointError`."""
        file = self.path / "state.pt"
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(f"{file}: cannot be read ({reason}); use another checkpoint of this run") from error
        return state


def digest(file: Path) -> str:
    """The sha256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema = manifest["schema"]
        manifest["sha256"], manifest["info"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file}: no readable manifest ({type(error).__name__}); the checkpoint is incomplete"
        ) from error
    if schema != SCHEMA:
        raise CheckpointError(f"{file}: schema {schema}, this version reads {SCHEMA}; install a newer poseshift")
    return manifest


def save(
    folder: Path,
    step: int,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    info: Mapping[str, Any],
) -> Checkpoint:
    """Writes ``folder/step-N``; a failure leaves nothing behind and earlier checkpoints as they were.

    Raises:
        CheckpointError: The disk is full, the folder read-only, or another error of the system.
    """
    final, draft = folder / f"step-{step}", folder / f".draft-{step}-{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        for name, values in tensors.items():
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in values.items()}, draft / f"{name}.safetensors"
            )
        with (draft / "state.pt").open("wb") as stream:
            torch.save(dict(state), stream)
        hashes = {file.name: digest(file) for file in sorted(draft.iterdir())}
        (draft / MANIFEST).write_text(
            json.dumps({"schema": SCHEMA, "step": step, "sha256": hashes, "info": info}, indent=1)
        )
        for file in (*draft.iterdir(), draft):
            sync(file)
        if final.exists():
            shutil.rmtree(final)
        draft.rename(final)
        sync(folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        # torch hides what the system said behind a complaint about positions in its archive.
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise CheckpointError(
            f"{final}: cannot be written ({' '.join(str(reason).split())}); earlier checkpoints are intact: "
            "make room or mend the folder, then run the same command again"
        ) from error
    return Checkpoint(final)


def clear_drafts(folder: Path) -> None:
    """Removes what a killed process left half-written in ``folder``."""
    for draft in folder.glob(".draft-*"):
        shutil.rmtree(draft, ignore_errors=True)
