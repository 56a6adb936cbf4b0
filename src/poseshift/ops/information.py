"""Entropies of heatmaps: the information maximisation of equations 7 and 8, released and calibrated.

Both take the student's target heatmaps after the inverse warp, ``B×K×h×w``, raw.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from poseshift.ops import collective


def entropy(probabilities: Float[Tensor, " ..."], dim: int = -1) -> Float[Tensor, " ..."]:
    """``-Σ p·log p`` over ``dim``, in nats; 0·log 0 counts as 0, with a gradient of 0 where a softmax underflows."""
    floor = torch.finfo(probabilities.dtype).tiny
    total: Tensor = -torch.special.xlogy(probabilities, probabilities.clamp(min=floor)).sum(dim)
    return total


def released_certainty(heatmaps: Float[Tensor, "B K h w"]) -> Float[Tensor, ""]:
    """Eq. 7 as released: entropies of the softmax of row means and column means, each divided by ``h·w``.

    Numerically inert: the mean over a row of a σ = 2 peak is at most 0.08, so its softmax stays uniform
    (``tests/ops/test_information.py`` measures the gradient).
    """
    cells = heatmaps.shape[-2] * heatmaps.shape[-1]
    rows = entropy(heatmaps.mean(-1).softmax(-1)).mean()
    columns = entropy(heatmaps.mean(-2).softmax(-1)).mean()
    return (rows + columns) / cells


def released_diversity(heatmaps: Float[Tensor, "B K h w"]) -> Float[Tensor, ""]:
    """Eq. 8 as released: entropy of the softmax of the batch-mean heatmap, divided by ``h·w``."""
    mean = collective.mean(heatmaps.mean(0))
    return entropy(mean.flatten(-2).softmax(-1)).mean() / mean[0].numel()


def marginals(
    heatmaps: Float[Tensor, "B K h w"], *, inverse_temperature: float
) -> tuple[Float[Tensor, "B K h"], Float[Tensor, "B K w"]]:
    """Probabilities of the rows ``B×K×h`` and columns ``B×K×w``: a softmax of their maxima, β times."""
    beta = inverse_temperature
    return (beta * heatmaps.amax(-1)).softmax(-1), (beta * heatmaps.amax(-2)).softmax(-1)


def certainty(
    heatmaps: Float[Tensor, "B K h w"], *, inverse_temperature: float, weight: Float[Tensor, "B K"] | None = None
) -> Float[Tensor, ""]:
    """Eq. 7 made effective: entropies of the softmax of row and column **maxima**, each divided by ``ln`` of its bins.

    Args:
        heatmaps: ``B×K×h×w``.
        inverse_temperature: β of the softmax.
        weight: ``B×K``; which maps count, all where None.

    Returns:
        A scalar in [0, 2]: 0 where every marginal is one spike, 2 where all are flat.
    """
    rows, columns = marginals(heatmaps, inverse_temperature=inverse_temperature)
    total = entropy(rows) / math.log(heatmaps.shape[-2]) + entropy(columns) / math.log(heatmaps.shape[-1])
    return total.mean() if weight is None else (total * weight).sum() / weight.sum().clamp(min=1.0)


def diversity(heatmaps: Float[Tensor, "B K h w"], *, inverse_temperature: float) -> Float[Tensor, ""]:
    """Eq. 8 on mean probabilities (SHOT's form): entropy of the batch mean of softmaxed maps, over ``ln(h·w)``.

    In [0, 1]: 0 where all maps are the same spike, 1 where their mean is flat.
    """
    probabilities = (inverse_temperature * heatmaps.flatten(-2)).softmax(-1)
    mean = collective.mean(probabilities.mean(0))
    return entropy(mean).mean() / math.log(mean.shape[-1])
