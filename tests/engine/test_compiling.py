"""Compiled nets; by a back end that makes no machine code, since one that does takes a minute."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor, fx, nn

from poseshift.engine import compiling, processes
from poseshift.engine.run import open_run
from poseshift.errors import UsageError
from poseshift.models.pose_net import PoseNet

# In a process of its own: what checks shapes in the tests cannot be compiled.
TRAIN = """
import json, sys
from pathlib import Path
from poseshift.config import load, parse
from poseshift.engine import compiling
from poseshift.engine.train import train

made, ran = [], []

def backend(graph, inputs):
    made.append(graph)
    def run(*arguments):
        ran.append(graph)
        return graph.forward(*arguments)
    return run

compiling.BACKEND = backend
for name in sys.argv[1:]:
    train(parse(load(Path(name + ".yaml"))), name, quiet=True)
print(json.dumps([len(made), len(ran)]))
"""


def test_steps_run_compiled_nothing_else_does_and_weights_are_the_same(tmp_path: Path) -> None:
    plain = {"name": "sgd", "momentum": 0, "rate": 0.01}
    short = {"steps": 2, "save_every": 1, "norms_every": 0, "optimiser": plain, "method": {"levels": ["feature"]}}
    for name in ("compiled", "plain"):
        tiny.write_config(tmp_path / f"{name}.yaml", "multilevel", {**short, "compile": name == "compiled"})
    done = tiny.python(TRAIN, "compiled", "plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made, ran = json.loads(done.stdout)
    assert made == 1 + 2 * 2, "a trial, then backbone and head of student and teacher; scores make no more"
    assert ran == 1 + 2 * 3 * 2, "two steps of three passes through two parts"
    found, expected = (tiny.weights(open_run(tmp_path / name)) for name in ("compiled", "plain"))
    assert found.keys() == expected.keys(), "names in checkpoints are those of the nets"
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_a_machine_that_cannot_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no working C++ compiler\nwas found")

    torch.compiler.reset()
    monkeypatch.setattr(compiling, "BACKEND", refusing)
    with pytest.raises(UsageError, match=r"torch\.compile fails on this machine .*no working C") as refused:
        tiny.run(tmp_path / "run", change={"compile": True})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_compiled_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no pose net"):
        tiny.run(tmp_path / "run", "pose_prior", {"compile": True})
    monkeypatch.setattr(processes, "size", lambda: 2)
    settings = tiny.settings(change={"compile": True})
    net: Any = nn.Sequential(PoseNet(settings.model, keypoints=3))
    with pytest.raises(UsageError, match="takes one process, not 2"):
        compiling.prepare(net, settings)
