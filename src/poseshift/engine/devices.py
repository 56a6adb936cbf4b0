"""Which device computes."""

from __future__ import annotations

import logging
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from poseshift.errors import UsageError

log = logging.getLogger(__name__)

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What torch calls the instructions of x86 and ARM for it."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the host's or a device's memory did not suffice."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(w in str(error).lower() for w in words)


def choose(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` names. Raises :class:`UsageError`."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown; expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} is not supported; expected auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda' was asked for, but torch sees no CUDA device; use --device cpu, or mend the driver"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' was asked for, but torch sees none; use --device cpu")
    return device


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; other than a CPU it is taken to."""
    asked = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch that will do
    return device.type != "cpu" or asked is None or any(asked().get(name, False) for name in BFLOAT16)


def fabric(device: torch.device, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Lightning's Fabric for one device and a precision; how many processes there are is not its to find out.

    Warns where the precision costs time instead of saving it.
    """
    if precision == "bf16-mixed" and not computes_bfloat16(device):
        log.warning(
            "precision bf16-mixed: this CPU has no instructions for bfloat16, so a step takes 7 to 10 times as long as "
            "with precision: 32-true; give --set precision=32-true"
        )
    made = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=precision,
        plugins=[LightningEnvironment()],
    )
    made.launch()
    return made
