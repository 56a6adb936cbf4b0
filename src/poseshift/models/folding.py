"""BatchNorm folded into the convolution before it, for a net that only predicts: one pass over features less a layer.

In evaluation a BatchNorm is ``y = γ·(x − μ)/√(σ² + ε) + β`` with fixed numbers, which a convolution's weights and bias
can hold.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

CLOSE = 1e-4
"""Largest difference of heatmaps, as a part of the largest value, up to which a folded net is the same net."""
Net = TypeVar("Net", bound=nn.Module)
Pair = tuple["nn.Conv2d | nn.ConvTranspose2d", nn.BatchNorm2d]


def folded(net: Net, side: int) -> Net:
    """A copy in evaluation mode without the BatchNorm layers that a convolution can take in.

    Which those are, a pass over one image shows. The net itself comes back where it has none, and where the copy does
    not predict as the net does, since something else reads what lies between a convolution and its norm.

    Args:
        net: Gives what has ``heatmaps``, as a pose net does; stays as it is.
        side: Of an image that it takes, pixels.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()):
        return net.eval()
    one = copy.deepcopy(net).eval()
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    image = image.to(next(one.parameters()).device)
    with torch.no_grad():
        before = one(image).heatmaps
        parents = {child: (parent, name) for parent in one.modules() for name, child in parent.named_children()}
        for convolution, norm in _pairs(one, image):
            _take_in(convolution, norm)
            parent, name = parents[norm]
            setattr(parent, name, getattr(norm, "act", nn.Identity()))  # timm's norms hold the activation after them
        after = one(image).heatmaps
    same = (after - before).abs().amax() <= CLOSE * before.abs().amax()
    return one if same else net.eval()


def _pairs(net: nn.Module, image: Tensor) -> list[Pair]:
    """Convolutions and the norms that read just what they put out, each used once in a pass."""
    made: list[tuple[Tensor, nn.Module]] = []  # keeps the tensors, so that none takes the place of another
    read: list[tuple[Tensor, nn.Module]] = []
    hooks = [
        module.register_forward_hook(lambda module, args, out: made.append((out, module)))
        for module in net.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ]
    hooks += [
        module.register_forward_pre_hook(lambda module, args: read.append((args[0], module)))
        for module in net.modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None
    ]
    net(image)
    for hook in hooks:
        hook.remove()
    uses = Counter(module for _, module in (*made, *read))
    found = [(one, norm) for x, norm in read for out, one in made if out is x and uses[one] == uses[norm] == 1]
    return [pair for pair in found if isinstance(pair[0], (nn.Conv2d, nn.ConvTranspose2d))]  # type: ignore[misc]


def _take_in(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    """Gives a convolution the numbers of the norm after it."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise AssertionError("a norm without statistics")
    transpose = isinstance(convolution, nn.ConvTranspose2d)
    numbers = (mean, variance, norm.eps, norm.weight, norm.bias)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, *numbers, transpose=transpose
    )
