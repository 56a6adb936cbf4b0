from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poseshift.data.formats import read
from poseshift.data.splits import held_out, in_share, share_of_groups, split_by_group
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Skeleton


class Blank:
    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> np.ndarray:
        return np.zeros((3, 5, 3), np.uint8)

    def key(self, index: int) -> str:
        return "blank"


def annotate(groups: list[str]) -> Annotations:
    n = len(groups)
    return Annotations(
        name="test",
        images=Blank(),
        image_index=np.zeros(n, np.int64),
        skeleton=Skeleton(name="none", keypoints=()),
        keypoints=np.zeros((n, 0, 2), np.float32),
        visible=np.zeros((n, 0), np.uint8),
        boxes=np.arange(n, dtype=np.float32)[:, None].repeat(4, 1),
        groups=np.array(groups),
        categories=np.array([""] * n),
    )


@given(st.lists(st.integers(0, 40), min_size=1, max_size=150), st.integers(0, 1000), st.floats(0.05, 0.95))
def test_no_group_is_separated_and_no_instance_lost(numbers: list[int], seed: int, share: float) -> None:
    data = annotate([f"video {i}" for i in numbers])
    shares = {"train": share, "val": 1 - share}
    if len(set(numbers)) == 1:
        with pytest.raises(DataError, match="groups, which are never separated"):
            split_by_group(data, shares, seed=seed)
        return
    try:
        parts = split_by_group(data, shares, seed=seed)
    except DataError:  # a small share between large groups
        assume(False)
    train, val = parts["train"], parts["val"]
    assert not set(train.groups) & set(val.groups)
    rows = np.sort(np.concatenate([train.boxes[:, 0], val.boxes[:, 0]]))
    np.testing.assert_array_equal(rows, np.arange(len(numbers)))
    assert abs(len(train) - share * len(numbers)) <= max(map(numbers.count, numbers))
    assert (np.diff(train.boxes[:, 0]) > 0).all()


def test_same_seed_same_parts_whatever_the_order_of_instances() -> None:
    groups = [f"g{i % 23}" for i in range(200)]
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    first = split_by_group(annotate(groups), shares, seed=3)
    again = split_by_group(annotate(groups[::-1]), shares, seed=3)
    other = split_by_group(annotate(groups), shares, seed=4)
    for name in shares:
        assert set(first[name].groups) == set(again[name].groups)
    assert set(first["val"].groups) != set(other["val"].groups)


def test_shares_are_met_where_groups_are_single() -> None:
    parts = split_by_group(annotate([str(i) for i in range(1000)]), {"a": 0.7, "b": 0.2, "c": 0.1}, seed=0)
    assert [len(part) for part in parts.values()] == [700, 200, 100]


@pytest.mark.parametrize(
    "shares", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}, {"a": np.nan}]
)
def test_shares_that_do_not_sum_to_one_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="above 0 and sum to 1"):
        split_by_group(annotate(["a", "b"]), shares, seed=0)


def test_too_few_groups_say_so() -> None:
    with pytest.raises(DataError, match=r"'b'.* is empty, since 9 instances lie in only 1 groups"):
        split_by_group(annotate(["same"] * 9), {"a": 0.8, "b": 0.2}, seed=0)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=150), st.integers(1, 99))
def test_shares_of_groups_part_whole_groups_whatever_else_is_there(numbers: list[int], border: int) -> None:
    data = annotate([f"video {i}" for i in numbers])
    parts = []
    for share in ((0, border), (border, 100)):
        try:
            parts.append(in_share(data, share))
        except DataError:  # few groups may all lie on one side
            parts.append(data.select([]))
    low, high = parts
    assert not set(low.groups) & set(high.groups)
    rows = np.sort(np.concatenate([low.boxes[:, 0], high.boxes[:, 0]]))
    np.testing.assert_array_equal(rows, np.arange(len(data)))
    more = in_share(annotate([f"video {i}" for i in (*numbers, *range(500, 600))]), (0, 100))
    assert len(more) == len(data) + 100
    kept = in_share(more, (0, border)) if len(low) else low
    assert set(kept.groups) & set(data.groups) == set(low.groups), "a group stays where it is"


def test_a_share_has_about_its_size() -> None:
    data = annotate([f"subject {i}" for i in range(2000)])
    assert len(in_share(data, (0, 80))) == pytest.approx(1600, abs=60)
    with pytest.raises(
        DataError, match=r"none of its 1 groups, which are never separated, lies between 0 and 1 \(a at"
    ):
        in_share(annotate(["a", "a"]), (0, 1))


def test_the_share_is_a_split_of_every_format() -> None:
    whole = read("figures:source,count=30")
    low, high = (read("figures:source,count=30", split=f"groups_{part}") for part in ("0_62.5", "62.5_100"))
    assert len(low) + len(high) == len(whole)
    assert min(len(low), len(high)) > 0
    assert share_of_groups("train") is share_of_groups(None) is None
    for wrong in ("groups_80_20", "groups_0_101", "groups_5", "groups_-1_5", "groups_0_0"):
        with pytest.raises(UsageError, match=r"expected groups_A_B with percentages 0 <= A < B <= 100, as groups_0_80"):
            read("figures:source", split=wrong)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(0, 80))
def test_what_is_held_out_are_whole_groups_and_no_more_than_asked_for(numbers: list[int], count: int) -> None:
    annotations = annotate([f"video {number}" for number in numbers])
    apart, rest = held_out(annotations, count)
    assert len(apart) <= count
    assert not set(apart.groups) & set(rest.groups)
    assert sorted([*apart.boxes[:, 0], *rest.boxes[:, 0]]) == list(range(len(numbers)))
    again, _ = held_out(annotations, count)
    assert again.boxes.tolist() == apart.boxes.tolist()
    for part in (apart, rest):
        assert sorted(part.boxes[:, 0]) == list(part.boxes[:, 0])


def test_of_groups_of_one_as_many_are_held_out_as_asked_for() -> None:
    annotations = annotate([f"image {number}" for number in range(100)])
    apart, rest = held_out(annotations, 7)
    assert (len(apart), len(rest)) == (7, 93)
    assert len(held_out(annotations, 0)[0]) == 0
