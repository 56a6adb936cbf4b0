"""What a run took, from its own log: a run that was stopped and went on tells of its steps, not of the pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from poseshift.engine.run import Run


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Means over the runs of one row.

    Attributes:
        seconds: From start to end; where a run was stopped in between, of its steps alone.
        whole: Whether ``seconds`` is from start to end in all of them.
        images_per_second: Training images, source and target, for each second of the steps; None where none is logged,
            and for a run of one step, whose time is that of reading the data and of warming up.
    """

    seconds: float
    whole: bool
    images_per_second: float | None


def cost(runs: Sequence[Run]) -> Cost | None:
    """The cost of finished runs of one configuration; None without any."""
    if not runs:
        return None
    steps = [step_seconds(run) for run in runs]
    clock = [clock_seconds(run) for run in runs]
    images = sum(run.config.batch_size * len(run.config.method.needs) * run.config.steps for run in runs)
    timed = sum(steps) and all(run.config.steps > 1 for run in runs)
    return Cost(
        seconds=sum(s if c is None else c for s, c in zip(steps, clock, strict=True)) / len(runs),
        whole=all(c is not None for c in clock),
        images_per_second=images / sum(steps) if timed else None,
    )


def step_seconds(run: Run) -> float:
    """Seconds of all steps that made the run's weights, each counted once however often training was taken up again."""
    total, last = 0.0, 0
    for line in run.metrics():
        if "seconds_per_step" in line:
            total += (line["step"] - last) * line["seconds_per_step"]
            last = line["step"]
    return total


def clock_seconds(run: Run) -> float | None:
    """Seconds from the run's start to its end; None where it was stopped in between, or is not known to be whole."""
    manifest = run.manifest
    if manifest.get("sessions") != 1 or manifest.get("end") is None:
        return None
    return (datetime.fromisoformat(manifest["end"]) - datetime.fromisoformat(manifest["start"])).total_seconds()
