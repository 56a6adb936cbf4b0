from __future__ import annotations

import pytest
import torch

from poseshift.errors import UsageError
from poseshift.models import backbones


@pytest.mark.parametrize("name", ["small", "resnet18", "mobilenetv2_100"])
def test_maps_have_the_channels_and_strides_that_are_stated(name: str) -> None:
    net = backbones.build(name).eval()
    maps = net(torch.randn(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == net.channels
    assert [(64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(s, s) for s in net.strides]
    assert net.strides == sorted(net.strides)


def test_the_small_net_is_small() -> None:
    count = sum(parameter.numel() for parameter in backbones.build("small").parameters())
    assert 0.2e6 < count < 0.6e6


def test_an_unknown_name_says_which_are_near() -> None:
    with pytest.raises(UsageError, match=r"'resnet19_x' is no timm model and not 'small'; similar names: .*resnet18"):
        backbones.build("resnet19_x")


def test_building_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    backbones.build("resnet18")
