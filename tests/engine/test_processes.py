"""Two processes as ``torchrun`` starts them: one writes and speaks, and what ends one ends both with one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny
from tests.forks import Forks, until

from poseshift.engine import processes
from poseshift.engine.run import Run, open_run
from poseshift.errors import UsageError

OPTIONS = {"steps": 6, "save_every": 2, "log_every": 1, "batch_size": 4, "norms_every": 2}

# Each step takes a while, so that what happens finds the processes in the middle of one.
SLOW = """
import time
from poseshift.engine.optimise import Optimisers
step = Optimisers.step
def slow(self, on):
    time.sleep(0.1)
    step(self, on)
Optimisers.step = slow
"""

# The second process fails in the fourth step.
FAILS = """
import os
from poseshift.engine.optimise import Optimisers
from poseshift.errors import DataError
step, taken = Optimisers.step, 0
def failing(self, on):
    global taken
    taken += 1
    if taken == 4 and os.environ["RANK"] == "1":
        {how}
    step(self, on)
Optimisers.step = failing
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """With a configuration, and its run by two processes."""
    made = tmp_path_factory.mktemp("runs")
    tiny.write_config(made / "run.yaml", "source_only", OPTIONS)
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "whole", cwd=made)
    assert [code for code, _, _ in found] == [0, 0], found
    assert [out for _, out, _ in found] == ["finished: whole\n", ""]
    assert "memory: about" in found[0][2]
    assert found[1][2] == "", "the other one is silent"
    return made


def said(found: list[tuple[int, str, str]]) -> list[str]:
    """The lines of errors of all processes."""
    return [line for _, _, errors in found for line in errors.splitlines() if line.startswith("poseshift:")]


def test_a_finished_run_is_left_as_it_is(forks: Forks, folder: Path) -> None:
    before = (folder / "whole" / "manifest.json").read_text()
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "whole", "--quiet", cwd=folder)
    assert [(code, out) for code, out, _ in found] == [(0, "finished: whole\n"), (0, "")]
    assert (folder / "whole" / "manifest.json").read_text() == before


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--set", "batch_size=3"), 2, "batch_size 3 does not divide by 2 processes"),
        (("--set", "batch=4"), 2, "unknown key 'batch'"),
        (("--set", "target.data=images:nowhere", "--set", "source.data=coco:nowhere.json"), 3, "nowhere"),
        (("--device", "cuda:7"), 2, "cuda"),
    ],
)
def test_what_cannot_begin_is_said_once(
    words: tuple[str, ...], code: int, text: str, forks: Forks, folder: Path
) -> None:
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "refused", "--quiet", *words, cwd=folder)
    assert [one for one, _, _ in found] == [code, code], found
    (line,) = said(found)
    assert text in line
    assert all("Traceback" not in errors for _, _, errors in found)
    assert not (folder / "refused").exists()


def test_an_error_of_one_ends_both_with_its_line(forks: Forks, folder: Path) -> None:
    code = FAILS.format(how='raise DataError("this is broken; mend it")')
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "broken", "--quiet", cwd=folder, before=code)
    assert [one for one, _, _ in found] == [3, 3], found
    assert said(found) == ["poseshift: this is broken; mend it"]
    assert all("Traceback" not in errors for _, _, errors in found)
    run = open_run(folder / "broken")
    assert run.manifest["outcome"] == "failed: this is broken; mend it"
    run.checkpoint(2).verify()
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "broken", "--quiet", cwd=folder)
    assert [one for one, _, _ in found] == [0, 0], found
    assert tiny.same_tensors(tiny.weights(run), tiny.weights(open_run(folder / "whole")))


def test_a_process_that_is_killed_ends_the_other_with_a_line(forks: Forks, folder: Path) -> None:
    code = FAILS.format(how="os.kill(os.getpid(), 9)")
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "killed", "--quiet", cwd=folder, before=code)
    assert [one for one, _, _ in found] == [1, -signal.SIGKILL], found
    (line,) = said(found)
    assert "another process ended without a word" in line
    assert "the same command goes on" in line
    assert "without a word" in open_run(folder / "killed").manifest["outcome"]


def test_a_signal_to_one_stops_both_after_the_same_step(forks: Forks, folder: Path) -> None:
    words = ("train", "run.yaml", "--out", "stopped", "--quiet")
    running = forks.start_ranks(2, *words, cwd=folder, before=SLOW)
    run = Run(folder / "stopped")
    until(lambda: any(True for _ in run.metrics()))
    running[1].send(signal.SIGTERM)
    assert [one.wait() for one in running] == [143, 143]
    step = run.checkpoint("last").step
    assert 0 < step < OPTIONS["steps"]
    errors = [one.stderr for one in running]
    text = f"poseshift: stopped: interrupted, saved at step {step}; run it again to go on"
    assert [error.splitlines()[-1:] for error in errors] == [[text], []]
    assert f"saved at step {step}" in run.manifest["outcome"]
    found = forks.run_ranks(2, *words, cwd=folder)
    assert [code for code, _, _ in found] == [0, 0], found
    assert tiny.same_tensors(tiny.weights(run), tiny.weights(open_run(folder / "whole")))


# The images of the second process are NaN in the third step.
POISONED = """
import os
from poseshift.methods.source_only import SourceOnly
updates = SourceOnly.updates
def poisoned(self, batch, progress):
    if os.environ["RANK"] == "1" and round(progress * 6) == 2:
        batch.source.view.images.fill_(float("nan"))
    yield from updates(self, batch, progress)
SourceOnly.updates = poisoned
"""


def test_what_is_not_finite_in_one_stops_both(forks: Forks, folder: Path) -> None:
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "nan", "--quiet", cwd=folder, before=POISONED)
    assert [code for code, _, _ in found] == [1, 1], found
    (line,) = said(found)
    assert "step 2: supervised not finite" in line
    assert "images: " in line
    open_run(folder / "nan").checkpoint(2).verify()


def test_what_is_not_finite_in_one_is_left_out_by_both(forks: Forks, folder: Path) -> None:
    words = ("train", "run.yaml", "--out", "skip", "--quiet", "--on-nonfinite", "skip")
    found = forks.run_ranks(2, *words, cwd=folder, before=POISONED)
    assert [code for code, _, _ in found] == [0, 0], found
    run = open_run(folder / "skip")
    assert run.manifest["skipped_steps"] == 1
    assert [line["step"] for line in run.metrics() if "skipped" in line] == [3]
    assert all(tensor.isfinite().all() for tensor in tiny.weights(run).values())


def test_files_that_one_finds_broken_all_know(forks: Forks, tmp_path: Path) -> None:
    """A broken image in the share of the second process is on the list that the first writes."""
    photos = tiny.photos(tmp_path / "photos", 8)
    tiny.coco(tmp_path / "labels.json", photos, ["a", "b", "c"])
    photos[3].write_bytes(photos[3].read_bytes()[:40])
    data = {"source": {"data": "coco:labels.json", "boxes": "whole"}, "target": None, "held_out": 0}
    tiny.write_config(tmp_path / "run.yaml", "source_only", {**OPTIONS, "steps": 4, "cache_mib": 0, **data})
    found = forks.run_ranks(2, "train", "run.yaml", "--out", "run", "--quiet", cwd=tmp_path)
    assert [code for code, _, _ in found] == [0, 0], found
    assert "photo03.jpg" in (tmp_path / "run" / "quarantine.txt").read_text()


def test_an_evaluation_is_shared_out_and_the_same(forks: Forks, folder: Path) -> None:
    """More than two batches of instances, so that one process has more of them."""
    words = ("evaluate", "whole", "--data", "figures:middle,side=48,count=150", "--json")
    results = []
    for count in (1, 2):
        found = forks.run_ranks(count, *words, cwd=folder)
        assert [code for code, _, _ in found] == [0] * count, found
        assert [bool(out) for _, out, _ in found] == [True, False][:count]
        place = next((folder / "whole" / "evaluation").iterdir())
        with np.load(place / "predictions.npz") as packed:
            arrays = {name: packed[name].tobytes() for name in packed}
        results.append((json.loads(found[0][1]), json.loads((place / "metrics.json").read_text()), arrays))
    assert results[0] == results[1], "bit for bit"
    assert results[0][0]["instances"] == 150


def test_an_adaptation_is_shared_and_one_speaks(forks: Forks, folder: Path) -> None:
    """Three runs one after the other; what does not fit is said once."""
    common = {
        "input_size": 32,
        "batch_size": 4,
        "agreement_images": 4,
        "model": "{backbone: small, head: pyramid, width: 16}",
    }
    sets = [f"common.{key}={value}" for key, value in common.items()]
    sets += [f"stages.{stage}.steps=1" for stage in ("style", "source", "adapt")]
    data = ("--source", "figures:plain,side=48,count=8", "--target", "figures:middle,side=48,count=8")
    words = ("adapt", *data, "--out", "adapted", "--quiet", *(word for one in sets for word in ("--set", one)))
    found = forks.run_ranks(2, *words, cwd=folder)
    assert [code for code, _, _ in found] == [0, 0], found
    assert found[0][1].startswith("adapted model: adapted/adapt\n")
    assert found[1][1:] == ("", "")
    assert all(
        open_run(folder / "adapted" / stage).manifest["processes"] == 2 for stage in ("style", "source", "adapt")
    )
    found = forks.run_ranks(2, "adapt", *data, "--preset", "none", "--out", "refused", cwd=folder)
    assert [code for code, _, _ in found] == [2, 2]
    assert len(said(found)) == 1


AGENT = [sys.executable, "-m", "torch.distributed.run"]


def started(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    around = {**tiny.environment(), "GLOO_SOCKET_IFNAME": "lo", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*AGENT, *words], cwd=folder, env=around, text=True, **pipes)


def test_torchrun_trains_as_the_processes_by_hand(folder: Path) -> None:
    words = ("--standalone", "--nproc-per-node", "2", "-m", "poseshift", "train", "run.yaml", "--out", "torchrun")
    agent = started(folder, *words, "--quiet")
    out, errors = agent.communicate(timeout=300)
    assert (agent.returncode, out) == (0, "finished: torchrun\n"), errors
    run, whole = open_run(folder / "torchrun"), open_run(folder / "whole")
    assert tiny.same_tensors(tiny.weights(run), tiny.weights(whole))
    assert tiny.lines(run) == tiny.lines(whole)


def test_two_agents_save_and_requeue_when_slurm_says_so(folder: Path, tmp_path: Path) -> None:
    """Two machines, here by their agents alone. SIGUSR1 reaches one of them; the job of the first is requeued."""
    tiny.write_config(folder / "long.yaml", "source_only", {**OPTIONS, "steps": 100000, "save_every": 100000})
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n', encoding="utf-8")
    scontrol.chmod(0o755)
    words = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", free_port())
    heeded = ("--signals-to-handle", "SIGTERM,SIGINT,SIGUSR1")
    command = ("-m", "poseshift", "train", "long.yaml", "--out", "nodes", "--quiet")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    agents = [
        started(folder, *words, *heeded, "--node-rank", str(node), *command, PATH=path, SLURM_JOB_ID="71")
        for node in range(2)
    ]
    run = Run(folder / "nodes")
    until(lambda: any(True for _ in run.metrics()), seconds=200)
    agents[1].send_signal(signal.SIGUSR1)
    errors = [agent.communicate(timeout=300)[1] for agent in agents]
    step = run.checkpoint("last").step
    assert 0 < step < 100000
    text = f"poseshift: nodes: interrupted, saved at step {step}; run it again to go on"
    assert "".join(errors).count(text) == 1, errors
    assert (tmp_path / "asked").read_text() == "requeue 71\n"
    assert f"saved at step {step}" in run.manifest["outcome"]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_script_for_slurm_tells_each_task_who_it_is(tmp_path: Path) -> None:
    """The script of docs/scaling.md under a stand-in for ``srun`` that starts two tasks, one a node."""
    text = (tiny.ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```text\n(#!/bin/bash\n.*?)```", text, re.DOTALL)
    tools = {
        "scontrol": "echo first; echo second",
        "srun": 'for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=0 "$@"; done',
        "poseshift": 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT: $@"',
    }
    for name, body in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "71", "SLURM_JOB_NODELIST": "both", "SLURM_NTASKS": "2", "SLURM_NNODES": "2"}
    around = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **job}
    done = subprocess.run(["bash", "-c", script], env=around, capture_output=True, text=True, check=True)
    train = "train source.yaml --out runs/source"
    assert done.stdout.splitlines() == [f"{rank} 0 2 1 first 20071: {train}" for rank in range(2)]
    assert "--signal=USR1@" in script
    assert "--requeue" in script


def test_alone_nothing_is_exchanged() -> None:
    processes.meet()
    assert (processes.size(), processes.rank(), processes.main()) == (1, 0, True)
    assert processes.agree(3, 0) == (3, 0)
    assert processes.gathered("a") == ["a"]
    assert processes.main_first(lambda: None) is None
    with pytest.raises(UsageError, match="as it is"), processes.together():
        raise UsageError("as it is")


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(processes, "size", lambda: 2)
    monkeypatch.setattr(processes.devices, "choose", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert processes.device("cuda") == torch.device("cuda", 1) == taken[0]
    assert processes.device("cpu") == torch.device("cpu")
    for name, text in (("cuda:1", "a GPU of its own"), ("mps", "one process")):
        with pytest.raises(UsageError, match=text):
            processes.device(name)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="4 processes on this machine, but torch sees 2 GPUs"):
        processes.device("cuda")
