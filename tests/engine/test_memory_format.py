"""channels_last holds through a step: beyond the first layer of a net, no convolution is given maps in another order.

Images themselves lie channel by channel, as resampling and recolouring make them; of three channels, each first layer
brings them into the order of its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from poseshift.engine.train import Session

ALWAYS: dict[str, dict[str, Any]] = {
    "multilevel": {"style_probability": 1.0},
    "multilevel_plus": {"style_probability": 1.0, "one_pass": True},
    "uniframe": {"source_style_probability": 1.0, "target_style_probability": 1.0},
}


def ordered(maps: Tensor) -> bool:
    """Whether channels lie next to each other; maps of one channel or of one cell lie both ways."""
    return maps.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("method", ALWAYS)
def test_channels_last_holds_through_a_step(method: str, change: dict[str, str], tmp_path: Path) -> None:
    """Of student, teacher, discriminator and style net: what convolutions read and give, weights, their gradients."""
    settings = tiny.settings(method, {**change, "norms_every": 0, "method": ALWAYS[method]})
    session = Session(settings, tmp_path / "run", None, command="", quiet=True)
    session.method.train()
    session._refresh()
    seen: dict[str, list[bool]] = {}
    for name, module in session.method.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            assert ordered(module.weight), name

            def look(layer: Any, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                seen.setdefault(name, []).extend((layer.in_channels == 3 or ordered(inputs[0]), ordered(output)))

            module.register_forward_hook(look)
    session.step(0, next(session.batches(0)))
    parts = ["nets.student.", "nets.teacher.", "styles.net.encoder", "styles.net.decoder"]
    for part in parts if method == "uniframe" else [*parts, "discriminator"]:
        assert any(name.startswith(part) for name in seen), part
    assert [name for name, found in seen.items() if not all(found)] == []
    assert [name for name, p in session.method.named_parameters() if p.grad is not None and p.ndim == 4] != []
    assert all(p.grad is None or p.ndim != 4 or ordered(p.grad) for p in session.method.parameters())
