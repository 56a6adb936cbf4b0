"""What a method computes over the global batch: differentiable over processes, the identity for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor

FEW, LITTLE = 4, 2**14
"""Processes, and values that each of them has."""
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def processes() -> int:
    """Number of processes that compute together; 1 within :func:`alone`."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


def rank() -> int:
    """Which of them this one is, from 0; 0 within :func:`alone`."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def alone() -> Iterator[None]:
    """In this context a process computes for itself, as the only one would: all do the same work, or one its own."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def _sum(x: Tensor) -> Tensor:
    """Sum over processes. What few of them have little of is sent whole, which takes fewer rounds of messages."""
    if dist.get_world_size() <= FEW and x.numel() <= LITTLE:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts).sum(0)
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _Sum(torch.autograd.Function):
    """Sum over processes, in both directions."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        return _sum(gradients[0])


def mean(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Mean of ``x`` over processes, with a gradient; every process must hold the same shape."""
    if processes() == 1:
        return x
    total: Tensor = _Sum.apply(x)
    return total / processes()


@torch.no_grad()
def gather(x: Shaped[Tensor, " _ *rest"]) -> Shaped[Tensor, " _ *rest"]:
    """``x`` of all processes joined along the first axis, without a gradient; shapes must agree."""
    if processes() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
