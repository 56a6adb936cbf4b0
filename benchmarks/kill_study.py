"""Promise 1: a run that is killed at random moments and started again by the same call ends with the same bits.

For each method and number of processes a run is trained without interruption. Then it is trained again and killed by
SIGKILL at seeded moments, every second one within a save, and started again each time, until it is done; a run that
ends before all moments were had is followed by another. Weights, statistics, optimisers and ``metrics.jsonl`` (less
seconds) must be those of the uninterrupted run, bit for bit. Of two processes one is killed, and the other must end.

A moment is the n-th call that code of poseshift makes, of any function or of one of ``engine/checkpoint.py``. ::

    python benchmarks/kill_study.py --out runs/kill-study --table benchmarks/results/kill-study.md
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import poseshift
from poseshift import config
from poseshift.config import RunConfig
from poseshift.engine import checkpoint
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.errors import PoseshiftError
from poseshift.methods import METHODS

COMMON: dict[str, Any] = {
    "source": {"data": "figures:source,side=48,count=16", "boxes": "whole"},
    "target": {"data": "figures:middle,side=48,count=12", "boxes": "whole"},
    "model": {"backbone": "small", "head": "pyramid", "width": 16, "stride": 4},
    "input_size": 32,
    "batch_size": 4,
    "steps": 8,
    "save_every": 2,
    "log_every": 1,
    "norms_every": 3,
    "agreement_images": 4,
    "device": "cpu",
}
SMALL = {"ema_decay": 0.5, "refresh_every": 4, "occlusion_threshold": 0.0, "net": {"width": 32, "layers": 2}}
"""Options of any method that has them, so that all of it works within a few steps."""

PARENTS = {"init": "source_only", "style": "style", "prior": "pose_prior"}
GRACE = 2.0
"""Seconds that a process has to end by itself when another was killed."""

SAVING = str(Path(checkpoint.__file__))
PACKAGE = str(Path(poseshift.__file__).parent)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is killed."""

    method: str
    processes: int
    workers: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.processes}-{self.workers}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it: moments that were had, those within a save, and what differs in the end."""

    case: Case
    killed: int
    saving: int
    different: tuple[str, ...]
    seconds: float


def settings(method: str, folder: Path, *, workers: int = 0, whole: bool = True) -> RunConfig:
    """A small run; what others start from need not be a whole one."""
    fields = METHODS[method].Config.model_fields
    own = {key: value for key, value in SMALL.items() if key in fields and not (key == "net" and method == "style")}
    parents = {role: str(folder / role) for role in starts(method)}
    chosen = {**parents, "workers": workers, "method": {"name": method, **own}}
    parsed: RunConfig = config.parse({**COMMON, **chosen, **({} if parents or whole else {"steps": 2})})
    return parsed


def starts(method: str) -> tuple[str, ...]:
    """The roles of the runs that a method starts from."""
    if method in PARENTS.values():
        return ()
    own = METHODS[method].Config()
    return ("init", *(["style"] if own.needs_style else []), *(["prior"] if own.needs_prior else []))


# --- processes --------------------------------------------------------------------------------------------------------


def forked(work: Callable[[], None], log: Path) -> int:
    """Starts a child that does ``work``; what it says goes to a file."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
        work()
    except PoseshiftError as error:
        code = error.exit_code
        print(error, file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - the parent reads the code
        code = 99
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.setprofile(None)
    sys.stderr.flush()
    os._exit(code)


def session(
    case: Case, folder: Path, out: Path, watch: Watch | None = None, victim: int = 0, *, grace: float = GRACE
) -> list[int]:
    """One call of ``train`` in processes of its own; the exit code of each, negative where a signal ended it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def work(rank: int) -> None:
        if case.processes > 1:
            here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": case.processes, "LOCAL_WORLD_SIZE": case.processes}
            os.environ.update({name: str(value) for name, value in here.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, GLOO_SOCKET_IFNAME="lo")
        if watch is not None and rank == victim:
            sys.setprofile(watch)
        whole = out.name not in PARENTS
        train(settings(case.method, folder, workers=case.workers, whole=whole), out, quiet=True)
        if watch is not None and rank == victim:
            sys.setprofile(None)
            (out / ".calls").write_text(json.dumps([watch.calls, watch.saving]))

    pids = [forked(lambda rank=rank: work(rank), folder / "log.txt") for rank in range(case.processes)]  # type: ignore[misc]
    return ended(pids, grace)


def ended(pids: Sequence[int], grace: float) -> list[int]:
    """Exit codes of processes; when one was killed the others are killed too, a little later, as ``torchrun`` does."""
    codes: dict[int, int] = {}
    limit = float("inf")
    while len(codes) < len(pids):
        for pid in set(pids) - set(codes):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                codes[pid] = os.waitstatus_to_exitcode(status)
                limit = min(limit, time.monotonic() + grace) if codes[pid] else limit
            elif time.monotonic() > limit:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [codes[pid] for pid in pids]


class Watch:
    """Counts the calls that poseshift makes, and kills the process at one of them.

    Args:
        at: Which one; None for none.
        within: Count those of the module that saves alone.
    """

    def __init__(self, at: int | None = None, *, within: bool = False) -> None:
        self.at, self.within, self.calls, self.saving = at, within, 0, 0

    def __call__(self, frame: Any, event: str, argument: object) -> None:
        file = frame.f_code.co_filename
        if event not in ("call", "c_call") or not file.startswith(PACKAGE):
            return
        self.calls += 1
        self.saving += file == SAVING
        if self.at is not None and (self.saving if self.within else self.calls) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


# --- the study --------------------------------------------------------------------------------------------------------


def differences(run: Run, whole: Run) -> tuple[str, ...]:
    """What of a finished run is not, bit for bit, what it is in another; wall-clock left aside."""
    if not run.finished:
        return (f"not finished: {run.manifest['outcome']}",)
    found = []
    one, other = run.checkpoint("last"), whole.checkpoint("last")
    names = {file.name for file in other.path.iterdir()} - {"manifest.json"}
    for name in sorted(names):
        if (one.path / name).read_bytes() != (other.path / name).read_bytes():
            found.append(name)
    kept = [
        [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in each.metrics()] for each in (run, whole)
    ]
    if kept[0] != kept[1]:
        found.append("metrics.jsonl")
    if one.info != other.info or run.checkpoint("best").step != whole.checkpoint("best").step:
        found.append("scores or best")
    return tuple(found)


def study(case: Case, folder: Path, moments: int, seed: int, grace: float) -> Outcome:
    """Kills runs of ``case`` at so many moments; ``folder`` has its parents."""
    began = time.monotonic()
    whole = uninterrupted(replace(case, workers=0), folder)
    draws = np.random.default_rng([seed, *case.name.encode()])
    counts = json.loads((whole.path / ".calls").read_text())
    killed = saving = number = 0
    different: list[str] = []
    while killed < moments and not different:
        out = folder / f"{case.name}-{number}"
        shutil.rmtree(out, ignore_errors=True)
        number, done = number + 1, False
        while not done:
            within = killed % 2 == 1
            ahead = max(2, 2 * counts[within] // max(moments, 4))
            victim = 0 if within else int(draws.integers(case.processes))  # the first process saves
            watch = Watch(int(draws.integers(1, ahead)), within=within) if killed < moments else None
            codes = session(case, folder, out, watch, victim, grace=grace)
            if -signal.SIGKILL in codes:
                killed, saving = killed + 1, saving + within
            elif set(codes) != {0}:
                different.append(f"exit codes {codes}")
            done = set(codes) == {0} or bool(different)
        different += [] if different else differences(open_run(out), whole)
    return Outcome(
        case=case, killed=killed, saving=saving, different=tuple(different), seconds=time.monotonic() - began
    )


def uninterrupted(case: Case, folder: Path) -> Run:
    """The run that nothing stops; it counts the calls of its first process."""
    out = folder / f"{case.name}-whole"
    if not (out / ".calls").is_file():
        shutil.rmtree(out, ignore_errors=True)
        codes = session(case, folder, out, Watch())
        if set(codes) != {0}:
            raise SystemExit(f"{out}: {codes}; see {folder / 'log.txt'}")
    return open_run(out)


def parents(folder: Path, methods: Sequence[str]) -> None:
    """The runs that ``methods`` start from."""
    for role, method in PARENTS.items():
        if not any(role in starts(one) for one in methods):
            continue
        case = Case(method=method, processes=1, workers=0)
        if not (folder / role / "manifest.json").is_file() and set(session(case, folder, folder / role)) != {0}:
            raise SystemExit(f"{folder / role}: not trained; see {folder / 'log.txt'}")


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a row for each case."""
    lines = [
        "| method | processes | workers | killed | of them in a save | different in the end | seconds |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for one in outcomes:
        case, said = one.case, ", ".join(one.different) or "nothing"
        row = (case.method, case.processes, case.workers, one.killed, one.saving, said, f"{one.seconds:.0f}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines) + "\n"


def cases(methods: Sequence[str], processes: Sequence[int], workers: Sequence[int]) -> Iterator[Case]:
    for one in workers:
        for count in processes:
            for method in methods:
                yield Case(method=method, processes=count, workers=one)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/kill-study"), help="where runs are trained")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--moments", type=int, default=20, help="of each method and number of processes")
    parser.add_argument(
        "--moments-with-workers", type=int, default=2, help="the same; each start of workers takes seconds"
    )
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--steps", type=int, default=8, help="of a run; a checkpoint every second one")
    parser.add_argument("--grace", type=float, default=GRACE, help="seconds to end by itself when another was killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where the table is written, row by row; else it is printed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    COMMON["steps"] = given.steps
    given.out.mkdir(parents=True, exist_ok=True)
    parents(given.out, given.methods)
    outcomes = []
    for case in cases(given.methods, given.processes, given.workers):
        moments = given.moments_with_workers if case.workers else given.moments
        outcomes.append(study(case, given.out, moments, given.seed, given.grace))
        if given.table:
            given.table.write_text(table(outcomes), encoding="utf-8")
    if not given.table:
        print(table(outcomes), end="")
    return int(any(one.different for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
