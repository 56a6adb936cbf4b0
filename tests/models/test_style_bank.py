from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from poseshift.batches import TargetBatch, View
from poseshift.draws import Draws
from poseshift.models import style_bank
from poseshift.models.adain import StyleNet, StyleNetConfig, statistics
from poseshift.models.style_bank import StyleBank
from poseshift.ops import color

IMAGES = color.normalise(torch.rand(7, 3, 16, 24, generator=torch.Generator().manual_seed(0)))


def bank(rows: int = 7) -> StyleBank:
    torch.manual_seed(0)
    return StyleBank(StyleNet(StyleNetConfig()), rows)


def batches(size: int, read: list[int] | None = None) -> Iterator[TargetBatch]:
    for first in range(0, len(IMAGES), size):
        ids = torch.arange(first, min(first + size, len(IMAGES)))
        if read is not None:
            read += ids.tolist()
        shown = View(images=IMAGES[ids], matrix=torch.eye(3).expand(len(ids), 3, 3))
        yield TargetBatch(student=shown, teacher=(shown,), ids=ids)


def test_fill_stores_the_statistics_of_each_row() -> None:
    styles = bank()
    styles.fill(IMAGES[[4, 1]], torch.tensor([4, 1]))
    with torch.no_grad():
        expected = statistics(styles.net.encode(IMAGES[1:2]))
    torch.testing.assert_close(styles.mean[1], expected.mean.flatten())
    torch.testing.assert_close(styles.std[1], expected.std.flatten())
    assert not styles.mean[[0, 2, 3, 5, 6]].any()


def test_restyle_is_stylise_with_the_style_of_the_row() -> None:
    styles = bank()
    styles.fill_from(batches(3))
    strength = torch.tensor(0.7).view(1, 1, 1, 1)
    found = styles.restyle(IMAGES[:2], torch.tensor([5, 3]), strength)
    with torch.no_grad():
        expected = styles.net.stylise(IMAGES[:2], statistics(styles.net.encode(IMAGES[[5, 3]])), strength)
    torch.testing.assert_close(found, expected)
    other = styles.restyle(IMAGES[:2], torch.tensor([5, 4]), strength)
    assert torch.equal(found[0], other[0])
    assert not torch.equal(found[1], other[1])
    assert not found.requires_grad


def test_restyled_is_restyle_or_nothing_by_the_coin_of_the_step() -> None:
    styles, ids = bank(), torch.tensor([5, 3])
    styles.fill_from(batches(3))
    draws = [Draws(seed=0, step=step, start=0, count=2, total=2, device=torch.device("cpu")) for step in range(20)]
    assert torch.equal(styles.restyled(IMAGES[:2], ids, draws[0], probability=0.0), IMAGES[:2])
    strength = draws[0].shared("style/strength").view(1, 1, 1, 1)
    always = styles.restyled(IMAGES[:2], ids, draws[0], probability=1.0)
    torch.testing.assert_close(always, styles.restyle(IMAGES[:2], ids, strength))
    changed = [not torch.equal(styles.restyled(IMAGES[:2], ids, one, probability=0.5), IMAGES[:2]) for one in draws]
    assert changed == [one.coin("style", 0.5) for one in draws]
    assert 0 < sum(changed) < len(draws)


def test_beyond_the_largest_the_first_rows_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_bank, "LARGEST", 4)
    styles, read = bank(), list[int]()
    assert styles.rows == 4
    styles.fill_from(batches(3, read))
    assert read == [0, 1, 2, 3, 4, 5], "no batch is read that the bank cannot hold"
    whole = bank(7)
    whole.fill_from(batches(7))
    torch.testing.assert_close(styles.mean, whole.mean[:4])
    strength = torch.tensor(1.0).view(1, 1, 1, 1)
    found = styles.restyle(IMAGES[:1], torch.tensor([6]), strength)
    torch.testing.assert_close(found, styles.restyle(IMAGES[:1], torch.tensor([2]), strength))


def test_the_net_is_frozen_and_the_styles_are_saved() -> None:
    styles = bank()
    assert not any(parameter.requires_grad for parameter in styles.parameters())
    styles.fill_from(batches(7))
    again = bank()
    again.load_state_dict(copy.deepcopy(styles.state_dict()))
    assert torch.equal(again.mean, styles.mean)
    assert torch.equal(again.std, styles.std)


def test_works_under_autocast() -> None:
    styles = bank()
    with torch.autocast("cpu", torch.bfloat16):
        styles.fill_from(batches(7))
        found = styles.restyle(IMAGES, torch.arange(7), torch.tensor(0.5).view(1, 1, 1, 1))
    assert found.dtype == torch.float32
    assert styles.mean.dtype == torch.float32
