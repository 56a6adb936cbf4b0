import pytest
import torch

from poseshift.engine import devices
from poseshift.errors import UsageError


def test_names() -> None:
    assert devices.choose("cpu") == torch.device("cpu")


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose("auto").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose("auto").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "meta", "xla"])
def test_what_is_no_device_of_ours_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected auto, cpu, cuda, cuda:N or mps"):
        devices.choose(name)


def test_a_missing_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no CUDA device"):
        devices.choose("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices.choose("cuda:0").index == 0
    with pytest.raises(UsageError, match="sees 1 CUDA devices, counted from 0"):
        devices.choose("cuda:1")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="use --device cpu"):
        devices.choose("mps")


@pytest.mark.parametrize(
    ("found", "warns"),
    [({"avx2": True}, True), ({"avx512_bf16": False}, True), ({"amx_bf16": True}, False), ({"bf16": True}, False)],
)
def test_half_precision_without_instructions_for_it_is_warned_of_in_one_line(
    found: dict[str, bool], warns: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    devices.fabric(torch.device("cpu"), "32-true")
    assert not caplog.messages
    devices.fabric(torch.device("cpu"), "bf16-mixed")
    told = [one.getMessage() for one in caplog.records if one.name.startswith("poseshift")]
    assert [("bfloat16" in text, "\n" in text) for text in told] == [(True, False)] * warns
    assert devices.computes_bfloat16(torch.device("cuda")), "a GPU is not asked"


def test_torch_says_what_this_cpu_can() -> None:
    """A warning that hangs on names must not be lost when torch changes them."""
    known = torch.cpu.get_capabilities()
    assert isinstance(known.get("avx512_bf16", known.get("bf16")), bool)
