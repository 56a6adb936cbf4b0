from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from poseshift.batches import Batch, TargetBatch
from poseshift.data.augment_config import NONE, AugmentConfig
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.images import ImageFiles
from poseshift.data.loaders import Batches, Order, Share, Views
from poseshift.data.windows import WINDOW
from poseshift.ops import affine
from poseshift.types import Annotations, Skeleton

SIZE, MARGIN, ROWS, TOTAL = 32, 4, 11, 4
HEIGHT, WIDTH = 40, 56
MIXED = AugmentConfig(noise=0.05, cast=0.1)


def data(root: Path) -> Annotations:
    rng = np.random.default_rng(0)
    for row in range(ROWS):
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(root / f"{row}.png")
    return Annotations(
        name="noise",
        images=ImageFiles(root=root, paths=tuple(f"{row}.png" for row in range(ROWS))),
        image_index=np.arange(ROWS),
        skeleton=Skeleton(name="three", keypoints=("a", "b", "c")),
        keypoints=rng.uniform(-5, [WIDTH + 5, HEIGHT + 5], (ROWS, 3, 2)).astype(np.float32),
        visible=rng.integers(0, 3, (ROWS, 3)).astype(np.uint8),
        boxes=np.tile(np.array([-0.5, -0.5, WIDTH - 0.5, HEIGHT - 0.5], np.float32), (ROWS, 1)),
        groups=np.array([""] * ROWS),
        categories=np.array([""] * ROWS),
    )


@pytest.fixture
def annotations(tmp_path: Path) -> Annotations:
    return data(tmp_path)


Make = Callable[..., Batches]


@pytest.fixture
def make(annotations: Annotations) -> Make:
    def build(
        *, roles: tuple[str, ...] = ("source", "target"), rank: int = 0, processes: int = 1, **options
    ) -> Batches:
        config = CropConfig(boxes="given", padding=1.0)
        labelled = Crops(options.pop("data", annotations), config, size=SIZE, margin=MARGIN)
        unlabelled = Crops(annotations.without_labels(), config, size=SIZE, margin=MARGIN)
        view = options.pop("view", MIXED)
        settings = {
            "views": Views(source=view, student=view, teacher=view, teachers=2),
            "share": Share.of(TOTAL, rank=rank, processes=processes),
            "seed": 5,
            "device": torch.device("cpu"),
            "on_failed": lambda stream, rows: pytest.fail(f"{stream} {rows} did not decode"),
        }
        return Batches(
            source=labelled if "source" in roles else None,
            target=unlabelled if "target" in roles else None,
            **{**settings, **options},
        )

    return build


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    found = {}
    if batch.has("source"):
        source = batch.source
        found |= {"images": source.view.images, "matrix": source.view.matrix}
        found |= {"keypoints": source.keypoints, "visible": source.visible, "ids": source.ids}
    if batch.has("target"):
        target = batch.target
        for name, view in {"student": target.student, "one": target.teacher[0], "two": target.teacher[1]}.items():
            found |= {f"{name}/images": view.images, f"{name}/matrix": view.matrix}
        found["target/ids"] = target.ids
    return found


def assert_equal(found: Batch, expected: Batch) -> None:
    one, other = tensors(found), tensors(expected)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(("rows", "total"), [(11, 4), (12, 4), (3, 8), (1, 5)])
def test_every_epoch_is_a_permutation(rows: int, total: int) -> None:
    order = Order(rows, Share.of(total), seed=1, stream="source")
    steps = 5 * rows
    drawn = [row for batch in islice(order, steps) for row in batch]
    epochs = [drawn[first : first + rows] for first in range(0, len(drawn), rows)]
    assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)
    assert rows == 1 or rows == 3 or len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_order_starts_anywhere_and_depends_on_seed_and_stream() -> None:
    share = Share.of(TOTAL)
    order = Order(ROWS, share, seed=1, stream="source")
    whole = list(islice(order, 20))
    assert list(islice(Order(ROWS, share, seed=1, stream="source", start=13), 7)) == whole[13:]
    assert [order.at(step) for step in (19, 3, 8)] == [whole[19], whole[3], whole[8]]
    assert list(islice(Order(ROWS, share, seed=2, stream="source"), 20)) != whole
    assert list(islice(Order(ROWS, share, seed=1, stream="target"), 20)) != whole


def test_shares_of_the_order_make_the_whole() -> None:
    whole = Order(ROWS, Share.of(6), seed=1, stream="source")
    parts = [Order(ROWS, Share.of(6, rank=rank, processes=3), seed=1, stream="source") for rank in range(3)]
    for step in range(12):
        assert [row for part in parts for row in part.at(step)] == whole.at(step)


UNITS = np.repeat(np.arange(WINDOW + 4), 3)


def windowed(**options: int) -> Order:
    share = Share.of(9, rank=options.pop("rank", 0), processes=options.pop("processes", 1))  # one lane
    return Order(len(UNITS), share, seed=1, stream="source", units=UNITS, **options)


def test_the_order_of_units_is_a_function_of_the_step_too() -> None:
    steps, count = 20, len(UNITS)
    whole = list(islice(windowed(), steps))
    rows = [row for batch in whole for row in batch]
    epochs = [rows[first : first + count] for first in range(0, len(rows), count)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(count))] * 3
    begun = [set(UNITS[epoch[: 3 * WINDOW]].tolist()) for epoch in epochs]
    assert [len(units) for units in begun] == [WINDOW] * 3
    assert begun[0] != begun[1]
    assert list(islice(windowed(start=11), steps - 11)) == whole[11:]
    parts = [windowed(rank=rank, processes=3) for rank in range(3)]
    assert [[row for part in parts for row in part.at(step)] for step in range(steps)] == whole


LANED = np.repeat(np.arange(70), 3)


def laned(total: int = 8, rank: int = 0, processes: int = 1, start: int = 0) -> Order:
    share = Share.of(total, rank=rank, processes=processes)
    return Order(len(LANED), share, seed=1, stream="source", units=LANED, start=start)


@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_reads_units_of_its_own_and_the_batch_is_that_of_one(processes: int) -> None:
    steps = 80
    whole = list(islice(laned(), steps))
    parts = [laned(rank=rank, processes=processes) for rank in range(processes)]
    drawn = [list(islice(part, steps)) for part in parts]
    assert [[row for part in drawn for row in part[step]] for step in range(steps)] == whole
    owned = [set(LANED[np.concatenate(part)].tolist()) for part in drawn]
    assert all(not one & other for one, other in combinations(owned, 2))
    assert set().union(*owned) == set(range(70))
    assert list(islice(laned(start=33), steps - 33)) == whole[33:]


def test_a_lane_keeps_to_its_window_and_shows_every_row_once_an_epoch() -> None:
    order = laned()
    for lane, rows in enumerate(order.lanes):
        drawn = order._drawn(lane, np.arange(2 * len(rows)))
        assert sorted(drawn[: len(rows)].tolist()) == rows.tolist() == sorted(drawn[len(rows) :].tolist())
        assert len(set(LANED[drawn[: 3 * (WINDOW // 8)]].tolist())) == WINDOW // 8


def test_the_order_of_data_without_units_is_what_it_was() -> None:
    """Frozen: runs of released versions must go on as they began."""
    order = Order(11, Share.of(4), seed=5, stream="source")
    assert [order.at(step) for step in (0, 2, 5, 1000)] == [[7, 5, 4, 10], [1, 8, 9, 7], [1, 10, 0, 3], [0, 9, 1, 8]]


def test_start_is_the_same_as_skipping(make: Make) -> None:
    straight = list(islice(make()(), 6))
    late = list(islice(make()(4), 2))
    for found, expected in zip(late, straight[4:], strict=True):
        assert_equal(found, expected)
        assert found.draws == expected.draws


def test_two_shares_make_the_whole_batch(make: Make) -> None:
    wholes, parts = make()(), [make(rank=rank, processes=2)() for rank in range(2)]
    for _ in range(4):
        whole = tensors(next(wholes))
        halves = [tensors(next(part)) for part in parts]
        for name, value in whole.items():
            joined = torch.cat([half[name] for half in halves])
            torch.testing.assert_close(joined, value, rtol=1e-5, atol=1e-5)


def test_workers_change_nothing(make: Make) -> None:
    alone = make(roles=("target",))
    helped = make(roles=("target",), workers=2)
    for found, expected in islice(zip(helped(3), alone(3), strict=False), 4):
        assert_equal(found, expected)


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_workers_do_not_get_signals_that_are_meant_for_the_group(make: Make) -> None:
    """Ctrl-C, or what a scheduler sends, reaches the main process alone, which then finishes its step and saves."""
    batches = make(roles=("target",), workers=1)()
    next(batches)
    (worker,) = multiprocessing.active_children()
    assert os.getpgid(worker.pid or 0) == worker.pid
    assert os.getpgid(worker.pid or 0) != os.getpgrp()


def test_a_target_batch_holds_no_labels(make: Make) -> None:
    target = next(make(roles=("target",))()).target
    assert set(vars(target)) == {"student", "teacher", "ids"}
    assert [field.name for field in dataclasses.fields(TargetBatch)] == ["student", "teacher", "ids"]
    assert len(target.teacher) == 2
    assert not torch.equal(target.teacher[0].matrix, target.teacher[1].matrix)
    assert not torch.equal(target.teacher[0].matrix, target.student.matrix)


def test_only_the_streams_that_are_there(make: Make) -> None:
    assert not next(make(roles=("source",))()).has("target")
    assert not next(make(roles=("target",))()).has("source")


def test_keypoints_follow_the_view_and_fall_out_of_sight(make: Make, annotations: Annotations) -> None:
    batches = make(roles=("source",), view=MIXED.model_copy(update={"scale": (1.2, 1.6)}))
    crops = batches.source
    assert crops is not None
    hidden = 0
    for batch in islice(batches(), 6):
        source, rows = batch.source, batch.source.ids.numpy()
        expected = affine.apply(source.view.matrix, torch.from_numpy(crops.keypoints[rows]))
        torch.testing.assert_close(source.keypoints, expected)
        inside = ((expected >= -0.5) & (expected < SIZE - 0.5)).all(-1)
        truth = torch.from_numpy(annotations.visible[rows])
        assert torch.equal(source.visible, torch.where(inside, truth, torch.zeros_like(truth)))
        hidden += int((~inside & (truth > 0)).sum())
    assert hidden > 3


def test_a_mirrored_source_view_exchanges_left_and_right(make: Make, annotations: Annotations) -> None:
    """Keypoint 0 is left, 1 is right: in a mirrored view each is found where the other one was, 2 stays itself."""
    sided = dataclasses.replace(
        annotations, skeleton=Skeleton(name="three", keypoints=("left_a", "right_a", "b"), flip_pairs=((0, 1),))
    )
    batches = make(roles=("source",), view=MIXED.model_copy(update={"flip": 0.5}), data=sided)
    crops, seen = batches.source, set()
    assert crops is not None
    for batch in islice(batches(), 4):
        source, rows = batch.source, batch.source.ids.numpy()
        for n, row in enumerate(rows.tolist()):
            flipped = bool(torch.linalg.det(source.view.matrix[n]) < 0)
            order = [1, 0, 2] if flipped else [0, 1, 2]
            places = affine.apply(source.view.matrix[n : n + 1], torch.from_numpy(crops.keypoints[row][order])[None])[0]
            torch.testing.assert_close(source.keypoints[n], places)
            inside = ((places >= -0.5) & (places < SIZE - 0.5)).all(-1)
            truth = torch.from_numpy(sided.visible[row][order])
            assert torch.equal(source.visible[n], torch.where(inside, truth, torch.zeros_like(truth)))
            seen.add(flipped)
    assert seen == {True, False}


def test_images_are_those_of_the_rows(make: Make) -> None:
    batches = make(view=NONE)
    batch = next(batches())
    crops = batches.source
    assert crops is not None
    for position, row in enumerate(batch.source.ids.tolist()):
        middle = crops[row].crop[:, MARGIN:-MARGIN, MARGIN:-MARGIN] / 255
        pictures = batch.source.view.images[position] * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        pictures = pictures + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        torch.testing.assert_close(pictures, middle, atol=1e-3, rtol=0)


def test_a_broken_image_is_skipped_and_reported(make: Make, tmp_path: Path) -> None:
    (tmp_path / "4.png").write_bytes(b"no image")
    reports: list[tuple[str, list[int]]] = []
    batches = make(on_failed=lambda stream, rows: reports.append((stream, rows)))
    seen = {name: [] for name in ("source", "target")}
    for batch in islice(batches(), 12):
        seen["source"] += batch.source.ids.tolist()
        seen["target"] += batch.target.ids.tolist()
    assert {stream for stream, _ in reports} == {"source", "target"}
    assert all(rows == [4] for _, rows in reports)
    for rows in seen.values():
        assert 4 not in rows
        assert set(rows) == set(range(ROWS)) - {4}
        assert rows.count(5) > rows.count(6) / 2, "the next row stands in"


def test_plain_targets_are_every_row_once_in_order(make: Make) -> None:
    batches = make()
    plain = list(batches.plain_targets(batch_size=4))
    assert torch.cat([batch.ids for batch in plain]).tolist() == list(range(ROWS))
    identity = torch.eye(3).expand(4, 3, 3)
    assert torch.equal(plain[0].student.matrix, identity)
    assert torch.equal(plain[0].teacher[0].images, plain[0].student.images)
    limited = list(batches.plain_targets(batch_size=4, limit=6))
    assert [len(batch.ids) for batch in limited] == [4, 2]
    assert not list(make(roles=("source",)).plain_targets(batch_size=4))


def test_labels_of_the_target_change_nothing(make: Make, annotations: Annotations) -> None:
    """The crops of a target come from its boxes alone, so labels that are no numbers leave every batch as it is."""
    poisoned = dataclasses.replace(annotations, keypoints=np.full_like(annotations.keypoints, np.nan))
    clean = make(roles=("target",))
    other = make(roles=("target",))
    other.target = Crops(poisoned, CropConfig(boxes="given", padding=1.0), size=SIZE, margin=MARGIN)
    for found, expected in islice(zip(other(), clean(), strict=False), 3):
        assert_equal(found, expected)
