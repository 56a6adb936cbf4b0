"""Processes that work on one run as one: who they are, what they agree on, and how all end when one cannot go on.

``torchrun`` starts them and says in the environment who each is. The first, of rank 0, writes and speaks; all others
read what it wrote, so the run folder lies where all of them see it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from poseshift.engine import devices
from poseshift.errors import EndedElsewhere, Interrupted, PoseshiftError, TrainingError, UsageError
from poseshift.ops import collective

log = logging.getLogger(__name__)

T = TypeVar("T")

LIMIT = timedelta(minutes=30)
"""How long a process waits for the others, who may score or save meanwhile."""

PATIENCE = timedelta(seconds=15)
"""How long a process that cannot go on waits until the others have heard why, and the first has written it down."""

_STORE: list[Any] = []
"""Where the processes leave each other word, once they have met."""


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which one this is; known after the processes have parted, too."""
    return int(os.environ["RANK"]) if _STORE else 0


def main() -> bool:
    """Whether this is the one that writes and speaks."""
    return rank() == 0


def meet() -> None:
    """Meets the other processes where ``torchrun`` started several; a second call does nothing.

    Of others than the first, only errors are logged.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if _STORE or count == 1 or "RANK" not in os.environ:
        return
    from torch.distributed.rendezvous import rendezvous

    store, own, count = next(rendezvous("env://", timeout=LIMIT))
    store.set_timeout(LIMIT)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=_named(store, "group"), rank=own, world_size=count, timeout=LIMIT)
    _STORE.append(_named(store, "poseshift"))
    atexit.register(_leave)
    if own:
        logging.getLogger("poseshift").setLevel(logging.ERROR)


def _named(store: Any, name: str) -> Any:
    """A part of the store with keys of its own."""
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


def device(name: str) -> torch.device:
    """The device of this process; of several on one machine each takes a GPU of its own.

    Raises:
        UsageError: The device does not exist, or cannot be that of several processes.
    """
    chosen = devices.choose(name)
    if size() > 1 and chosen.type == "cuda":
        return _own_gpu(chosen)
    if size() > 1 and chosen.type != "cpu":
        raise UsageError(f"device {chosen.type!r} takes one process; start without torchrun, or give --device cpu")
    return chosen


def _own_gpu(chosen: torch.device) -> torch.device:
    here, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if str(chosen) != "cuda":
        raise UsageError(f"device '{chosen}': each process takes a GPU of its own; give --device cuda")
    if here > there:
        raise UsageError(f"{here} processes on this machine, but torch sees {there} GPUs; lower --nproc-per-node")
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(own)
    return own


def part() -> None:
    """Leaves the others; who still waits for this process is told so by the network."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _leave() -> None:
    """At the end of the process: what it had to write is written."""
    part()
    if main():
        with suppress(RuntimeError, dist.DistError):
            _STORE[0].set("written", "1")


def barrier() -> None:
    """Waits until all are here."""
    agree(0)


def agree(*numbers: int) -> tuple[int, ...]:
    """The largest of each number that a process gave; all processes get the same."""
    if size() == 1:
        return numbers
    found = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return tuple(found.tolist())


def gathered(mine: T) -> list[T]:
    """What each process gave, in their order; alone, what this one gave."""
    if collective.processes() == 1:
        return [mine]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, mine)
    return found


def main_first(work: Callable[[], T]) -> T:
    """What ``work`` returns here; the first process has done its own before the others begin."""
    if main():
        made = work()
        barrier()
        return made
    barrier()
    return work()


@contextmanager
def together() -> Iterator[None]:
    """An error of one process ends all of them: it is raised there, and :class:`EndedElsewhere` in the others."""
    if size() == 1:
        yield
        return
    try:
        yield
    except (Interrupted, EndedElsewhere):
        raise
    except Exception as error:
        told = _end(error) if dist.is_initialized() else error
        if told is error:
            raise
        raise told from error


def _end(error: Exception) -> Exception:
    """Tells the others why this process ends, or finds that another one told it; returns what to raise here."""
    store = _STORE[0]
    try:
        first = store.add("ended", 1) == 1
    except (RuntimeError, dist.DistError):  # the store went with the first process
        return EndedElsewhere(f"process {rank()}: the first process is gone", 1)
    if not first:
        part()
        code, text = json.loads(store.get("why"))
        store.set(f"heard/{rank()}", "1")
        return EndedElsewhere(text, code)
    others = [f"heard/{other}" for other in range(size()) if other != rank()]
    told = error
    if _lost(error):
        told = TrainingError(
            "another process ended without a word (killed, or out of memory); the same command goes on from the last "
            "checkpoint"
        )
    code = told.exit_code if isinstance(told, PoseshiftError) else 1
    store.set("why", json.dumps([code, " ".join(str(told).split()) or type(told).__name__]))
    part()
    with suppress(RuntimeError, dist.DistError):  # who was killed does not hear
        store.wait(others if main() else [*others, "written"], PATIENCE if error is told else PATIENCE / 5)
    return told


def _lost(error: Exception) -> bool:
    """Whether an error says that another process did not answer."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
