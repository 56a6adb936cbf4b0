from __future__ import annotations

import dataclasses

import pytest
import torch

from poseshift.batches import Batch, SourceBatch, TargetBatch, View
from poseshift.draws import Draws
from poseshift.errors import UsageError

DRAWS = Draws(seed=0, step=0, start=0, count=2, total=2, device=torch.device("cpu"))
VIEW = View(images=torch.zeros(2, 3, 8, 12), matrix=torch.eye(3).expand(2, 3, 3))
SOURCE = SourceBatch(view=VIEW, keypoints=torch.zeros(2, 1, 2), visible=torch.ones(2, 1), ids=torch.arange(2))
TARGET = TargetBatch(student=VIEW, teacher=(VIEW,), ids=torch.arange(2))


def test_a_target_batch_has_no_place_for_labels() -> None:
    assert [field.name for field in dataclasses.fields(TargetBatch)] == ["student", "teacher", "ids"]
    assert [field.name for field in dataclasses.fields(View)] == ["images", "matrix"]


def test_a_batch_holds_what_it_was_given() -> None:
    batch = Batch(draws=DRAWS, source=SOURCE, target=TARGET)
    assert batch.source is SOURCE
    assert batch.target is TARGET
    assert batch.draws is DRAWS
    assert batch.has("source")
    assert batch.has("target")


@pytest.mark.parametrize("field", ["source", "target"])
def test_what_a_method_did_not_ask_for_is_a_usage_error(field: str) -> None:
    batch = Batch(draws=DRAWS)
    assert not batch.has(field)
    with pytest.raises(UsageError, match=rf"reads batch\.{field}.*'{field}'.*needs"):
        getattr(batch, field)


@pytest.mark.parametrize("record", [VIEW, SOURCE, TARGET])
def test_records_are_frozen(record: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.extra = 1  # type: ignore[attr-defined]
