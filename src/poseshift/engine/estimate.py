"""How much memory training needs, said before a long run: counted, not guessed, on two small batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from poseshift.batches import Batch
from poseshift.config import RunConfig
from poseshift.engine.data import Data
from poseshift.methods.base import Method, OptimiserConfig

SAMPLES = (2, 4)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a training step holds at its fullest; the program itself and scratch space come on top.

    Attributes:
        weights: Parameters and buffers of all nets, teacher and style bank included.
        gradients: Of the parameters that train.
        optimiser: What the optimisers keep for each parameter.
        activations: What is kept for the backward pass, at the run's batch size.
        crops: Decoded images kept in the memory of the host.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int
    crops: int

    @property
    def device(self) -> int:
        """All that lies on the device: everything but the crops."""
        return self.weights + self.gradients + self.optimiser + self.activations

    def __str__(self) -> str:
        parts = {"weights": self.weights, "gradients": self.gradients, "optimiser": self.optimiser}
        listed = ", ".join(f"{name} {_size(value)}" for name, value in parts.items())
        return (
            f"memory: about {_size(self.device)} for training ({listed}, activations {_size(self.activations)}) "
            f"and {_size(self.crops)} for decoded images"
        )


def memory(
    method: Method,
    samples: tuple[Batch, Batch],
    data: Data,
    config: RunConfig,
    *,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Memory:
    """Counts what a step will hold.

    Args:
        method: In training mode; a copy of it runs, so that no statistic moves.
        samples: Batches of 2 and of 4; what both keep alike, such as weights in half precision, does not grow.
        data: Whose caches are counted.
        config: Batch size and optimiser.
        autocast: The precision of the run, as a context.
    """
    parts, configs = method.parts(), method.optimisers(config.optimiser)
    trained = {name: sum(_bytes(p) for p in part.parameters() if p.requires_grad) for name, part in parts.items()}
    small, large = (_saved_for_backward(method, sample, autocast) for sample in samples)
    each = max(large - small, 0) / (SAMPLES[1] - SAMPLES[0])
    crops = [one.cache for one in (data.source, data.target, data.validation, data.monitor) if one is not None]
    return Memory(
        weights=sum(_bytes(tensor) for tensor in (*method.parameters(), *method.buffers())),
        gradients=sum(trained.values()),
        optimiser=sum(size * _copies(configs[name]) for name, size in trained.items()),
        activations=small + round(each * (config.batch_size - SAMPLES[0])),
        crops=sum(_bytes(cache) for cache in crops if isinstance(cache, Tensor)),
    )


def _copies(config: OptimiserConfig) -> int:
    """Tensors that an optimiser keeps for a parameter."""
    if config.name == "sgd":
        return 1 if config.momentum else 0
    return 2


def _saved_for_backward(method: Method, sample: Batch, autocast: Callable[[], AbstractContextManager[object]]) -> int:
    """Bytes of the largest graph among the updates of one step, the nets' own tensors left out."""
    twin = copy.deepcopy(method)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*twin.parameters(), *twin.buffers())}
    found: dict[int, int] = {}
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        updates = twin.updates(sample, 0.0)
        while True:
            with autocast():
                update = next(updates, None)
            if update is None:
                return largest
            largest = max(largest, sum(found.values()))
            found.clear()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
