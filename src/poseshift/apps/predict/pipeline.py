"""Decoding, net and writing at the same time: stages with a bounded number of things between them.

Each stage has threads of its own and hands on, in order, what the next one asks for, so memory does not grow with the
number of images. Frames are decoded in order by one thread; files are decoded, and crops cut, by several; the net
has its own. Whatever goes wrong in a thread is raised to whoever asks for the next image, and ends them all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from poseshift.apps.predict.estimator import Estimator, Looks
from poseshift.apps.predict.inputs import Inputs, Load
from poseshift.data import canonical
from poseshift.data.boxes import squares
from poseshift.data.decoding import Decoded
from poseshift.errors import DataError
from poseshift.types import ByteArray, FloatArray

A = TypeVar("A")
B = TypeVar("B")

READ_AHEAD = 8
"""Frames that are decoded and wait to be cut."""
PICTURES = 64 * 2**20
"""Bytes of pictures a batch where they are kept, for an overlay."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """An image, and where to look in it.

    Attributes:
        image: Its number among the inputs.
        rows: ``n`` rows of the result that it fills.
        boxes: ``n×4``; None for the whole image, which is one row.
    """

    image: int
    rows: tuple[int, ...]
    boxes: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What was found in an image.

    Attributes:
        look: Which, and where.
        boxes: ``n×4``, now known for whole images too.
        regions: ``n×4`` squares that the net saw.
        crops: ``n×S×S×3``; emptied when the net has seen them.
        keypoints: ``n×K×2`` in pixels of the image.
        scores: ``n×K``.
        picture: ``H×W×3``, where it is kept.
        failure: Why the image does not decode; the arrays are empty then.
    """

    look: Look
    boxes: FloatArray
    regions: FloatArray
    crops: ByteArray
    keypoints: FloatArray
    scores: FloatArray
    picture: ByteArray | None = None
    failure: str = ""


def ahead(function: Callable[[A], B], items: Iterable[A], *, workers: int, depth: int) -> Generator[B]:
    """``function`` of each item, in their order, computed by threads up to ``depth`` items ahead.

    Whatever ``function`` or ``items`` raise is raised here; closing the generator ends the threads and waits for them.
    """
    with ExitStack() as stack:
        if isinstance(items, Generator):
            stack.enter_context(closing(items))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def look(
    estimator: Estimator, inputs: Inputs, looks: Iterable[Look], how: Looks, *, keep_pictures: bool = False
) -> Generator[Seen]:
    """What an estimator sees in images, in the order of ``looks``, which is ascending.

    Args:
        estimator: The net.
        inputs: The images.
        looks: Which images, and where to look in them.
        how: How the net wants to be shown them; ``padding`` is applied here.
        keep_pictures: Hand on each picture; batches become smaller where pictures are large.

    Raises:
        PoseshiftError: What the estimator raises; an image that does not decode is a :class:`Seen` with a ``failure``.
    """
    batch = min(how.batch_size, _fitting(inputs)) if keep_pictures else how.batch_size
    workers = min(processors(), 16)
    with inputs.forward() as take:
        read = ahead(partial(_taken, take), looks, workers=1, depth=READ_AHEAD)
        cut = partial(_cut, size=estimator.input_size, how=how, keep=keep_pictures)
        shown = ahead(cut, read, workers=workers, depth=batch + workers)
        asked = ahead(
            partial(_asked, estimator, how.batch_size),
            _batches(shown, batch),
            workers=how.at_once,
            depth=how.at_once,
        )
        with closing(asked):
            for seen in asked:
                yield from seen


def _fitting(inputs: Inputs) -> int:
    """Pictures a batch whose bytes are few enough, by the size of the first."""
    try:
        width, height = inputs.size(0)
    except DataError:
        return 1
    return max(1, PICTURES // (3 * width * height))


def _taken(take: Callable[[int], Load], wanted: Look) -> tuple[Look, Load | DataError]:
    try:
        return wanted, take(wanted.image)
    except DataError as error:
        return wanted, error


def _cut(taken: tuple[Look, Load | DataError], *, size: int, how: Looks, keep: bool) -> Seen:
    """The crops of an image."""
    wanted, load = taken
    nothing = Seen(
        look=wanted,
        boxes=np.zeros((0, 4), np.float32),
        regions=np.zeros((0, 4), np.float32),
        crops=np.zeros((0, 0, 0, 3), np.uint8),
        keypoints=np.zeros((0, 0, 2), np.float32),
        scores=np.zeros((0, 0), np.float32),
    )
    if isinstance(load, DataError):
        return replace(nothing, failure=str(load))
    try:
        load, (width, height), picture = _sized(load, keep)
        boxes = whole(width, height) if wanted.boxes is None else wanted.boxes
        regions = squares(boxes, 1.0 if wanted.boxes is None else how.padding)
        finer = canonical.finer(regions, size).tolist()
        pictures = {times: load.decode(times) for times in set(finer)}  # what training decodes for such a region
        cuts = [
            canonical.cut(pictures[times], region, size=size, margin=how.margin)
            for times, region in zip(finer, regions, strict=True)
        ]
    except DataError as error:
        return replace(nothing, failure=str(error))
    crops = np.stack(cuts) if cuts else nothing.crops
    return replace(nothing, boxes=boxes, regions=regions, crops=crops, picture=picture if keep else None)


def _sized(load: Load, keep: bool) -> tuple[Load, tuple[int, int], ByteArray | None]:
    """A picture with its width and height; decoded as it is where it is kept, or where only that tells its size."""
    if load.size is not None and not keep:
        return load, load.size(), None
    picture = load()
    return Load(decode=lambda most: Decoded(picture, 1)), (picture.shape[1], picture.shape[0]), picture


def whole(width: int, height: int) -> FloatArray:
    """The outline of an image as a box, ``1×4``."""
    return np.array([[-0.5, -0.5, width - 0.5, height - 0.5]], np.float32)


def _batches(seen: Generator[Seen], size: int) -> Generator[list[Seen]]:
    """Images together whose crops are at most ``size``, or a single one that has more; at most ``size`` images."""
    batch: list[Seen] = []
    count = 0
    with closing(seen):  # a traceback may keep it alive, and with it the threads
        for one in seen:
            if batch and (count + len(one.crops) > size or len(batch) >= size):
                yield batch
                batch, count = [], 0
            batch.append(one)
            count += len(one.crops)
    if batch:
        yield batch


def _asked(estimator: Estimator, size: int, batch: list[Seen]) -> list[Seen]:
    """The batch with keypoints and scores."""
    there = [one.crops for one in batch if len(one.crops)]
    if not there:
        return batch
    crops = np.concatenate(there)
    found = [estimator(crops[first : first + size]) for first in range(0, len(crops), size)]
    keypoints, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    ends = np.cumsum([len(one.crops) for one in batch])[:-1]
    return [
        replace(
            one,
            crops=one.crops[:0],
            keypoints=canonical.to_image(points, one.regions, estimator.input_size) if len(points) else points,
            scores=values,
        )
        for one, points, values in zip(batch, np.split(keypoints, ends), np.split(scores, ends), strict=True)
    ]
