"""Annotations to endless batches, the same whatever the number of processes and workers.

Order and randomness are functions of (seed, step, position in the global batch, stream) alone: a run that starts at
step 1,000 draws what an uninterrupted one draws there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from poseshift.batches import Batch, SourceBatch, TargetBatch
from poseshift.data import augment, windows
from poseshift.data.augment_config import AugmentConfig
from poseshift.data.crops import Crops, Item
from poseshift.draws import Draws, generator
from poseshift.ops import affine
from poseshift.types import IntArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one process holds of every global batch."""

    total: int
    start: int
    count: int

    @classmethod
    def of(cls, total: int, *, rank: int = 0, processes: int = 1) -> Share:
        """The share of process ``rank``; ``total`` must divide evenly (checked by the configuration)."""
        count = total // processes
        return cls(total=total, start=rank * count, count=count)


class Order(Sampler[list[int]]):
    """Endless row numbers: a new permutation for every pass over the data, cut into batches across its ends.

    Args:
        rows: Of the data.
        share: Of the global batch.
        seed: Of the run.
        stream: Another one has another order.
        start: The first step.
        units: ``rows`` numbers of what is fetched together, where the order is to keep to a few of them at a time
            (:mod:`poseshift.data.windows`); None for an order that knows of none.
    """

    def __init__(
        self, rows: int, share: Share, *, seed: int, stream: str, start: int = 0, units: IntArray | None = None
    ) -> None:
        self.share, self.seed, self.stream, self.start, self.units = share, seed, stream, start, units
        self.lanes = [np.arange(rows)] if units is None else windows.lanes(units, share.total)
        self._permutations: dict[int, tuple[int, IntArray]] = {}

    def at(self, step: int) -> list[int]:
        """Rows of this process at ``step``."""
        places = self.share.total // len(self.lanes)  # of the batch, for each lane
        lanes, inside = np.divmod(np.arange(self.share.start, self.share.start + self.share.count), places)
        rows = np.empty(self.share.count, np.int64)
        for lane in np.unique(lanes):
            mine = lanes == lane
            rows[mine] = self._drawn(int(lane), step * places + inside[mine])
        return [int(row) for row in rows]

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while True:
            yield self.at(step)
            step += 1

    def _drawn(self, lane: int, places: IntArray) -> IntArray:
        """Rows at ``places`` of a lane's endless order."""
        epochs, inside = np.divmod(places, len(self.lanes[lane]))
        rows = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            rows[epochs == epoch] = self._permutation(lane, int(epoch))[inside[epochs == epoch]]
        return rows

    def _permutation(self, lane: int, epoch: int) -> IntArray:
        cached = self._permutations.get(lane)
        if cached is None or cached[0] != epoch:
            rows, alone = self.lanes[lane], len(self.lanes) == 1
            draws = generator(self.seed, f"order/{self.stream}" if alone else f"order/{self.stream}/{lane}", epoch)
            if self.units is None:
                order = draws.permutation(len(rows))
            else:
                order = windows.permutation(draws, self.units[rows], window=windows.WINDOW // len(self.lanes))
            cached = self._permutations[lane] = (epoch, rows[order])
        return cached[1]


def collate(items: list[Item]) -> tuple[Tensor, Tensor, list[int]]:
    """Crops ``B×3×S×S`` uint8, rows ``B``, and the rows that did not decode."""
    crops = torch.stack([item.crop for item in items])
    return crops, torch.tensor([item.row for item in items]), [row for item in items for row in item.failed]


@dataclass(frozen=True, kw_only=True)
class Views:
    """How the images of each role are augmented."""

    source: AugmentConfig
    student: AugmentConfig
    teacher: AugmentConfig
    teachers: int = 1


def _leave_group(worker: int) -> None:
    """A signal to the whole group (Ctrl-C, a scheduler's) must not kill what the last step before saving waits for."""
    if os.name == "posix":
        os.setpgid(0, 0)


class Batches:
    """Endless :class:`Batch` from the crops that a method needs.

    Args:
        source: Labelled crops, or None.
        target: Unlabelled crops, or None.
        views: Augmentation.
        share: Of the global batch.
        seed: Of the run.
        device: Where batches are wanted.
        workers: Loader processes for each stream; 0 loads in this process.
        on_failed: Called with the stream and the rows that did not decode.
    """

    def __init__(
        self,
        *,
        source: Crops | None,
        target: Crops | None,
        views: Views,
        share: Share,
        seed: int,
        device: torch.device,
        workers: int = 0,
        on_failed: Callable[[str, list[int]], None],
    ) -> None:
        self.source, self.target, self.views, self.share = source, target, views, share
        self.seed, self.device, self.workers, self.on_failed = seed, device, workers, on_failed
        if source is not None:
            self._keypoints = torch.from_numpy(source.keypoints)
            self._visible = torch.from_numpy(source.annotations.visible.copy())
            self._other_side = torch.tensor(source.annotations.skeleton.flip_index, dtype=torch.long, device=device)

    def __call__(self, start: int = 0) -> Iterator[Batch]:
        """Batches from step ``start`` on."""
        streams = {
            name: crops for name, crops in (("source", self.source), ("target", self.target)) if crops is not None
        }
        loads = {name: iter(self._loader(crops, name, start)) for name, crops in streams.items()}
        step = start
        while True:
            draws = Draws(
                seed=self.seed,
                step=step,
                start=self.share.start,
                count=self.share.count,
                total=self.share.total,
                device=self.device,
            )
            loaded = {name: self._next(name, load) for name, load in loads.items()}
            yield Batch(
                source=self._source(*loaded["source"], draws) if "source" in loaded else None,
                target=self._target(*loaded["target"], draws) if "target" in loaded else None,
                draws=draws,
            )
            step += 1

    def plain_targets(self, *, batch_size: int, limit: int | None = None) -> Iterator[TargetBatch]:
        """Un-augmented target images in the order of their rows, for :meth:`Method.refresh`."""
        if self.target is None:
            return
        rows = list(range(min(len(self.target), limit or len(self.target))))
        for first in range(0, len(rows), batch_size):
            crops, ids, failed = collate([self.target[row] for row in rows[first : first + batch_size]])
            if failed:
                self.on_failed("target", failed)
            view = augment.plain(crops.to(self.device), size=self.target.size)
            yield TargetBatch(student=view, teacher=(view,), ids=ids.to(self.device))

    def _loader(self, crops: Crops, stream: str, start: int) -> DataLoader[Item]:
        return DataLoader(
            crops,
            batch_sampler=Order(len(crops), self.share, seed=self.seed, stream=stream, start=start, units=crops.units),
            collate_fn=collate,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_leave_group if self.workers else None,
        )

    def _next(self, stream: str, load: Iterator[tuple[Tensor, Tensor, list[int]]]) -> tuple[Tensor, Tensor]:
        crops, rows, failed = next(load)
        if failed:
            self.on_failed(stream, failed)
        return crops.to(self.device, non_blocking=True), rows

    def _source(self, crops: Tensor, rows: Tensor, draws: Draws) -> SourceBatch:
        if self.source is None:
            raise AssertionError("no source stream")
        size = self.source.size
        view = augment.draw(crops, self.views.source, draws, size=size, stream="augment/source")
        keypoints = affine.apply(view.matrix, self._keypoints[rows].to(self.device, non_blocking=True))
        inside = ((keypoints >= -0.5) & (keypoints < size - 0.5)).all(-1)
        visible = self._visible[rows].to(self.device, non_blocking=True) * inside
        if self.views.source.flip:  # the left knee of a mirrored animal is where its right one was
            flipped = affine.mirrored(view.matrix)
            keypoints = torch.where(flipped[:, None, None], keypoints[:, self._other_side], keypoints)
            visible = torch.where(flipped[:, None], visible[:, self._other_side], visible)
        return SourceBatch(view=view, keypoints=keypoints, visible=visible, ids=rows.to(self.device, non_blocking=True))

    def _target(self, crops: Tensor, rows: Tensor, draws: Draws) -> TargetBatch:
        if self.target is None:
            raise AssertionError("no target stream")
        configs = {"augment/student": self.views.student}
        configs |= {f"augment/teacher/{view}": self.views.teacher for view in range(self.views.teachers)}
        student, *teacher = augment.draw_views(crops, configs, draws, size=self.target.size)
        return TargetBatch(student=student, teacher=tuple(teacher), ids=rows.to(self.device, non_blocking=True))
