"""The feature level: gradient reversal and the cross-entropy of a domain discriminator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradients[0], None  # type: ignore[attr-defined]


def reverse_gradient(x: Float[Tensor, "*shape"], coefficient: float = 1.0) -> Float[Tensor, "*shape"]:
    """The identity whose gradient is multiplied by ``-coefficient`` (Ganin et al., 2016)."""
    out: Tensor = _Reverse.apply(x, coefficient)
    return out


def dann_ramp(progress: float, *, steepness: float = 10.0) -> float:
    """``2/(1 + e^(-steepness·p)) - 1``: 0 at the start, near 1 at the end; ``progress`` in [0, 1]."""
    return 2.0 / (1.0 + math.exp(-steepness * progress)) - 1.0


def domain_cross_entropy(
    source_logits: Float[Tensor, "_ 1 h w"], target_logits: Float[Tensor, "_ 1 h w"]
) -> Float[Tensor, ""]:
    """Eq. 6: binary cross-entropy of logits, source labelled 0, target 1, each averaged over its own map and batch."""
    source = F.binary_cross_entropy_with_logits(source_logits, torch.zeros_like(source_logits))
    target = F.binary_cross_entropy_with_logits(target_logits, torch.ones_like(target_logits))
    return source + target
