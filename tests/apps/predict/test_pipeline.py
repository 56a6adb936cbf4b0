from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict.films import Greys, film, number_of

from poseshift.apps.predict import pipeline
from poseshift.apps.predict.collected import NO_KEYPOINTS
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.inputs import Inputs, open_inputs
from poseshift.apps.predict.pipeline import Look, ahead, look
from poseshift.data.crops import CropConfig, Crops
from poseshift.errors import TrainingError
from poseshift.types import Annotations, ByteArray, FloatArray

PLAIN = Looks(padding=1.0, batch_size=4)


def everything(inputs: Inputs) -> list[Look]:
    return [Look(image=image, rows=(image,)) for image in range(len(inputs))]


def threads() -> int:
    return sum(thread.name.startswith("ThreadPool") for thread in threading.enumerate())


@pytest.mark.parametrize(("workers", "depth"), [(1, 0), (1, 3), (4, 1), (3, 50)])
def test_ahead_keeps_the_order(workers: int, depth: int) -> None:
    def slowly(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(ahead(slowly, range(20), workers=workers, depth=depth)) == [n * n for n in range(20)]
    assert threads() == 0


def test_ahead_takes_no_more_than_it_may() -> None:
    taken, done = [], []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    for number in ahead(lambda n: n, items(), workers=2, depth=5):
        done.append(number)
        assert len(taken) - len(done) <= 5


def test_whatever_fails_in_a_thread_ends_all_of_them() -> None:
    closed = []

    def items() -> Generator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def fails(number: int) -> int:
        if number == 7:
            raise TrainingError("number 7")
        return number

    inner = ahead(fails, items(), workers=2, depth=3)
    outer = ahead(lambda n: n, inner, workers=2, depth=3)
    with pytest.raises(TrainingError, match="number 7"):
        list(outer)
    assert (closed, threads()) == ([True], 0)
    outer = ahead(lambda n: n, ahead(lambda n: n, items(), workers=2, depth=3), workers=2, depth=3)
    assert next(outer) == 0
    outer.close()
    assert (closed, threads()) == ([True, True], 0)


@pytest.mark.parametrize("keep", [False, True])
def test_every_frame_is_seen_once_and_in_order(tmp_path: Path, keep: bool) -> None:
    photos = tiny.photos(tmp_path / "photos", 3)
    inputs = open_inputs([film(tmp_path / "a.mp4"), *photos])
    net = Greys()
    seen = list(look(net, inputs, everything(inputs), PLAIN, keep_pictures=keep))
    assert [one.look.image for one in seen] == list(range(15))
    assert [number_of(one.scores[0, 0]) for one in seen[:12]] == list(range(12))
    assert [len(crops) for crops in net.asked] == [4, 4, 4, 3]
    assert [one.picture is not None for one in seen] == [keep] * 15
    assert all(one.crops.size == 0 for one in seen)
    np.testing.assert_array_equal(seen[0].regions, [[-0.5, -8.5, 63.5, 55.5]])
    # Keypoint 3 lies at (3, 6) of a crop of 16 pixels, so 3.5 and 6.5 of 16 parts from its corner.
    np.testing.assert_allclose(seen[0].keypoints[0, 3], [3.5 * 4 - 0.5, 6.5 * 4 - 8.5], atol=1e-4)
    assert threads() == 0


def test_crops_are_those_of_training_to_the_last_bit(tmp_path: Path) -> None:
    """Boxes inside, across and outside of images of two sizes, with a margin and without."""
    photos = [*tiny.photos(tmp_path / "a", 2), *tiny.photos(tmp_path / "b", 1, size=(31, 77))]
    inputs = open_inputs(photos)
    boxes = np.array([[3, 4, 30.5, 20], [-9, -3, 20, 60], [60, 60, 80, 90], [1, 2, 5, 7]], np.float32)
    images, empty = np.array([0, 1, 2, 2]), np.full(4, "")
    annotations = Annotations(
        name="boxes",
        images=inputs,
        image_index=images,
        skeleton=NO_KEYPOINTS,
        keypoints=np.zeros((4, 0, 2), np.float32),
        visible=np.zeros((4, 0), np.uint8),
        boxes=boxes,
        groups=empty,
        categories=empty,
    )
    looks = [Look(image=i, rows=tuple(np.flatnonzero(images == i)), boxes=boxes[images == i]) for i in range(3)]
    for margin, net in ((0, Greys()), (3, Greys())):
        net.input_size = 16 - 2 * margin
        crops = Crops(annotations, CropConfig(boxes="given", padding=1.3), size=net.input_size, margin=margin)
        seen = list(look(net, inputs, looks, Looks(padding=1.3, batch_size=64, margin=margin)))
        np.testing.assert_array_equal(net.asked[0], np.stack([crops[row].pixels for row in range(4)]))
        np.testing.assert_array_equal(np.concatenate([one.regions for one in seen]), crops.regions)
        points = np.concatenate([one.keypoints for one in seen])
        np.testing.assert_array_equal(points, crops.to_image(net(net.asked[0])[0]))


def test_many_instances_in_an_image_come_in_several_calls(tmp_path: Path) -> None:
    inputs = open_inputs(tiny.photos(tmp_path, 2))
    boxes = np.tile(np.array([[3, 4, 30, 20]], np.float32), (10, 1))
    net = Greys()
    looks = [Look(image=0, rows=(), boxes=boxes[:0]), Look(image=1, rows=tuple(range(10)), boxes=boxes)]
    none, ten = look(net, inputs, looks, PLAIN)
    assert [len(crops) for crops in net.asked] == [4, 4, 2]
    assert (none.keypoints.shape[0], ten.keypoints.shape) == (0, (10, 14, 2))


def test_what_does_not_decode_is_passed_over(tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path, 3)
    photos[1].write_bytes(b"no image")
    inputs = open_inputs(photos)
    seen = list(look(Greys(), inputs, everything(inputs), PLAIN))
    assert [bool(one.failure) for one in seen] == [False, True, False]
    assert "photo01.jpg' does not decode" in seen[1].failure


def test_a_net_that_fails_leaves_no_thread_even_while_its_error_is_looked_at(tmp_path: Path) -> None:
    class Fails(Greys):
        def __call__(self, crops: ByteArray, /) -> tuple[FloatArray, FloatArray]:
            if self.asked:
                raise TrainingError("the second batch")
            return super().__call__(crops)

    inputs = open_inputs([film(tmp_path / "a.mp4", range(60))])
    with pytest.raises(TrainingError, match="the second batch") as caught:
        list(look(Fails(), inputs, everything(inputs), PLAIN))
    assert caught.tb is not None
    assert threads() == 0


def test_memory_does_not_grow_with_the_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the film and whoever takes the answers there are never more frames than a few batches."""
    inputs = open_inputs([film(tmp_path / "a.mp4", range(200))])
    monkeypatch.setattr(pipeline, "processors", lambda: 2)
    taken, most = 0, 0
    inner = Inputs.forward

    def forward(self: Inputs) -> object:
        manager = inner(self)
        take = manager.__enter__()

        def counted(index: int) -> object:
            nonlocal taken
            taken = max(taken, index + 1)
            return take(index)

        class Again:
            def __enter__(self) -> object:
                return counted

            def __exit__(self, *details: object) -> None:
                manager.__exit__(None, None, None)

        return Again()

    monkeypatch.setattr(Inputs, "forward", forward)
    for done, _ in enumerate(look(Greys(), inputs, everything(inputs), PLAIN), 1):
        most = max(most, taken - done)
    assert taken == 200
    assert most <= 4 * PLAIN.batch_size + 2 * pipeline.READ_AHEAD


def test_pictures_that_are_kept_make_batches_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = open_inputs([film(tmp_path / "a.mp4", range(5))])
    monkeypatch.setattr(pipeline, "PICTURES", 2 * 64 * 48 * 3)
    net = Greys()
    list(look(net, inputs, everything(inputs), PLAIN, keep_pictures=True))
    assert [len(crops) for crops in net.asked] == [2, 2, 1]


INTERRUPTED = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background has it ignored
sys.path.insert(0, sys.argv[1])
from films import Greys
from poseshift.apps import predict
from poseshift.apps.predict.estimator import Looks

class Slow(Greys):
    def __call__(self, crops):
        if len(self.asked) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return super().__call__(crops)

asked = predict.Asked(predict.open_inputs(["a.mp4"]), out="out.csv", overlay="out.mp4")
try:
    predict.estimate(Slow(), asked, Looks(batch_size=2))
except KeyboardInterrupt:
    print("threads left:", sum(t.name.startswith("ThreadPool") for t in threading.enumerate()))
    print("torch" in sys.modules)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_an_interrupt_ends_all_threads_and_leaves_nothing(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", range(60))
    done = tiny.python(INTERRUPTED, str(Path(__file__).parent), cwd=tmp_path)
    assert done.stdout.splitlines() == ["threads left: 0", "False"], done.stderr[-2000:]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
