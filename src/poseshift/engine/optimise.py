"""One optimiser a part, rates as functions of progress, and the step itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from poseshift.methods.base import Method, OptimiserConfig, Update
from poseshift.ops import collective

BUCKET = 2**23


def rate(config: OptimiserConfig, progress: float) -> float:
    """Learning rate at ``progress`` in [0, 1): warm-up, then the schedule."""
    value = config.rate
    if config.warmup and progress < config.warmup:
        value *= progress / config.warmup
    if config.schedule == "steps":
        value *= config.factor ** sum(progress >= milestone for milestone in config.milestones)
    elif config.schedule == "cosine":
        value *= 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64))))
    elif config.schedule == "inverse":
        value *= (1 + config.decay * progress) ** -config.power
    elif config.schedule == "poly":
        value *= (1 - progress) ** config.power
    return value


def can_fuse(parameters: Iterable[Tensor]) -> bool:
    """Whether parameters are moved by one kernel, which can be told by the device to leave them."""
    return all(p.is_cuda for p in parameters)


def build(config: OptimiserConfig, part: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a part; fused or foreach, whichever the device has."""
    parameters = [p for p in part.parameters() if p.requires_grad]
    fused = can_fuse(parameters)
    if config.name == "sgd":
        made = torch.optim.SGD(
            parameters, lr=config.rate, momentum=config.momentum, weight_decay=config.weight_decay,
            nesterov=config.momentum > 0, foreach=not fused, fused=fused,
        )  # fmt: skip
        if fused and config.momentum:  # else a first step that is left out would leave the momentum as memory was
            for parameter in parameters:
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return made
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=config.rate, weight_decay=config.weight_decay, foreach=not fused, fused=fused)


class Optimisers:
    """The optimisers of a method's parts."""

    def __init__(self, method: Method, default: OptimiserConfig, *, clip: float) -> None:
        self.parts, self.configs, self.clip = method.parts(), method.optimisers(default), clip
        self.optimisers = {name: build(self.configs[name], part) for name, part in self.parts.items()}

    def set_rates(self, progress: float) -> dict[str, float]:
        """Sets and returns the rate of each part."""
        rates = {name: rate(config, progress) for name, config in self.configs.items()}
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rates[name]
        return rates

    def gradients(self, fabric: Fabric, update: Update) -> tuple[Tensor, list[Tensor]]:
        """Backward through an update for the parts that it names; returns the loss and the gradients' norm.

        Parameters of parts that are not named get no gradient at all.
        """
        parameters = [p for name in update.on for p in self.parts[name].parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.grad = None
        total = update.total
        fabric.backward(total, inputs=parameters)
        gradients = [p.grad for p in parameters if p.grad is not None]
        average(gradients)
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else total.new_zeros(())
        if self.clip and gradients:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        return norm, gradients

    def step(self, on: Iterable[str]) -> None:
        """One step of the named parts."""
        for name in on:
            self.optimisers[name].step()

    def obey(self, flag: Tensor) -> None:
        """From now on no step moves anything, not even an optimiser's own state, while ``flag`` is 1.

        Args:
            flag: 0 or 1 on the device of the parts, which the host does not look at; all optimisers must be fused.
        """
        for optimiser in self.optimisers.values():
            optimiser.found_inf = flag  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, dict[str, object]]:
        """States of all optimisers."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def load_state_dict(self, state: Mapping[str, dict[str, object]]) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])


def term_norms(update: Update) -> dict[str, Tensor]:
    """Gradient norm of each weighted term at the shared features; empty where the update names none.

    The features of a global batch lie on all processes, and the loss is the mean of theirs.
    """
    norms = {}
    for name, term in update.terms.items() if update.probe else ():
        found = torch.autograd.grad(term.value * term.weight, update.probe, retain_graph=True, allow_unused=True)
        norms[name] = torch.nn.utils.get_total_norm([g for g in found if g is not None])  # type: ignore[redundant-expr]
    if norms and collective.processes() > 1:
        squares = collective.mean(torch.stack(list(norms.values())).square()) / collective.processes()
        norms = dict(zip(norms, squares.sqrt(), strict=True))
    return norms


@torch.no_grad()
def average(gradients: list[Tensor]) -> None:
    """Gradients averaged over processes, in flat buckets of up to 32 MiB of float32."""
    if collective.processes() == 1:
        return
    bucket: list[Tensor] = []
    for gradient in [*gradients, None]:
        if gradient is not None:
            bucket.append(gradient)
        if bucket and (gradient is None or sum(g.numel() for g in bucket) >= BUCKET):
            flat = torch.cat([g.flatten() for g in bucket])
            dist.all_reduce(flat)
            flat /= collective.processes()
            for g, part in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                g.copy_(part.view_as(g))
            bucket = []
