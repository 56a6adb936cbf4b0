"""The BatchNorm layers of a net, whose statistics move from those of the source to those of target images."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from poseshift.errors import UsageError

AXES = (0, 2, 3)


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
        self.layers = tuple(m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None)
        if not self.layers:
            raise UsageError(
                "this net has no BatchNorm layer, and adapting at test time moves nothing else; predict without it, or "
                "take a net with BatchNorm, such as a resnet"
            )
        rows = [(layer.running_mean, layer.running_var) for layer in self.layers]
        source = torch.stack([torch.cat([row[i] for row in rows]) for i in range(2)])  # type: ignore[misc]
        self.register_buffer("source", source)
        self.register_buffer("target", torch.zeros_like(source))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def observe(self, net: nn.Module, images: Float[Tensor, "B 3 H W"]) -> None:
        """Adds normalised images ``B×3×H×W`` in one pass of ``net``, in which each layer has seen them already."""
        mode, first, hooks = net.training, 0, []
        for layer in self.layers:
            rows = slice(first, first + layer.num_features)
            hooks.append(layer.register_forward_pre_hook(partial(self._add, rows)))
            first = rows.stop
        try:
            net.eval()
            net(images)
        finally:
            net.train(mode)
            for hook in hooks:
                hook.remove()
        self.seen += len(images)

    def _add(self, rows: slice, layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        """Merges a batch into the target's statistics of one layer, and mixes what the layer normalises by."""
        batch = inputs[0].float()
        variance, mean = torch.var_mean(batch, AXES, correction=0)
        known = self.target[:, rows]
        now = self.seen + len(batch)
        share = len(batch) / now
        apart = mean - known[0]
        known[1] += share * (variance - known[1]) + share * (1 - share) * apart.square()
        known[0] += share * apart
        mixed = self.source[:, rows].lerp(known, now / (self.prior + now))
        layer.running_mean.copy_(mixed[0])  # type: ignore[union-attr]
        layer.running_var.copy_(mixed[1])  # type: ignore[union-attr]
