"""Losses that more than one method uses."""

from __future__ import annotations

from torch import Tensor


def supervised(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Eq. 3: mean over ``B, K, h, w`` of ``½·w_bk·(Ŷ - Y)²``, zeros counted; maps ``B×K×h×w``, weight ``B×K``."""
    return 0.5 * ((prediction - target).square() * weight[..., None, None]).mean()


def consistency(student: Tensor, rectified: Tensor, mask: Tensor) -> Tensor:
    """Eq. 5: mean over ``B, K, h, w`` of ``m_bk·(Ŷ_student - R(Ŷ_teacher))²``, both in the canonical frame, no ½."""
    return ((student - rectified).square() * mask[..., None, None]).mean()
