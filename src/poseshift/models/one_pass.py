"""Several batches through a net in one pass, with BatchNorm statistics of each batch alone.

Larger convolutions keep some devices busier than twice as many small ones. Source and target must not share BatchNorm
statistics, though, so within the pass each BatchNorm layer normalises part by part, in their order: what it puts out,
its gradients and its running statistics are those of as many passes, but for the rounding of the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from poseshift.models.pose_net import PoseNet, PoseOutput


def outputs(net: PoseNet, batches: Sequence[Float[Tensor, "_ 3 H W"]]) -> list[PoseOutput]:
    """The net's output of each of ``batches``, which it is given as one.

    Layers that draw random numbers draw them for the whole, so a net with dropout draws others than in several passes.
    """
    sizes = [len(one) for one in batches]
    with _apart(net, sizes):
        whole = torch.cat(list(batches))
        # as written: what torch.compile made of them knows nothing of parts
        features = torch.split(net.head.forward(net.backbone.forward(whole)), sizes)
    return [PoseOutput(net.final(part), part) for part in features]  # each map is seen to come from its part


@contextmanager
def _apart(net: nn.Module, sizes: list[int]) -> Iterator[None]:
    layers = [layer for layer in net.modules() if isinstance(layer, _BatchNorm) and layer.training]
    before = [layer.__dict__.get("forward") for layer in layers]  # that of several processes, where there are any
    try:
        for layer in layers:
            layer.forward = partial(_each, layer.forward, sizes)  # type: ignore[method-assign]
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own  # type: ignore[method-assign]


def _each(forward: Callable[[Tensor], Tensor], sizes: list[int], x: Tensor) -> Tensor:
    return torch.cat([forward(part) for part in torch.split(x, sizes)])
