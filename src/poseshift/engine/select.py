"""Choose a checkpoint without target labels, from the scores that a run logged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from poseshift.config import RunConfig
from poseshift.engine.checkpoint import Checkpoint
from poseshift.engine.run import Run

log = logging.getLogger(__name__)

BETTER = {
    "agreement": 1,
    "equivariance": -1,
    "entropy": -1,
    "information": 1,
    "plausibility": -1,
    "coincidence": -1,
    "validation": 1,
}
"""What may choose, and whether more (1) or less (-1) of it is better."""

COMBINED = ("agreement", "equivariance", "entropy", "information", "plausibility", "validation")
"""The scores whose mean rank is the default."""

LIMITS = {"plausibility": 0.1, "validation": 0.5, "information": 0.5, "agreement": 0.25}
"""By how much of its value at the start a score may get worse before the net counts as broken."""

CONFUSED = 0.5
"""Which share of the pairs apart at the start may fall together, unless poses became more plausible by their limit."""

LEAST = 1.0
"""What is within a point of the start is no worse: a net that knew nothing has nothing to lose."""

Scores = Mapping[int, Mapping[str, float]]
"""The scores of each candidate, by its step, in order."""


def goodness(scores: Scores, name: str) -> dict[int, float]:
    """A score where more is better; empty unless every candidate has it."""
    if not scores or not all(name in row for row in scores.values()):
        return {}
    return {step: BETTER[name] * row[name] for step, row in scores.items()}


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1 for the least; equal values share the mean of theirs."""
    array = np.asarray(values)
    below = (array[:, None] > array).sum(1)
    same = (array[:, None] == array).sum(1)
    return [float(rank) for rank in below + (same + 1) / 2]


def mean_ranks(scores: Scores, names: Iterable[str]) -> dict[int, float]:
    """The mean of each candidate's ranks over the scores that all have; more is better."""
    columns = [list(found.values()) for name in names if (found := goodness(scores, name))]
    if not columns:
        return dict.fromkeys(scores, 0.0)
    return dict(zip(scores, np.mean([ranks(column) for column in columns], axis=0).tolist(), strict=True))


def running(scores: Scores, names: Iterable[str]) -> int:
    """The winner of candidates that come one after the other: each newcomer against the best before it.

    Both are ranked among all that came until then, so whoever wins is known without those that lost; ties go to the
    newcomer.
    """
    names, steps = tuple(names), list(scores)
    best = steps[0]
    for number, step in enumerate(steps[1:], 2):
        found = mean_ranks({one: scores[one] for one in steps[:number]}, names)
        best = step if found[step] >= found[best] else best
    return best


def choose(scores: Scores) -> tuple[int, str]:
    """The default rule: the winner of :data:`COMBINED` among those that are not worse than the start (step 0).

    Without scores on target images (a run that sees none) it is the last.

    Returns:
        The step, and why the start was kept; empty where it was not.
    """
    reasons = {step: worse(scores[0], row) if 0 in scores else "" for step, row in scores.items() if step}
    candidates = {step: scores[step] for step, why in reasons.items() if not why}
    if not candidates:
        return (0, reasons[max(reasons)]) if reasons else (max(scores), "")
    names = COMBINED if all("agreement" in row for row in candidates.values()) else ()
    return running(candidates, names), ""


def worse(start: Mapping[str, float], adapted: Mapping[str, float]) -> str:
    """Why adaptation made worse what it started from; empty where it did not.

    Each of :data:`LIMITS` sees another way to break: poses that no body has, a source that is forgotten, an answer
    that the image has no part in, teacher and student that drift apart. One that is past its limit is enough. None
    makes good for another: a constant answer agrees perfectly. Coincidence is one only beside a plausibility that did
    not get better: on the way to better poses left and right may come together.
    """
    both = [name for name in (*LIMITS, "coincidence") if name in start and name in adapted]
    gain = {name: BETTER[name] * (adapted[name] - start[name]) for name in both}
    past = [name for name in LIMITS if name in gain and gain[name] < -max(LIMITS[name] * abs(start[name]), LEAST)]
    if {"plausibility", "coincidence"} <= gain.keys():
        together = gain["coincidence"] < -max(CONFUSED * (100 - start["coincidence"]), LEAST)
        if together and gain["plausibility"] < LIMITS["plausibility"] * start["plausibility"]:
            past.append("coincidence")
    return ", ".join(f"{name} {start[name]:.1f} to {adapted[name]:.1f}" for name in past)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What ``best`` points to.

    Attributes:
        checkpoint: The chosen one.
        worse: Why the start was kept instead of what adaptation made of it; empty where it was not.
    """

    checkpoint: Checkpoint
    worse: str = ""


def best(run: Run, config: RunConfig) -> Choice:
    """The checkpoint that the rule of the configuration chooses.

    What a stop saved between two checkpoints counts only as long as there is no other, and who loses once is never
    looked at again: when a run was interrupted must not decide which model it gives.
    """
    there = {one.step: one for one in run.checkpoints()}
    last = max(there)
    if config.selection == "last":
        return Choice(checkpoint=there[last])
    scores = history(run, there.values())
    planned = {step for step in scores if step and (step % config.save_every == 0 or step == config.steps)}
    scores = {step: row for step, row in scores.items() if not planned or step in planned or not step}
    chosen, why = _chosen(scores, config.selection)
    if chosen not in there:  # it was damaged, or tidied away by hand
        chosen, why = _chosen({step: scores.get(step, {}) for step in there}, config.selection)
    return Choice(checkpoint=there[chosen], worse=why)


def _chosen(scores: Scores, selection: str) -> tuple[int, str]:
    if selection == "label-free":
        return choose(scores)
    return running({step: row for step, row in scores.items() if step} or scores, [selection]), ""


def history(run: Run, there: Iterable[Checkpoint]) -> Scores:
    """The scores of every checkpoint that a run ever had, by step in order; ``there`` are those that it still has."""
    own = {one.step: one.info["scores"] for one in there}
    logged = {int(line["step"]): line["scores"] for line in run.metrics() if "scores" in line}
    found = {**logged, **own}
    return {step: found[step] for step in sorted(found) if step <= max(own)}


def verdict(run: Run, config: RunConfig) -> dict[str, str]:
    """What the manifest of a finished run says of an adaptation that has a start to be compared with."""
    if config.selection != "label-free" or not (run.checkpoints_path / "step-0").is_dir():
        return {}
    why = best(run, config).worse
    if why:
        log.warning("negative transfer: %s; `best` is the model that adaptation started from", why)
    return {"negative_transfer": why or "no"}


def rule(config: RunConfig, *, targets: bool) -> str:
    """The rule in words, for the manifest."""
    if config.selection == "last" or (not targets and config.selection != "validation"):
        return "last checkpoint"
    if config.selection == "label-free":
        return f"label-free: mean rank of {', '.join(COMBINED)}; the start, where adaptation made it worse"
    return f"label-free: {'highest' if BETTER[config.selection] > 0 else 'lowest'} {config.selection}"
