"""``compile: true``: torch.compile of what each pose net of a method consists of.

Only steps run compiled. Scores, what a checkpoint is examined by and passes over all targets have batches of other
sizes, and each size would be compiled anew: they run under :func:`eager`, and say of the same weights what they would
without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from poseshift.config import RunConfig
from poseshift.engine import processes
from poseshift.errors import UsageError
from poseshift.methods.base import Method
from poseshift.models.pose_net import PoseNet

BACKEND = "inductor"


@contextmanager
def eager() -> Iterator[None]:
    """A context, or a decorator, in which what is compiled runs as it was written."""
    with torch.compiler.set_stance("force_eager"):
        yield


def prepare(method: Method, config: RunConfig) -> None:
    """With ``compile``, backbone and head of each pose net (student, teacher, average) are compiled when first called.

    A method may call them one by one, so they are compiled as such.

    Raises:
        UsageError: There are several processes, no pose net, or nothing here that compiles.
    """
    if not config.compile:
        return
    nets = [module for module in method.modules() if isinstance(module, PoseNet)]
    if not nets:
        raise UsageError("compile: true, but this method has no pose net; leave it out")
    if processes.size() > 1:
        raise UsageError(
            f"compile: true takes one process, not {processes.size()}: BatchNorm over several is not compiled; "
            "leave it out"
        )
    _try()
    for net in nets:
        for part in (net.backbone, net.head):
            part.compile(backend=BACKEND)


def _try() -> None:
    """Compiles next to nothing, so that a machine that cannot says so before anything is done."""
    layer = nn.Conv2d(1, 1, 1)
    layer.compile(backend=BACKEND)
    try:
        layer(torch.zeros(1, 1, 2, 2)).sum().backward()
    except (RuntimeError, ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(
            f"compile: true, but torch.compile fails on this machine ({reason}); install a C++ compiler such as g++, "
            "or leave it out"
        ) from error
