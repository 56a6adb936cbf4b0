"""The kill study: what it finds, and that it finds what differs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import tiny
from tests.scripts import BENCHMARKS, script

from poseshift.engine.run import Run, open_run

pytestmark = pytest.mark.timeout(900)  # of a machine that does something else too

METHODS = ("regda", "maps")
FILE = BENCHMARKS / "kill_study.py"


kill_study = script("kill_study")


@pytest.fixture(scope="module")
def folder(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Two methods, three moments, one process and two, in a process of its own that forks them."""

    def make(made: Path) -> None:
        small = ("--moments", "3", "--workers", "0", "--steps", "6", "--grace", "0.5")
        written = ("--out", str(made), "--table", str(made / "table.md"))
        done = subprocess.run(
            [sys.executable, str(FILE), "--methods", *METHODS, *small, *written],
            cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, check=False, timeout=880,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + (made / "log.txt").read_text()

    return once("kill-study", make)


def test_runs_killed_at_random_moments_end_with_the_same_bits(folder: Path) -> None:
    rows = re.findall(
        r"^\| (\w+) \| (\d) \| 0 \| 3 \| 1 \| nothing \|", (folder / "table.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted((method, count) for method in METHODS for count in "12")


def test_what_differs_is_found(folder: Path, tmp_path: Path) -> None:
    whole = open_run(folder / "maps-1-0-whole")

    def copy(name: str) -> Run:
        return open_run(shutil.copytree(whole.path, tmp_path / name))

    assert kill_study.differences(copy("same"), whole) == ()
    other = copy("earlier")
    shutil.rmtree(other.checkpoint("last").path)
    found = kill_study.differences(other, whole)
    assert {"method.safetensors", "predictor.safetensors", "state.pt"} <= set(found)
    other = copy("metrics")
    lines = (other.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (other.path / "metrics.jsonl").write_text("".join(lines[:-1]))
    assert kill_study.differences(other, whole) == ("metrics.jsonl",)
    other.note(outcome="failed: why")
    assert kill_study.differences(other, whole) == ("not finished: failed: why",)


def test_a_moment_is_the_nth_call_and_the_same_each_time() -> None:
    def calls() -> tuple[int, int]:
        watch = kill_study.Watch()
        sys.setprofile(watch)
        try:
            tiny.settings()
        finally:
            sys.setprofile(None)
        return watch.calls, watch.saving

    assert calls() == calls()
    assert calls()[0] > 10
    assert calls()[1] == 0


def test_the_table_says_what_differs() -> None:
    case = kill_study.Case(method="regda", processes=2, workers=0)
    one = kill_study.Outcome(case=case, killed=2, saving=1, different=("state.pt",), seconds=1.2)
    assert "| regda | 2 | 0 | 2 | 1 | state.pt | 1 |" in kill_study.table([one])
