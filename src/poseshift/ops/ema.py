"""Exponential moving average of a network, in one fused call."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def update(teacher: nn.Module, student: nn.Module, decay: float, *, buffers: bool) -> None:
    """Eq. 4: ``θ_teacher ← decay·θ_teacher + (1 - decay)·θ_student``.

    The rule for buffers: with ``buffers`` the floating-point ones (BatchNorm's running statistics) are averaged like
    parameters and the integer ones copied; without, the teacher's buffers are left to its own forward passes.
    """
    _lerp(list(teacher.parameters()), list(student.parameters()), 1 - decay)
    if not buffers:
        return
    pairs = list(zip(teacher.buffers(), student.buffers(), strict=True))
    floating = [(t, s) for t, s in pairs if t.is_floating_point()]
    _lerp([t for t, _ in floating], [s for _, s in floating], 1 - decay)
    for t, s in pairs:
        if not t.is_floating_point():
            t.copy_(s)


def _lerp(target: list[Tensor], source: list[Tensor], weight: float) -> None:
    if target:
        torch._foreach_lerp_(target, source, weight)
