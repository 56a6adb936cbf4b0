"""One adaptation step, and the loop around it, against the bare passes of its nets."""

from __future__ import annotations

import statistics
from functools import partial

import torch
from torch import Tensor, nn

from poseshift.apps.bench import sessions
from poseshift.apps.bench.timing import Job, Measured, seconds
from poseshift.batches import Batch
from poseshift.engine import parents
from poseshift.engine.train import Session
from poseshift.errors import UsageError
from poseshift.models import adain

LIGHT = ("adapt", ("common.batch_size=16",))
DEEP = (
    "adapt-paper",
    ("common.model.backbone=resnet50", "common.batch_size=8", "common.precision=32-true", "common.workers=0"),
)
TINY = (
    "adapt",
    ("common.model={backbone: small, head: pyramid, width: 16}", "common.input_size=64", "common.batch_size=4"),
)


class Bare:
    """The passes of the nets in one step and nothing else: no data, no losses, no heatmap work, no optimiser.

    The style pass where the step has one, forward of the teacher, forward and backward of the student on source and on
    target, and of the other parts (the discriminator) on the student's features of each.
    """

    def __init__(self, session: Session, batch: Batch) -> None:
        self.method, config = session.method, session.config
        if self.method.student is None or self.method.predictor is None:
            raise UsageError(f"the method {config.method.name!r} has no student and teacher to pass images through")
        self.student, self.teacher = self.method.student, self.method.predictor
        self.others = [part for part in self.method.parts().values() if part is not self.student]
        found = parents.parent_method(session.run, parents.STYLE, len(session.data.skeleton))
        self.style = None if found is None else found.style_net
        self.probability: float = getattr(config.method, "style_probability", 0.0)
        self.session = session
        if self.style is not None:
            self.style.to(session.fabric.device).to(memory_format=torch.channels_last)
            with torch.no_grad():
                self.styles = adain.statistics(self.style.encode(batch.target.student.images))

    def __call__(self, batch: Batch) -> None:
        """All passes; gradients are thrown away."""
        source, target = batch.source.view.images, batch.target
        with self.session.fabric.autocast():
            with torch.no_grad():
                if self.style is not None and batch.draws.coin("style", self.probability):
                    self.style.stylise(source, self.styles, source.new_full((), 0.5))
                for view in target.teacher:
                    self.teacher(view.images)
            for images in (source, target.student.images):
                self._trained(images)
        self.method.zero_grad(set_to_none=True)

    def _trained(self, images: Tensor) -> None:
        out = self.student(images)
        features = out.features.detach().requires_grad_()
        for other in self.others:
            _backward(other, features)
        passed = torch.ones_like(features) if features.grad is None else features.grad
        torch.autograd.backward([out.heatmaps, out.features], [torch.ones_like(out.heatmaps), passed])


def _backward(part: nn.Module, features: Tensor) -> None:
    out: Tensor = part(features)
    torch.autograd.backward(out, torch.ones_like(out))


def _rounds(session: Session, rounds: int) -> dict[str, float]:
    """Median seconds of data, step and bare passes on the same batches, and medians of the ratios round by round."""
    batches = session.batches(0)
    bare = Bare(session, next(batches))
    passes = -(-len(session.data.target or ()) // session.config.batch_size)
    for _ in range(passes):
        next(batches)  # everything decoded once
    found: dict[str, list[float]] = {"data": [], "step": [], "bare": []}
    for number in range(rounds + 1):
        held: list[Batch] = []
        data = seconds(lambda: held.append(next(batches)))  # noqa: B023
        (batch,) = held
        jobs: dict[str, Job] = {
            "step": partial(_step, session, number, batch),
            "bare": partial(bare, batch),
        }
        order = ("step", "bare") if number % 2 else ("bare", "step")
        taken = {"data": data, **{name: seconds(jobs[name]) for name in order}}
        for name, value in taken.items() if number else ():  # the first round warms up
            found[name].append(value)
    medians = {f"{name}_seconds": statistics.median(values) for name, values in found.items()}
    pairs = list(zip(found["data"], found["step"], found["bare"], strict=True))
    ratios = {
        "step": statistics.median(step / bare for _, step, bare in pairs),
        "loop": statistics.median((data + step) / bare for data, step, bare in pairs),
    }
    return {**medians, **ratios}


def _step(session: Session, number: int, batch: Batch) -> None:
    session.step(number, batch)
    session.journal.flush_if_due(number + 1)


def _measure(which: tuple[str, tuple[str, ...]], name: str, rounds: int) -> dict[str, Measured]:
    preset, overrides = which
    with sessions.adaptation(preset, overrides, images=32, steps=1000) as session:
        found = _rounds(session, rounds)
    ratios = {kind: found.pop(kind) for kind in ("step", "loop")}
    detail = {"rounds": rounds, **found}
    return {f"{kind}_{name}": Measured(value=value, detail=detail) for kind, value in ratios.items()}


def light(quick: bool) -> dict[str, Measured]:
    """The rows ``step_light`` and ``loop_light``: mobilenetv2_100, 128 px, batches of 16 (quick: the small net)."""
    return _measure(TINY if quick else LIGHT, "light", 4 if quick else 8)


def deep(quick: bool) -> dict[str, Measured]:
    """The rows ``step_deep`` and ``loop_deep``: resnet50, 256 px, batches of 8 (quick: the small net)."""
    return _measure(TINY if quick else DEEP, "deep", 2 if quick else 4)
