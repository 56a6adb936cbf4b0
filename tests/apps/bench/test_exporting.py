from __future__ import annotations

import pytest

from poseshift.apps.bench import exporting
from poseshift.apps.export.speed import ONNX, TORCH, Speed


def test_the_row_is_of_the_net_that_gains_least_with_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX takes half the time, of the larger input a third less, and with a batch of 16 as long as torch."""

    class Told:
        def __init__(self, net: object, *, size: int, int8: bool) -> None:
            self.size = size
            assert not int8

        def time(self, *, batch: int, threads: int, repeats: int) -> Speed:
            seconds = 1.0 if batch == 16 else 2 / 3 if self.size == 256 else 0.5
            return Speed(batch=batch, threads=threads, seconds={TORCH: [1.0] * repeats, ONNX: [seconds] * repeats})

    monkeypatch.setattr(exporting, "Contest", Told)
    monkeypatch.setattr(exporting.onnx_graph, "refuse_missing", lambda: None)
    found = exporting.measure(quick=False)["export"]
    assert found.value == pytest.approx(1.5)
    assert found.detail["light_128_batch_1"] == 2
    assert found.detail["resnet50_256_batch_16"] == 1
    assert list(exporting.measure(quick=True)["export"].detail) == ["small_64_batch_1", "small_64_batch_16"]
