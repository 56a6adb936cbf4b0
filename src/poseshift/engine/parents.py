"""The finished runs that a run starts from: their weights are copied into its folder, and read from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from poseshift.config import PARENTS, RunConfig
from poseshift.engine import checkpoint, poses
from poseshift.engine.run import Run, open_run
from poseshift.errors import CheckpointError, UsageError
from poseshift.methods import METHODS
from poseshift.methods.base import Context
from poseshift.models.adain import StyleNet
from poseshift.models.pose_net import PoseNet

INIT, STYLE = PARENTS
LABELS, ORACLE = "uses_target_labels", "yes: oracle"


def copy_parents(config: RunConfig, run: Path) -> dict[str, Any]:
    """Copies the weights of the parent runs into ``run/parents``, so that one folder suffices.

    Returns:
        What the manifest says of them.
    """
    notes: dict[str, Any] = {}
    for role, source in ((INIT, config.init), (STYLE, config.style)):
        if source is None:
            continue
        parent = open_run(source)
        if not parent.finished:
            raise UsageError(f"{role}: {source} is not finished; run its training command again first")
        chosen = parent.checkpoint("last")
        file = chosen.path / ("predictor.safetensors" if role == INIT else "method.safetensors")
        if not file.is_file():
            raise UsageError(f"{role}: a run of {parent.config.method.name!r} has no {file.stem}; give another run")
        if role == STYLE and parent.makes_pose_net:
            made = parent.config.method.name
            raise UsageError(f"{role}: a run of {made!r} makes no style net; give a run of a method that does")
        folder = run / "parents" / role
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(parent.path / "run.yaml", folder / "run.yaml")
        if role == INIT and (normalised := poses.file_of(parent.path)) is not None:
            shutil.copyfile(normalised, folder / poses.FILE)
        if (examined := parent.trust(f"step-{chosen.step}")) is not None:
            kept = {"calibration": examined["calibration"], "reference": parent.trust("reference")}
            checkpoint.write_text(folder / "trust" / "start.json", json.dumps(kept) + "\n")
        notes[role] = {
            "run": str(source),
            "step": chosen.step,
            "sha256": checkpoint.digest(file),
            LABELS: parent.manifest.get(LABELS, "no"),
        }
    return notes


def label_use(config: RunConfig) -> str:
    """What the manifest says about target labels; a run that starts from an oracle is one too."""
    parents = [open_run(path).manifest for path in (config.init, config.style) if path is not None]
    if config.oracle or any(str(parent.get(LABELS)).startswith("yes") for parent in parents):
        return ORACLE
    return "monitoring only" if config.monitor else "no"


def pose_net(config: RunConfig, run: Run, keypoints: int) -> PoseNet:
    """A pose net, with the weights of the run's ``init`` if it has one. Raises :class:`UsageError` for another net."""
    file = run.path / "parents" / INIT / "predictor.safetensors"
    fresh = not file.is_file()
    net = PoseNet(config.model if fresh else config.model.model_copy(update={"weights": None}), keypoints)
    net.logit_sigma = config.logit_sigma
    if fresh:
        return net
    try:
        net.load_state_dict(load_file(file))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(
            f"init: {config.init} holds another net than `model` describes ({reason}); make them equal"
        ) from error
    return net


def style_net(run: Run) -> StyleNet | None:
    """The net of the run's ``style``; None where it has none."""
    folder = run.path / "parents" / STYLE
    if not folder.is_dir():
        return None
    parent = Run(folder).config
    method = METHODS[parent.method.name](
        parent.method.without_weights(), Context(net=_no_net, style=None, heatmap=parent.heatmap, targets=0)
    )
    method.load_state_dict(load_file(folder / "method.safetensors"))
    return method.style_net


def _no_net() -> PoseNet:
    raise CheckpointError("a style run has no pose net")
