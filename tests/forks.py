"""Real command lines without the seconds that each import of torch takes.

One process imports poseshift and forks a child for each command: the child has signals, streams and an exit code of its
own, as if it had been started by a shell.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests import tiny

SERVER = """
import json, os, signal, sys, traceback
from poseshift import cli
import poseshift.engine.train, poseshift.engine.evaluate, poseshift.apps.predict, poseshift.apps.adapt

def child(order):
    os.chdir(order["cwd"])
    for number, key in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[key], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.stdin = open(os.devnull)
    sys.argv = ["poseshift", *order["words"]]
    code = 0
    try:
        exec(order["before"], {})
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])), flush=True)
        continue
    pid = os.fork()
    if not pid:
        child(order)
    print(json.dumps(pid), flush=True)
"""


class Command:
    """A command that runs."""

    def __init__(self, ask: Callable[[dict[str, Any]], int], pid: int, files: dict[str, Path]) -> None:
        self._ask, self.pid, self._files = ask, pid, files

    def wait(self) -> int:
        """Its exit code; the negative number of the signal that killed it."""
        return self._ask({"wait": self.pid})

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def stdout(self) -> str:
        return self._files["stdout"].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._files["stderr"].read_text(encoding="utf-8")


class Forks:
    """Starts commands; a context."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0

    def __enter__(self) -> Forks:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=tiny.environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(timeout=60)
            self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> int:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: int = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *words: str, cwd: Path, before: str = "") -> Command:
        """``poseshift WORDS``, after the Python code ``before``."""
        self._count += 1
        files = {name: self.folder / f"{name}-{self._count}" for name in ("stdout", "stderr")}
        named = {name: str(file) for name, file in files.items()}
        return Command(self._ask, self._ask({"words": list(words), "cwd": str(cwd), "before": before, **named}), files)

    def start_ranks(self, count: int, *words: str, cwd: Path, before: str = "") -> list[Command]:
        """``count`` processes of one ``poseshift WORDS``; one alone where ``count`` is 1."""
        codes = ranks(count) if count > 1 else [""]
        return [self.start(*words, cwd=cwd, before=code + before) for code in codes]

    def run_ranks(self, count: int, *words: str, cwd: Path, before: str = "") -> list[tuple[int, str, str]]:
        """Exit code, standard output and standard error of each of ``count`` processes."""
        commands = self.start_ranks(count, *words, cwd=cwd, before=before)
        return [(command.wait(), command.stdout, command.stderr) for command in commands]

    def run(self, *words: str, cwd: Path, before: str = "") -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        command = self.start(*words, cwd=cwd, before=before)
        code = command.wait()
        return code, command.stdout, command.stderr


def ranks(count: int) -> list[str]:
    """Python code for each of ``count`` processes that makes it one of them, as ``torchrun`` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    return [
        "import os\n"
        f"os.environ.update({ {name: str(value) for name, value in {**shared, 'RANK': n, 'LOCAL_RANK': n}.items()} })\n"
        'os.environ["GLOO_SOCKET_IFNAME"] = "lo"\n'
        for n in range(count)
    ]


def until(happened: Callable[[], bool], *, seconds: float = 60) -> None:
    """Waits until ``happened`` is true."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen")
        time.sleep(0.005)
