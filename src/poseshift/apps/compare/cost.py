"""What a run took, from its own log: a run that was stopped and went on tells of its steps, not of the pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from poseshift.engine.run import Run


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one finished run took.

    Attributes:
        seconds: From start to end; where it was stopped in between, of its steps alone.
        whole: Whether ``seconds`` is from start to end.
        step_seconds: Of its steps.
        images: Of training, source and target, over all steps; 0 for a run of one step, whose time is that of reading
            the data and of warming up.
    """

    seconds: float
    whole: bool
    step_seconds: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Means over the runs of one row.

    Attributes:
        seconds: From start to end; where a run was stopped in between, of its steps alone.
        whole: Whether ``seconds`` is from start to end in all of them.
        images_per_second: Training images, source and target, for each second of the steps; None where none is logged,
            and where a run has one step alone.
    """

    seconds: float
    whole: bool
    images_per_second: float | None


def taken(run: Run) -> Taken:
    """Of one finished run."""
    steps, clock = step_seconds(run), clock_seconds(run)
    count = run.config.steps if run.config.steps > 1 else 0
    return Taken(
        seconds=steps if clock is None else clock,
        whole=clock is not None,
        step_seconds=steps,
        images=run.config.batch_size * len(run.config.method.needs) * count,
    )


def cost(runs: Sequence[Taken]) -> Cost | None:
    """The cost of finished runs of one configuration; None without any."""
    if not runs:
        return None
    steps = sum(run.step_seconds for run in runs)
    timed = steps and all(run.images for run in runs)
    return Cost(
        seconds=sum(run.seconds for run in runs) / len(runs),
        whole=all(run.whole for run in runs),
        images_per_second=sum(run.images for run in runs) / steps if timed else None,
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
