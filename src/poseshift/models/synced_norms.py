"""BatchNorm over the global batch: with several processes a layer normalises by what all of them were given.

Each pass of a net through its layers is one set of statistics. A method that passes source and target one after the
other so keeps those of the two domains apart, with one process as with many.
"""

from __future__ import annotations

from types import MethodType

import torch
from jaxtyping import Float
from torch import Tensor, nn
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
        _follow(layer, mean.detach(), variance.detach(), x.numel() // x.shape[1] * collective.processes())
    out = normalise(x, mean, variance, layer)
    for child in layer.children():  # timm's layers hold what follows the norm: dropout and activation
        out = child(out)
    return out


def statistics(x: Float[Tensor, "B C *rest"]) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Mean and variance (of the population) of each channel over the batches of all processes, with a gradient."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x.float(), axes, correction=0)
    everywhere = collective.mean(mean)
    return everywhere, collective.mean(variance + (mean - everywhere).square())


def normalise(
    x: Float[Tensor, "B C *rest"], mean: Float[Tensor, " C"], variance: Float[Tensor, " C"], layer: _BatchNorm
) -> Float[Tensor, "B C *rest"]:
    """``(x - mean)/√(variance + ε)``, then the layer's scale and shift, in the precision of ``x``."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    scale = (variance + layer.eps).rsqrt()
    if layer.affine:
        scale = scale * layer.weight
    out = (x.float() - mean.view(shape)) * scale.view(shape)
    return (out + layer.bias.view(shape) if layer.affine else out).to(x.dtype)


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Moves the running statistics; their variance is the unbiased one of ``count`` values."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked += 1
    weight = 1.0 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), weight)
    layer.running_var.lerp_((variance * count / max(count - 1, 1)).to(layer.running_var.dtype), weight)
