"""The BatchNorm layers of a net, whose statistics move from those of the source to those of target images.

:class:`TargetNorms` for a net at test time, :class:`MixedNorms` for the teacher of a training run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from poseshift.errors import UsageError
from poseshift.models import synced_norms
from poseshift.ops import collective


def layers_of(net: nn.Module) -> tuple[nn.BatchNorm2d, ...]:
    """The BatchNorm layers of ``net`` that have running statistics, in its order."""
    return tuple(m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None)


def running(layers: tuple[nn.BatchNorm2d, ...]) -> list[Tensor]:
    """The running means of all layers, then their running variances: the tensors themselves."""
    return [getattr(layer, name) for name in ("running_mean", "running_var") for layer in layers]


def statistics(layers: tuple[nn.BatchNorm2d, ...]) -> Float[Tensor, "2 C"]:
    """A copy of the running means and variances of all layers, side by side, ``2×C``."""
    means_first = running(layers)
    return torch.stack((torch.cat(means_first[: len(layers)]), torch.cat(means_first[len(layers) :])))


@contextmanager
def shown(
    layers: tuple[nn.BatchNorm2d, ...], see: Callable[[slice, nn.BatchNorm2d, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    """In this context ``see(rows, layer, inputs)`` is called before each layer's pass; ``rows``: its part of ``C``."""
    hooks, first = [], 0
    for layer in layers:
        rows = slice(first, first + layer.num_features)
        hooks.append(layer.register_forward_pre_hook(partial(see, rows)))
        first = rows.stop
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def moments(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "2 C"]:
    """Mean and variance (of the population) of each channel over the batches of all processes, ``2×C``."""
    return torch.stack(synced_norms.statistics(x))


class TargetNorms(nn.Module):
    """Mixes the statistics of a net's BatchNorm layers from the source's, which it was trained with, and the target's.

    With ``N`` images of weight for the source and ``n`` target images seen, each layer normalises by
    ``μ = (N·μ_s + n·μ_t) / (N + n)`` and by the variance mixed alike (Schneider et al., NeurIPS 2020). Target
    statistics are exactly those of all that a layer was given so far, however it was cut into batches; what it is given
    of an image depends on what the layers before it normalised by at that time.

    Args:
        net: Its layers are changed in place; it must be in evaluation mode whenever it predicts.
        prior: ``N``.

    Raises:
        UsageError: The net has no BatchNorm layer with running statistics.
    """

    source: Float[Tensor, "2 C"]
    target: Float[Tensor, "2 C"]
    seen: Int[Tensor, ""]

    def __init__(self, net: nn.Module, *, prior: float) -> None:
        super().__init__()
        self.prior = prior
        self.layers = layers_of(net)
        if not self.layers:
            raise UsageError(
                "this net has no BatchNorm layer, and adapting at test time moves nothing else; predict without it, or "
                "take a net with BatchNorm, such as a resnet"
            )
        source = statistics(self.layers)
        self.register_buffer("source", source)
        self.register_buffer("target", torch.zeros_like(source))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def observe(self, net: nn.Module, images: Float[Tensor, "B 3 H W"]) -> None:
        """Adds normalised images ``B×3×H×W`` in one pass of ``net``, in which each layer has seen them already."""
        mode = net.training
        try:
            with shown(self.layers, self._add):
                net.eval()
                net(images)
        finally:
            net.train(mode)
        self.seen += len(images)

    def _add(self, rows: slice, layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        """Merges a batch into the target's statistics of one layer, and mixes what the layer normalises by."""
        batch = inputs[0]
        with collective.alone():  # every process is shown all images
            mean, variance = moments(batch)
        known = self.target[:, rows]
        now = self.seen + len(batch)
        share = len(batch) / now
        apart = mean - known[0]
        known[1] += share * (variance - known[1]) + share * (1 - share) * apart.square()
        known[0] += share * apart
        mixed = self.source[:, rows].lerp(known, now / (self.prior + now))
        layer.running_mean.copy_(mixed[0])  # type: ignore[union-attr]
        layer.running_var.copy_(mixed[1])  # type: ignore[union-attr]


class MixedNorms(nn.Module):
    """What a teacher's BatchNorm layers normalise by: between the statistics of the source and those of their batch.

    ``μ = (1 - α)·μ_s + α·μ_t`` and the variance alike (α-BN: You et al., "Test-time batch statistics calibration for
    covariate shift", 2021, arXiv 2110.04065). ``μ_s`` are the running statistics of the student's passes over the
    source, averaged over the steps as the teacher's weights are. ``μ_t`` are those of the batch at hand in a pass of
    the teacher, over all processes; for evaluation, their moving average.

    Args:
        student: Shown source and target in passes of their own; its running statistics begin as those of the source.
        teacher: A copy of it; in evaluation mode throughout.
        share: α, in [0, 1]: 0 keeps the source's statistics.
        momentum: Of the moving average of ``μ_t``, after the first steps, which count alike.

    Raises:
        UsageError: The net has no BatchNorm layer with running statistics.
    """

    source: Float[Tensor, "2 C"]
    target: Float[Tensor, "2 C"]
    student_source: Float[Tensor, "2 C"]
    seen: Int[Tensor, ""]

    def __init__(self, student: nn.Module, teacher: nn.Module, *, share: float, momentum: float = 0.02) -> None:
        super().__init__()
        self.share, self.momentum = share, momentum
        # a tuple, so that the layers are not held as modules of this one
        self.taught, self.layers = layers_of(student), layers_of(teacher)
        if not self.layers:
            raise UsageError("teacher_bn: mixed, but this net has no BatchNorm layer; leave it out")
        for name in ("source", "target", "student_source"):
            self.register_buffer(name, statistics(self.taught))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @contextmanager
    def of_source(self) -> Iterator[None]:
        """In this context the student's running statistics are those of the source; after it, what they were before."""
        others = [(layer.running_mean, layer.running_var) for layer in self.taught]
        for layer, values in zip(self.taught, self._by_layer(self.student_source, self.taught), strict=True):
            # tensors of their own: what autograd keeps of this pass must not be written to before the backward
            layer.running_mean, layer.running_var = values.clone()
        try:
            yield
        finally:
            self.student_source.copy_(statistics(self.taught))
            for layer, before in zip(self.taught, others, strict=True):
                layer.running_mean, layer.running_var = before

    @contextmanager
    def of_batches(self) -> Iterator[None]:
        """In this context each pass of the teacher is normalised by the mix with its own batch, and counts."""
        self.seen += 1
        weight = (1.0 / self.seen).clamp(min=self.momentum)
        with shown(self.layers, partial(self._mix, weight)):
            yield

    @torch.no_grad()
    def _mix(self, weight: Tensor, rows: slice, layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        batch = moments(inputs[0])
        self.target[:, rows] += weight * (batch - self.target[:, rows])
        mixed = self.source[:, rows].lerp(batch, self.share)
        layer.running_mean.copy_(mixed[0])  # type: ignore[union-attr]
        layer.running_var.copy_(mixed[1])  # type: ignore[union-attr]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """After a step: the source's statistics follow the student's, and the teacher gets the mix of evaluation."""
        self.source.lerp_(self.student_source, 1 - decay)
        mixed = self._by_layer(self.source.lerp(self.target, self.share), self.layers)
        means, variances = zip(*mixed, strict=True)
        torch._foreach_copy_(running(self.layers), [*means, *variances])

    @staticmethod
    def _by_layer(values: Float[Tensor, "2 C"], layers: tuple[nn.BatchNorm2d, ...]) -> tuple[Tensor, ...]:
        """``2×C`` as the ``2×c`` of each layer."""
        return torch.split(values, [layer.num_features for layer in layers], dim=1)
