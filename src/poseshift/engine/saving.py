"""A checkpoint of a run: what is in it, the pointers to it, and which older ones go."""

from __future__ import annotations

from collections.abc import Mapping

from poseshift.config import RunConfig
from poseshift.engine import checkpoint, select
from poseshift.engine.optimise import Optimisers
from poseshift.engine.run import Run
from poseshift.methods.base import Method


def save(
    run: Run, method: Method, optimisers: Optimisers, config: RunConfig, *, step: int, scores: Mapping[str, float]
) -> None:
    """Writes the checkpoint of a step, moves the pointers, removes old ones. Raises :class:`CheckpointError`."""
    tensors = {"method": method.state_dict()}
    if method.predictor is not None:
        tensors["predictor"] = method.predictor.state_dict()
    made = checkpoint.save(
        run.checkpoints_path,
        step,
        tensors=tensors,
        state={"optimisers": optimisers.state_dict()},
        info={"scores": dict(scores)},
    )
    run.point("last", made)
    run.point("best", select.best(run, config).checkpoint)
    run.prune()
