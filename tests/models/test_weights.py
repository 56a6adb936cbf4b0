from __future__ import annotations

import logging
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from poseshift.errors import DataError, UsageError
from poseshift.models import backbones, weights

NAME = "mobilenetv2_100"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {key: value.clone() for key, value in timm.create_model("resnet18").state_dict().items()}


def saved(folder: Path, state: dict[str, torch.Tensor]) -> str:
    save_file(state, folder / "weights.safetensors")
    return str(folder / "weights.safetensors")


def loaded(source: str | None, name: str = "resnet18") -> backbones.TimmBackbone:
    net = backbones.build(name)
    assert isinstance(net, backbones.TimmBackbone)
    weights.initialise(net, name, source)
    return net


def test_every_tensor_of_the_features_is_loaded_and_the_classifier_left_out(
    tmp_path: Path, state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        net = loaded(saved(tmp_path, state))
    assert all(torch.equal(value, state[key]) for key, value in net.net.state_dict().items())
    assert "loaded 120 tensors" in caplog.text
    assert "fc.bias" in caplog.text


def test_without_a_source_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load_strictly", lambda *_, **__: pytest.fail("something was loaded"))
    loaded(None)


def test_a_missing_tensor(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    del (short := dict(state))["layer3.0.conv1.weight"]
    with pytest.raises(DataError, match=r"1 of 120 tensors are missing, first \['layer3\.0\.conv1\.weight'\]"):
        loaded(saved(tmp_path, short))


def test_a_wrong_shape(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    wrong = {**state, "layer3.0.conv1.weight": torch.zeros(256, 128, 5, 5)}
    with pytest.raises(DataError, match=r"layer3\.0\.conv1\.weight has shape \(256, 128, 5, 5\), expected \(.*3\)"):
        loaded(saved(tmp_path, wrong))


def test_a_deeper_sibling_is_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """ResNet-34 holds every tensor of ResNet-18 in its shape."""
    with torch.device("meta"):
        deeper = timm.create_model("resnet34").state_dict()
    both = {**{key: torch.zeros(value.shape) for key, value in deeper.items()}, **state}
    with pytest.raises(DataError, match=r"tensors are no part of resnet18, first \['layer1\.2"):
        loaded(saved(tmp_path, both))


def test_a_file_of_another_net(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other net\?"):
        loaded(saved(tmp_path, {"encoder.weight": torch.zeros(3)}))


def test_a_missing_and_a_foreign_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*absent\.safetensors; give"):
        loaded(str(tmp_path / "absent.safetensors"))
    (tmp_path / "a.safetensors").write_bytes(b"PK\x03\x04 this is a zip")
    with pytest.raises(DataError, match=r"a\.safetensors is no safetensors file"):
        loaded(str(tmp_path / "a.safetensors"))


def test_a_truncated_file(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = Path(saved(tmp_path, state))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="is no safetensors file"):
        loaded(str(path))


def test_the_small_net_has_nothing_to_load() -> None:
    with pytest.raises(UsageError, match="backbone 'small' has no weights to load"):
        weights.initialise(backbones.build("small"), "small", "pretrained")


def test_pretrained_is_asked_of_timm_by_name_and_its_licence_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create, asked = timm.create_model, []

    def fake(name: str, *, pretrained: bool = False, **options: object) -> torch.nn.Module:
        asked.append((name, pretrained))
        net = create(name, pretrained=False, **options)
        net.pretrained_cfg = {"tag": "a1", "license": "apache-2.0"}
        return net

    monkeypatch.setattr(timm, "create_model", fake)
    with caplog.at_level(logging.INFO):
        loaded("pretrained")
    assert [name for name, pretrained in asked if pretrained] == ["resnet18"]
    assert "resnet18.a1, licence: apache-2.0" in caplog.text


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    net, create = backbones.build("resnet18"), timm.create_model

    def offline(name: str, *, pretrained: bool = False, **options: object) -> torch.nn.Module:
        if pretrained:
            raise OSError("no route\nto host")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError, match=r"cannot fetch 'resnet18' \(no route to host\); give") as caught:
        weights.initialise(net, "resnet18", "pretrained")
    assert "\n" not in str(caught.value)


def test_the_shared_weights_give_the_features_of_timms_own_net(shared_data: Path) -> None:
    path = shared_data / "weights" / f"{NAME}.imagenet.fp16.safetensors"
    net = loaded(str(path), NAME).eval()
    whole = timm.create_model(NAME).eval()
    whole.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = net(images)
        expected = whole.forward_intermediates(images, indices=[0, 1, 2, 3, 4], intermediates_only=True)
        random = loaded(None, NAME).eval()(images)
    for ours, theirs, untrained in zip(maps, expected, random, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(ours, untrained, atol=0.1)
    first = net.net.state_dict()["conv_stem.weight"]
    assert first.abs().amax((1, 2, 3)).std() > 0.05, "trained filters differ in strength, random ones hardly"
