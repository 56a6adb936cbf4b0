"""The finished runs that a run starts from: their weights are copied into its folder, and read from there."""

from __future__ import annotations

import json
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from poseshift.config import PARENTS, RunConfig
from poseshift.engine import checkpoint, poses
from poseshift.engine.run import Run, open_run
from poseshift.errors import CheckpointError, UsageError
from poseshift.methods import METHODS
from poseshift.methods.base import Context, Method
from poseshift.models import weights
from poseshift.models.pose_net import PoseNet
from poseshift.types import Skeleton

INIT, STYLE, PRIOR = PARENTS
MADE = {INIT: "pose net", STYLE: "style net", PRIOR: "pose prior"}
LABELS, ORACLE = "uses_target_labels", "yes: oracle"
LICENCES = "licences"


def licences(config: RunConfig) -> list[str]:
    """Of the initial weights of the run that a configuration starts from, and of its own; as known when it begins."""
    before: list[str] = []
    if config.init is not None:
        before = licences_of(open_run(config.init))
    return list(dict.fromkeys([*before, weights.licence_of(config.model.backbone, config.model.weights)]))


def licences_of(run: Run) -> list[str]:
    """The same of a run: what it recorded, else, of an earlier version, what the files still say."""
    if recorded := run.manifest.get(LICENCES):
        return list(recorded)
    start = run.path / "parents" / INIT
    configs = [Run(start).config, run.config] if (start / "run.yaml").is_file() else [run.config]
    return list(dict.fromkeys(weights.licence_of(one.model.backbone, one.model.weights) for one in configs))


def copy_parents(config: RunConfig, run: Path, skeleton: Skeleton) -> dict[str, Any]:
    """Copies the weights of the parent runs into ``run/parents``, so that one folder suffices.

    Args:
        config: Names them.
        run: The folder of the new run.
        skeleton: Of the new run.

    Returns:
        What the manifest says of them.

    Raises:
        UsageError: A parent is not finished, is of another kind, or a prior knows other keypoints.
    """
    notes: dict[str, Any] = {}
    for role in PARENTS:
        source: str | None = getattr(config, role)
        if source is None:
            continue
        parent = open_run(source)
        if not parent.finished:
            raise UsageError(f"{role}: {source} is not finished; run its training command again first")
        name = parent.config.method.name
        if METHODS[name].makes != MADE[role]:
            raise UsageError(f"{role}: a run of {name!r} makes no {MADE[role]}; give a run of a method that does")
        if role == PRIOR:
            _refuse_other_keypoints(parent, skeleton)
        chosen = parent.checkpoint("best" if role == INIT else "last")
        file = chosen.path / ("predictor.safetensors" if role == INIT else "method.safetensors")
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


def _refuse_other_keypoints(parent: Run, skeleton: Skeleton) -> None:
    theirs, ours = parent.skeleton.keypoints, skeleton.keypoints
    if theirs == ours:
        return
    pairs = enumerate(zip_longest(theirs, ours, fillvalue="none"))
    at, (one, other) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
    raise UsageError(
        f"{PRIOR}: keypoint {at} of {parent.path} is {one}, of this run {other}; train the prior on a source and "
        "with a target whose keypoints are this run's, in their order"
    )


def label_use(config: RunConfig) -> str:
    """What the manifest says about target labels; a run that starts from an oracle is one too."""
    named = (getattr(config, role) for role in PARENTS)
    parents = [open_run(path).manifest for path in named if path is not None]
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


def parent_method(run: Run, role: str, keypoints: int) -> Method | None:
    """The trained method of the run's parent in a ``role`` other than ``init``; None where it has none.

    Args:
        run: With the parents' weights in its folder.
        role: One of ``PARENTS``.
        keypoints: Number of keypoints of the run.
    """
    folder = run.path / "parents" / role
    if not folder.is_dir():
        return None
    parent = Run(folder).config
    context = Context(net=_no_net, style=None, heatmap=parent.heatmap, targets=0, keypoints=keypoints)
    method = METHODS[parent.method.name](parent.method.without_weights(), context)
    method.load_state_dict(load_file(folder / "method.safetensors"))
    return method


def _no_net() -> PoseNet:
    raise CheckpointError("a parent of this kind has no pose net")
