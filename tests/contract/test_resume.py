"""Promise 1: a run that was killed in mid-step and started again ends with the bits of one that was never interrupted.

Real processes: killed by SIGKILL, SIGTERM and SIGINT, started again by the same command.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.forks import Forks, until

from poseshift.apps.pack import pack
from poseshift.data.windows import WINDOW
from poseshift.engine.run import Run, open_run

CASES = ("multilevel", "uniframe")
OPTIONS = {"steps": 8, "save_every": 2, "log_every": 1, "batch_size": 4, "norms_every": 2}

# The process ends itself with SIGKILL when half of step 5 is done: one part was stepped, the other was not.
KILL = """
import os, signal
from poseshift.engine.optimise import Optimisers
step, taken = Optimisers.step, 0
def killing(self, on):
    global taken
    taken += 1
    if taken == 6:
        self.optimisers[on[0]].step()
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, on)
Optimisers.step = killing
"""

# As above, half-way through a later step.
KILL_IN_SEVENTH = KILL.replace("taken == 6", "taken == 7")

# The process ends itself when the fourth step's checkpoint is half written.
KILL_IN_SAVE = """
import os, signal
from poseshift.engine import checkpoint
save, calls = checkpoint.torch.save, 0
def killing(*arguments):
    global calls
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)
checkpoint.torch.save = killing
"""

# As above, when the start's checkpoint is half written: its scores are logged already.
KILL_IN_FIRST_SAVE = KILL_IN_SAVE.replace("calls == 3", "calls == 1")

# Each step takes a while, so that a signal finds the process in the middle of one.
SLOW = """
import time
from poseshift.engine.optimise import Optimisers
step = Optimisers.step
def slow(self, on):
    time.sleep(0.1)
    step(self, on)
Optimisers.step = slow
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """With the parents, a configuration of each case, and its run that was never interrupted."""
    made = tmp_path_factory.mktemp("runs")
    tiny.write_config(made / "style.yaml", "style", {"steps": 1})
    tiny.write_config(made / "init.yaml", "source_only", {"steps": 1})
    for method in CASES:
        tiny.write_config(made / f"{method}.yaml", method, {**OPTIONS, "init": "init", "style": "style"})
    for name in ("style", "init", *CASES):
        code, _, errors = train(forks, made, name, name if name in ("style", "init") else f"whole-{name}")
        assert code == 0, errors
    return made


def train(forks: Forks, folder: Path, config: str, out: str, before: str = "") -> tuple[int, str, str]:
    return forks.run("train", f"{config}.yaml", "--out", out, "--quiet", cwd=folder, before=before)


def state(run: Run) -> dict[str, torch.Tensor]:
    """Every tensor of the optimisers, by its place."""
    found: dict[str, torch.Tensor] = {}

    def walk(tree: Any, place: str) -> None:
        if isinstance(tree, torch.Tensor):
            found[place] = tree
        elif isinstance(tree, dict):
            for key, value in tree.items():
                walk(value, f"{place}/{key}")

    walk(run.checkpoint("last").state()["optimisers"], "")
    return found


def assert_same_bits(run: Run, whole: Run, *, lines: bool = True) -> None:
    weights, expected = tiny.weights(run), tiny.weights(whole)
    assert {key.split(".")[0] for key in expected} >= {"nets", "styles"}
    assert [key for key in expected if not torch.equal(weights[key], expected[key])] == []
    assert tiny.same_tensors(weights, expected)
    assert tiny.same_tensors(tiny.weights(run, "predictor"), tiny.weights(whole, "predictor"))
    assert len(state(whole)) > 100
    assert tiny.same_tensors(state(run), state(whole))
    assert (run.finished, run.checkpoint("best").step) == (True, whole.checkpoint("best").step)
    if lines:
        assert tiny.lines(run) == tiny.lines(whole)


@pytest.mark.parametrize(
    ("method", "kill"),
    [
        pytest.param("multilevel", KILL, id="multilevel, in a step"),
        pytest.param("multilevel", KILL_IN_SAVE, id="multilevel, in a save"),
        pytest.param("uniframe", KILL, id="uniframe, in a step"),
    ],
)
def test_killed_and_started_again(method: str, kill: str, forks: Forks, folder: Path) -> None:
    out = "killed-" + ("save-" if "calls" in kill else "step-") + method
    code, _, errors = train(forks, folder, method, out, kill)
    assert code == -signal.SIGKILL, errors
    run, whole = open_run(folder / out), open_run(folder / f"whole-{method}")
    assert not run.finished
    assert run.checkpoint("last").step == (4 if kill is KILL else 2), "it was past its first checkpoint"
    assert not tiny.same_tensors(tiny.weights(run), tiny.weights(whole))
    code, _, errors = train(forks, folder, method, out)
    assert code == 0, errors
    assert_same_bits(run, whole)
    if method == "multilevel":
        names = tiny.weights(run)
        for part in ("nets.student.", "nets.teacher.", "discriminator.", "styles.mean", "styles.net."):
            assert any(name.startswith(part) for name in names), part
    assert not list(run.checkpoints_path.glob(".draft-*"))


def test_killed_while_the_start_is_saved(forks: Forks, folder: Path) -> None:
    """The log knows scores of a checkpoint that does not exist: they are written anew, once."""
    code, _, errors = train(forks, folder, "multilevel", "killed-first", KILL_IN_FIRST_SAVE)
    assert code == -signal.SIGKILL, errors
    run = open_run(folder / "killed-first")
    assert run.checkpoints() == []
    assert {line["step"] for line in run.metrics()} == {0}
    code, _, errors = train(forks, folder, "multilevel", "killed-first")
    assert code == 0, errors
    assert_same_bits(run, open_run(folder / "whole-multilevel"))


def test_packed_data_that_fits_no_cache_goes_on_too(forks: Forks, folder: Path) -> None:
    """Shards are taken in windows of row groups; the run is killed in its second window."""
    count = WINDOW + 8
    for split in ("source", "middle"):
        pack(f"figures:{split},side=48,count={count}", folder / split, group_bytes=1)
    packed = {
        "cache_mib": 0,
        "source": {"data": "packed:source", "split": "train"},
        "target": {"data": "packed:middle", "split": "train"},
    }
    options = {**OPTIONS, "save_every": 5, "init": "init", "style": "style", **packed}
    tiny.write_config(folder / "packed.yaml", "uniframe", options)
    for out, before, code in (("whole-packed", "", 0), ("cut-packed", KILL_IN_SEVENTH, -signal.SIGKILL)):
        assert train(forks, folder, "packed", out, before)[0] == code
    run, whole = open_run(folder / "cut-packed"), open_run(folder / "whole-packed")
    assert run.checkpoint("last").step == 5
    assert 5 * OPTIONS["batch_size"] > WINDOW, "the first window is done"
    code, _, errors = train(forks, folder, "packed", "cut-packed")
    assert code == 0, errors
    assert_same_bits(run, whole)
    tiny.write_config(folder / "cached.yaml", "uniframe", {**options, "cache_mib": 64})
    assert train(forks, folder, "cached", "cached")[0] == 0
    assert not tiny.same_tensors(tiny.weights(open_run(folder / "cached")), tiny.weights(whole)), "another order"


def test_killed_from_outside_at_any_time(forks: Forks, folder: Path) -> None:
    """As a scheduler does: no step is waited for, only the first checkpoint."""
    words = ("train", "multilevel.yaml", "--out", "killed", "--quiet")
    running = forks.start(*words, cwd=folder, before=SLOW)
    until(lambda: (folder / "killed" / "checkpoints" / "last").is_file())
    running.send(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    code, _, errors = forks.run(*words, cwd=folder)
    assert code == 0, errors
    assert_same_bits(open_run(folder / "killed"), open_run(folder / "whole-multilevel"))


def test_asked_to_stop_and_started_again(forks: Forks, folder: Path) -> None:
    """SIGTERM, then SIGINT: each finishes its step and saves it; the exit code says which it was."""
    words = ("train", "multilevel.yaml", "--out", "stopped", "--quiet")
    run, before = Run(folder / "stopped"), 0
    for number in (signal.SIGTERM, signal.SIGINT):
        running = forks.start(*words, cwd=folder, before=SLOW)
        until(lambda beyond=before: _steps(run) > beyond)
        running.send(number)
        assert running.wait() == 128 + number, running.stderr
        step = run.checkpoint("last").step
        assert before < step < OPTIONS["steps"]
        assert running.stderr.splitlines()[-1] == (
            f"poseshift: stopped: interrupted, saved at step {step}; run it again to go on"
        )
        assert f"saved at step {step}" in run.manifest["outcome"]
        run.checkpoint(step).verify()
        before = step
    code, out, errors = forks.run(*words, cwd=folder)
    assert (code, out) == (0, "finished: stopped\n"), errors
    assert_same_bits(run, open_run(folder / "whole-multilevel"), lines=False)
    code, out, errors = forks.run(*words, cwd=folder)
    assert (code, out) == (0, "finished: stopped\n"), "a finished run is said to be so"
    assert "is finished already" in errors


def _steps(run: Run) -> int:
    """The last step in the journal."""
    return max((line["step"] for line in run.metrics()), default=0)
