"""BatchNorm over the global batch: with several processes a layer normalises by what all of them were given.

Each pass of a net through its layers is one set of statistics. A method that passes source and target one after the
other so keeps those of the two domains apart, with one process as with many.

Between processes go one message a layer forward and one back, since it is their number that costs: each is small, and
all wait for the last. What a process computes for itself is done by torch's own kernels of BatchNorm.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from poseshift.ops import collective


def synchronise(net: nn.Module) -> int:
    """Lets all BatchNorm layers of ``net`` do so from now on, and copies of it too; returns how many there are.

    Every process must make the same passes in the same order, with batches of one size. In evaluation mode, and within
    :func:`poseshift.ops.collective.alone`, a layer does what it always did.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def _forward(layer: _BatchNorm, x: Float[Tensor, "B C *rest"]) -> Float[Tensor, "B C *rest"]:
    if not layer.training or collective.processes() == 1:
        own: Tensor = type(layer).forward(layer, x)
        return own
    mean, variance = statistics(x)
    if layer.track_running_stats and layer.running_mean is not None:
        _follow(layer, mean, variance, x.numel() // x.shape[1] * collective.processes())
    out = normalise(x, mean, variance, layer)
    for child in layer.children():  # timm's layers hold what follows the norm: dropout and activation
        out = child(out)
    return out


@torch.no_grad()
def statistics(x: Float[Tensor, "B C *rest"]) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Mean and variance (of the population) of each channel over the batches of all processes.

    Without a gradient of their own: that of :func:`normalise` counts what ``x`` does to them.
    """
    single = x.float() if x.device.type == "cpu" else x  # there the sums of a half are halves, too
    mean, variance = torch.batch_norm_update_stats(single, None, None, 0.0)
    if collective.processes() == 1:
        return mean, variance
    # Moments about 0 can be averaged; in double precision their difference loses nothing that a float has.
    square = mean.double().square()
    first, second = collective.mean(torch.stack((mean.double(), variance.double() + square)))
    return first.float(), (second - first.square()).clamp(min=0).float()


def normalise(
    x: Float[Tensor, "B C *rest"], mean: Float[Tensor, " C"], variance: Float[Tensor, " C"], layer: _BatchNorm
) -> Float[Tensor, "B C *rest"]:
    """``(x - mean)/√(variance + ε)``, then the layer's scale and shift, in the precision of ``x``.

    Its gradient is that of BatchNorm in training, where ``mean`` and ``variance`` are functions of the ``x`` of all
    processes (:func:`statistics`).
    """
    out: Tensor = _Normalise.apply(x, layer.weight, layer.bias, mean, variance, layer.eps)
    return out


class _Normalise(torch.autograd.Function):
    """``y = w·x̂ + b`` and ``x̂ = (x - μ)/σ``, as in section 3 of Ioffe and Szegedy (2015).

    ``∂x = w/σ · (∂y - Σ∂y/N - x̂·Σ(∂y·x̂)/N)`` with sums over the ``N`` values of a channel that all processes have
    together.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else weight
        # Of a layer in evaluation: ∂x = w/σ·∂y, and the two sums, which are the gradients of scale and shift.
        through, along, over = torch.ops.aten.native_batch_norm_backward(
            gradient, x, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        of_scale, of_shift = (None, None) if weight is None else (along, over)
        if not ctx.needs_input_grad[0]:
            return None, of_scale, of_shift, None, None, None
        deviation = (variance + ctx.eps).rsqrt()
        # The mean over processes of their sums, over what one of them has, is all of it over N.
        each = x.numel() // x.shape[1]
        along_all, over_all = collective.mean(torch.stack((along, over)).float()) / each
        shape = (1, -1, *[1] * (x.ndim - 2))
        factor = (scale * deviation).view(shape)
        back = (x.float() - mean.view(shape)).mul_(-factor * (along_all * deviation).view(shape))
        back.add_(through).sub_(factor * over_all.view(shape))
        return back.to(x.dtype), of_scale, of_shift, None, None, None


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Moves the running statistics; their variance is the unbiased one of ``count`` values."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked += 1
    weight = 1.0 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), weight)
    layer.running_var.lerp_((variance * count / max(count - 1, 1)).to(layer.running_var.dtype), weight)
