"""Trains and scores stages of recipes over seeds: each after those it starts from, several at the same time."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from poseshift.apps.compare import scoring
from poseshift.apps.compare.scoring import Scored
from poseshift.apps.recipes import Recipe
from poseshift.config import PARENTS
from poseshift.data import sources
from poseshift.engine import setup
from poseshift.engine.run import open_run
from poseshift.engine.setup import CropStore
from poseshift.engine.train import train
from poseshift.errors import Interrupted, PoseshiftError, TrainingError

Key = tuple[str, int]
"""A stage and a seed."""

_STORE: CropStore = {}
"""Of a process of a pool: decoded crops in shared memory, the same for all of its processes."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One stage of one seed: train it, then score it.

    Attributes:
        recipe: Holds the stage and those it starts from.
        seed: Of the training.
        stage: Its name, which is that of its run folder.
        folder: Of the seed's runs.
        test: What to score on, see :class:`poseshift.apps.compare.scoring.HeldOut`; None for a start of others alone.
        command: Noted in the manifest.
        quiet: No progress bar.
    """

    recipe: Recipe
    seed: int
    stage: str
    folder: Path
    test: Mapping[str, Any] | None
    command: str = ""
    quiet: bool = True

    @property
    def key(self) -> Key:
        """What it is among others."""
        return self.stage, self.seed

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.folder / self.stage

    def seeded(self) -> Recipe:
        """The recipe with this seed."""
        return self.recipe.overridden([f"common.seed={self.seed}"])

    def parents(self) -> set[Key]:
        """The earlier stages that it starts from."""
        stage = self.recipe.stages[self.stage]
        return {(str(stage[role]), self.seed) for role in PARENTS if stage.get(role) in self.recipe.stages}


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a task.

    Attributes:
        task: It.
        scored: Its scores; None for a failure and for a start of others.
        failure: Why there are none.
        seconds: That it took now; 0 where it was done before.
    """

    task: Task
    scored: Scored | None = None
    failure: Exception | None = None
    seconds: float = 0.0


def perform(task: Task, store: CropStore | None = None) -> Done:
    """Trains and scores, unless that was done; decoded crops are shared through ``store``, by default the process's."""
    store = _STORE if store is None else store
    began = time.perf_counter()
    if task.test is not None and (known := Scored.load(task.run, task.test)) is not None:
        return Done(task=task, scored=known)
    finished = (task.run / "manifest.json").is_file() and open_run(task.run).finished
    settings = task.seeded().stage(task.stage, task.folder)
    run = train(settings, task.run, command=task.command, quiet=task.quiet, store=store)
    if task.test is None:
        return Done(task=task, seconds=0.0 if finished else time.perf_counter() - began)
    scored = scoring.score(run, task.test, store)
    scored.save(task.run, task.test)
    return Done(task=task, scored=scored, seconds=time.perf_counter() - began)


def perform_all(tasks: Sequence[Task], *, jobs: int) -> Iterator[Done]:
    """What became of each task, as it ends; a task whose start failed fails with it.

    Args:
        tasks: Of any number of seeds. A start that is not among them must have been trained before.
        jobs: Tasks at the same time, each in a process and with a thread of its own; 1 stays in this process.

    Raises:
        Interrupted: A task was stopped by a signal; others were stopped too, and all were saved.
    """
    if not tasks:
        return
    if jobs == 1:
        yield from in_order(_at_once({}), tasks, jobs=1)
        return
    context = torch.multiprocessing.get_context("spawn")
    store = _shared_crops(tasks)
    with (
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_take, initargs=(store, 1)) as pool,
        _stopped_together(),
    ):
        yield from in_order(lambda task: pool.submit(perform, task), tasks, jobs=jobs)


def _at_once(store: CropStore) -> Callable[[Task], Future[Done]]:
    """Performs a task in this process."""

    def submit(task: Task) -> Future[Done]:
        future: Future[Done] = Future()
        try:
            future.set_result(perform(task, store))
        except Exception as error:  # noqa: BLE001 - as in a process of a pool: whoever reads the future decides
            traceback.clear_frames(error.__traceback__)  # else the failed run's tensors live as long as its reason
            future.set_exception(error)
        return future

    return submit


def in_order(submit: Callable[[Task], Future[Done]], tasks: Sequence[Task], *, jobs: int) -> Iterator[Done]:
    """Hands in every task once those it starts from are done, at most ``jobs`` at a time."""
    waiting = {task.key: task for task in tasks}
    needed = {task.key: task.parents() & set(waiting) for task in tasks}
    running: dict[Future[Done], Task] = {}
    done: set[Key] = set()
    failed: dict[Key, Exception] = {}
    while waiting or running:
        for key in [key for key in waiting if needed[key] & set(failed)]:
            parent = min(needed[key] & set(failed))
            error = TrainingError(f"it starts from {parent[0]!r}, which failed: {failed[parent]}")
            failed[key] = error
            yield Done(task=waiting.pop(key), failure=error)
        ready = [key for key in waiting if done.issuperset(needed[key])]
        # In order where one works; else the last stages first, which are the longest and the ones that matter.
        for key in (ready if jobs == 1 else ready[::-1])[: jobs - len(running)]:
            task = waiting.pop(key)
            running[submit(task)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            ended = _ended(future, task)
            if ended.failure is None:
                done.add(task.key)
            else:
                failed[task.key] = ended.failure
            yield ended


def _ended(future: Future[Done], task: Task) -> Done:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        raise TrainingError(
            f"seed {task.seed}: {task.stage}: its process died, perhaps for lack of memory; the same command goes on, "
            "with fewer --jobs if it happens again"
        ) from error
    if isinstance(error, Interrupted) or not isinstance(error, Exception):
        raise error
    return Done(task=task, failure=error)


def _take(store: CropStore, threads: int) -> None:
    """Readies a process of a pool."""
    _STORE.update(store)
    torch.set_num_threads(threads)


def _shared_crops(tasks: Sequence[Task]) -> CropStore:
    """Empty caches in shared memory of all that the tasks decode, which the processes then fill."""
    store: CropStore = {}
    seen: set[str] = set()
    for task in tasks:
        config = task.recipe.stage(task.stage, task.folder)
        data = config.model_dump_json(include={"source", "target", "input_size", "margin", "cache_mib"})
        scored = f"{task.test} {config.input_size}"
        with suppress(PoseshiftError):  # the task itself will say what is wrong with its data
            if data not in seen:
                setup.share_crops(config, store)
            if task.test is not None and "boxes" in task.test and scored not in seen:
                for split in scoring.splits_of(task.test):
                    annotations = scoring.chosen(sources.read(task.test["data"], split=split), task.test)
                    scoring.crops_of(annotations, task.test, config.input_size, split, store)
        seen |= {data, scored} if task.test else {data}
    return store


@contextmanager
def _stopped_together() -> Iterator[None]:
    """SIGTERM of this process reaches the processes of the pool too, which then save."""

    def passed_on(number: int, frame: object) -> None:
        for child in multiprocessing.active_children():
            child.terminate()
        raise Interrupted(number, "stopped; runs were saved at their last step: run the same command again to go on")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, passed_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
