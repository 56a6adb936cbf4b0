from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from poseshift.models.adain import (
    SmallDecoder,
    SmallEncoder,
    Statistics,
    StyleNet,
    StyleNetConfig,
    VggDecoder,
    VggEncoder,
    adain,
    statistics,
)
from poseshift.models.backbones import TimmBackbone
from poseshift.ops import color


@pytest.fixture(scope="module")
def vgg() -> VggEncoder:
    torch.manual_seed(0)
    return VggEncoder(None)


def test_adain_against_a_loop() -> None:
    content, style = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 9, 4) * 3 + 1
    found = adain(content, statistics(style))
    for b in range(2):
        for c in range(3):
            own, other = content[b, c].flatten().tolist(), style[b, c].flatten().tolist()

            def mean_std(values: list[float]) -> tuple[float, float]:
                mean = sum(values) / len(values)
                return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) + 1e-5)

            (m0, s0), (m1, s1) = mean_std(own), mean_std(other)
            slow = (content[b, c] - m0) / s0 * s1 + m1
            torch.testing.assert_close(found[b, c], slow, rtol=1e-4, atol=1e-5)


def test_adain_gives_the_statistics_of_the_style() -> None:
    style = statistics(torch.randn(2, 3, 9, 4) * 3 + 1)
    found = statistics(adain(torch.randn(2, 3, 50, 70), style))
    torch.testing.assert_close(found.mean, style.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std, style.std, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [(16, 24), (32, 20), (36, 52)])
def test_small_net_shapes(size: tuple[int, int]) -> None:
    maps = SmallEncoder()(torch.randn(2, 3, *size))
    assert [m.shape[1] for m in maps] == [16, 32, 64, 64]
    assert [size[0] // m.shape[2] for m in maps] == [1, 2, 4, 4]
    assert SmallDecoder()(maps[-1]).shape == (2, 3, *size)


def test_vgg_shapes(vgg: VggEncoder) -> None:
    maps = vgg(torch.randn(1, 3, 48, 64))
    assert [m.shape[1] for m in maps] == [64, 128, 256, 512]
    assert [(48 // m.shape[2], 64 // m.shape[3]) for m in maps] == [(1, 1), (2, 2), (4, 4), (8, 8)]
    assert VggDecoder()(maps[-1]).shape == (1, 3, 48, 64)
    assert not any(parameter.requires_grad for parameter in vgg.parameters())


def test_vgg_taps_are_the_first_activation_after_each_pooling(vgg: VggEncoder) -> None:
    images = torch.randn(1, 3, 32, 48)
    x, expected, fresh = images, [], True
    for layer in vgg.layers:
        x = layer(x)
        fresh |= isinstance(layer, torch.nn.MaxPool2d)
        if fresh and isinstance(layer, torch.nn.ReLU):
            expected.append(x.clone())
            fresh = False
    found = vgg(images)
    assert len(found) == len(expected) == 4
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(vgg.layers) == 21, "nothing beyond relu4_1"


def test_vgg_weights_come_from_a_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in TimmBackbone("vgg19").net.state_dict().items()}
    whole = {k.replace("_", ".", 1): torch.full(shapes[k], float(i)) for i, k in enumerate(shapes)}
    save_file(whole, tmp_path / "vgg.safetensors")
    net = StyleNet(StyleNetConfig(encoder="vgg19", weights=str(tmp_path / "vgg.safetensors")))
    found = [parameter for parameter in net.encoder.parameters() if parameter.ndim == 4]
    assert [k for k in whole if k.endswith("weight")][: len(found)][-1] == "features.19.weight"
    assert torch.equal(found[0], whole["features.0.weight"])
    assert torch.equal(found[-1], whole["features.19.weight"])
    assert net.channels == 512


def test_stylise_is_the_equation() -> None:
    torch.manual_seed(0)
    net = StyleNet(StyleNetConfig())
    content = color.normalise(torch.rand(2, 3, 16, 24))
    style = statistics(net.encode(color.normalise(torch.rand(2, 3, 20, 12))))
    for strength in (torch.tensor(0.3), torch.tensor([0.0, 0.8]).view(2, 1, 1, 1)):
        features = net.encode(content)
        mixed = strength * adain(features, style) + (1 - strength) * features
        expected = color.clamp_normalised(net.decoder(mixed))
        torch.testing.assert_close(net.stylise(content, style, strength), expected, rtol=1e-4, atol=1e-5)


def test_strength_zero_is_the_decoded_content_and_output_is_a_valid_picture() -> None:
    torch.manual_seed(0)
    net = StyleNet(StyleNetConfig())
    content = color.normalise(torch.rand(2, 3, 16, 24))
    loud = Statistics(torch.full((2, 64, 1, 1), 1e3), torch.full((2, 64, 1, 1), 1e3))
    plain = net.stylise(content, loud, torch.tensor(0.0))
    torch.testing.assert_close(plain, color.clamp_normalised(net.decoder(net.encode(content))))
    pictures = color.denormalise(net.stylise(content, loud, torch.tensor(1.0)))
    assert pictures.min() > -1e-5
    assert pictures.max() < 1 + 1e-5


def test_stylise_under_autocast_keeps_the_type() -> None:
    net, content = StyleNet(StyleNetConfig()), torch.randn(2, 3, 16, 24)
    style = statistics(net.encode(content))
    plain = net.stylise(content, style, torch.tensor(0.5))
    with torch.autocast("cpu", torch.bfloat16):
        found = net.stylise(content, style, torch.tensor(0.5))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain, atol=0.1, rtol=0.1)
