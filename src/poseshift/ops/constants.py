"""Numbers of the host as tensors, without a copy that it would wait for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def constants(values: Sequence[float], *, like: Float[Tensor, " ..."]) -> Float[Tensor, " N"]:
    """``N`` ``values`` in the dtype and on the device of ``like``, written there by the device itself."""
    return torch.stack([like.new_full((), value) for value in values])
