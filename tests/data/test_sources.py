import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.miniatures import lsp, tigdog

from poseshift.data import sources
from poseshift.data.formats import FORMATS
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Skeleton

SPEC = "figures:middle,side=48,count=6"


def named(annotations: Annotations, names: tuple[str, ...]) -> Annotations:
    """The first keypoints under other names."""
    count = len(names)
    return dataclasses.replace(
        annotations,
        skeleton=Skeleton(name="own", keypoints=names),
        keypoints=annotations.keypoints[:, :count],
        visible=annotations.visible[:, :count],
    )


def test_a_limit_takes_the_first() -> None:
    whole, part = sources.read(SPEC), sources.read(SPEC, limit=4)
    assert (len(whole), len(part), len(sources.read(SPEC, limit=99))) == (6, 4, 6)
    np.testing.assert_array_equal(part.keypoints, whole.keypoints[:4])
    assert not np.array_equal(sources.read(SPEC, split="test").keypoints, whole.keypoints)


@pytest.mark.parametrize("spec", ["pascal:a", "photos", ""])
def test_an_unknown_format_lists_the_known(spec: str) -> None:
    with pytest.raises(UsageError, match=", ".join(FORMATS)):
        sources.read(spec)


def test_without_labels_their_boxes_must_be_asked_for(tmp_path: Path) -> None:
    """TigDog's boxes are computed from labels: a target has none, unless the published crop is asked for by name."""
    spec = f"tigdog:{tigdog.write(tmp_path)}"
    labelled = sources.read(spec, split="train")
    bare = sources.read(spec, split="train", labelled=False)
    published = sources.read(spec, split="train", labelled=False, label_boxes=True)
    assert np.isnan(bare.boxes).all()
    assert "labels, which were not looked at" in bare.note
    np.testing.assert_array_equal(published.boxes, labelled.boxes)
    np.testing.assert_array_equal(published.image_index, labelled.image_index)
    assert published.note.endswith(sources.LABEL_BOXES)
    for one in (bare, published):
        assert not one.visible.any()
        assert not one.keypoints.any()
        assert one.skeleton == labelled.skeleton
    again = sources.read(spec, split="train", label_boxes=True)
    np.testing.assert_array_equal(again.visible, labelled.visible)


def test_nothing_in_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = sources.read(SPEC).select([])
    monkeypatch.setattr(sources.formats, "read", lambda spec, split: empty)
    with pytest.raises(DataError, match="figures:x: no instances in split test; check the path and the split"):
        sources.read("figures:x", split="test")


def test_the_same_names_stay_as_they_are() -> None:
    whole = sources.read(SPEC)
    assert sources.to_skeleton(whole, whole.skeleton, {}, origin="x") is whole


def test_another_order_is_followed_by_name() -> None:
    one = named(sources.read(SPEC), ("nose", "left_eye", "tail"))
    wanted = Skeleton(name="other", keypoints=("Tail", "nose", "l_eye"))
    found = sources.to_skeleton(one, wanted, {}, origin="x")
    np.testing.assert_array_equal(found.keypoints, one.keypoints[:, [2, 0, 1]])
    assert found.skeleton == wanted


def test_counts_that_differ_need_a_mapping(caplog: pytest.LogCaptureFixture) -> None:
    one = named(sources.read(SPEC), ("nose", "tail"))
    wanted = Skeleton(name="other", keypoints=("nose", "stern", "chin"))
    with pytest.raises(
        DataError, match=r"^mine: 2 keypoints \['nose', 'tail'\], expected 3 .*give `mapping: "
    ) as caught:
        sources.to_skeleton(one, wanted, {}, origin="mine")
    assert "without a partner: ['stern', 'chin']" in str(caught.value)
    with caplog.at_level(logging.WARNING):
        found = sources.to_skeleton(one, wanted, {"stern": "tail"}, origin="mine")
    assert "mine: no partner for chin; they are never labelled" in caplog.text
    np.testing.assert_array_equal(found.keypoints[:, :2], one.keypoints)
    assert (found.visible[:, 2] == 0).all()
    np.testing.assert_array_equal(found.visible[:, :2], one.visible)


def test_fingerprints_see_every_column() -> None:
    one = sources.read(SPEC)
    mark = sources.fingerprint(one)
    assert mark == sources.fingerprint(sources.read(SPEC))
    assert len(mark) == 64
    keypoints, visible, boxes = one.keypoints.copy(), one.visible.copy(), one.boxes.copy()
    keypoints[3, 4, 1] += 0.5
    visible[0, 0] ^= 1
    boxes[5, 2] += 1
    others = [
        dataclasses.replace(one, keypoints=keypoints),
        dataclasses.replace(one, visible=visible),
        dataclasses.replace(one, boxes=boxes),
        dataclasses.replace(one, image_index=one.image_index[::-1].copy()),
        one.select([0, 1]),
        sources.read(SPEC, split="test"),
        one.without_labels(),
    ]
    marks = {mark, *map(sources.fingerprint, others)}
    assert len(marks) == 8


@pytest.mark.parametrize(("split", "labelled", "warns"), [(None, False, True), ("train", False, False),
                                                          (None, True, False)])  # fmt: skip
def test_a_target_without_a_split_says_that_test_images_are_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, split: str | None, labelled: bool, warns: bool
) -> None:
    spec = f"lsp:{lsp.write(tmp_path)}"
    with caplog.at_level(logging.WARNING):
        sources.read(spec, split=split, labelled=labelled)
    assert ("no split is named, so train, test are read together" in caplog.text) == warns
