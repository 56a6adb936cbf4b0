"""Stop when asked: finish the step and save first; and ask SLURM for another turn where it asked for this."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

log = logging.getLogger(__name__)

ASKED_TO_REQUEUE = getattr(signal, "SIGUSR1", None)
"""What ``sbatch --signal=USR1@120`` sends before the time is over; not SIGTERM, which ``scancel`` sends too."""

HEEDED = tuple(one for one in (signal.SIGINT, signal.SIGTERM, ASKED_TO_REQUEUE) if one is not None)


class Signals:
    """SIGINT, SIGTERM and SIGUSR1 are noted; a second one ends the process at once.

    But for the same one under ``torchrun``, which passes on what it receives: who signals all processes of a job so
    signals each of them twice. Nor does SIGUSR1 end what was asked to stop already.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._passed_on = "TORCHELASTIC_RUN_ID" in os.environ

    def __enter__(self) -> Signals:
        for number in HEEDED:
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:
                log.debug("not the main thread: signals are left alone")
        return self

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None:
            if number == ASKED_TO_REQUEUE or (self._passed_on and number == self.received):
                return
            raise SystemExit(128 + number)
        self.received = number
        log.warning("signal %d: finishing this step and saving", number)

    def __exit__(self, *details: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def ignored() -> Iterator[None]:
    """In this context no signal stops what is written down."""
    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread: signals do not come here
        for number in HEEDED:
            before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requeue(number: int) -> None:
    """Asks SLURM to run this job again, where it sent SIGUSR1 and this is one of its jobs; says how that went."""
    job = os.environ.get("SLURM_JOB_ID")
    if number != ASKED_TO_REQUEUE or not job:
        return
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("job %s is not requeued (%s); submit it again", job, error)
        return
    if done.returncode:
        log.warning("job %s is not requeued (%s); submit it again", job, " ".join(done.stderr.split()))
    else:
        log.warning("job %s is requeued and goes on from there", job)
