"""Losses that more than one method uses."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def supervised(
    prediction: Float[Tensor, "B K h w"], target: Float[Tensor, "B K h w"], weight: Float[Tensor, "B K"]
) -> Float[Tensor, ""]:
    """Eq. 3: mean over ``B, K, h, w`` of ``½·w_bk·(Ŷ - Y)²``, zeros counted; maps ``B×K×h×w``, weight ``B×K``."""
    return 0.5 * ((prediction - target).square() * weight[..., None, None]).mean()


def consistency(
    student: Float[Tensor, "B K h w"], rectified: Float[Tensor, "B K h w"], mask: Float[Tensor, "B K"]
) -> Float[Tensor, ""]:
    """Eq. 5: mean over ``B, K, h, w`` of ``m_bk·(Ŷ_student - R(Ŷ_teacher))²``, both in the canonical frame, no ½."""
    return ((student - rectified).square() * mask[..., None, None]).mean()
