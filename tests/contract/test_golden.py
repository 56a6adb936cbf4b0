"""Twenty steps of every method on the procedural domains: the same numbers from run to run and on every machine.

On one platform two runs are bit-equal. Another CPU rounds in another way, so the committed losses in ``golden/`` are
compared to 1e-3. Where a change is meant to alter the numbers, write the files anew and say why in the commit::

    POSESHIFT_WRITE_GOLDEN=1 python -m pytest -n 0 tests/contract/test_golden.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests import tiny

from poseshift.engine.run import Run
from poseshift.methods import METHODS

GOLDEN = Path(__file__).parent / "golden"
STEPS = {"steps": 20, "save_every": 20, "log_every": 1, "norms_every": 10, "cache_mib": 64}

Losses = dict[str, list[float]]


@pytest.fixture(scope="module")
def change(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parents")
    made = {
        "style": tiny.run(folder / "style", "style", {"steps": 4}),
        "init": tiny.run(folder / "init"),
        "prior": tiny.run(folder / "prior", "pose_prior", {"steps": 4}),
    }
    return {name: str(run.path) for name, run in made.items()}


def run(method: str, change: dict[str, str], folder: Path) -> Run:
    """Plain SGD: Adam divides by a root of squares, which makes much of a difference in the last bit.

    Large losses, and the large weights of UDA-Animal's, need small steps without it.
    """
    adapting = change if method not in ("style", "source_only", "pose_prior") else {}
    rate = {"style": 0.005, "uda_animal": 0.002}.get(method, 0.05)
    optimiser = {"name": "sgd", "rate": rate, "momentum": 0.5}
    return tiny.run(folder, method, {**STEPS, **adapting, "optimiser": optimiser})


def losses(run: Run) -> Losses:
    """Raw values of every term, step by step."""
    lines = [line for line in run.metrics() if "terms" in line]
    return {name: [line["terms"][name]["value"] for line in lines] for name in lines[0]["terms"]}


@pytest.mark.parametrize("method", METHODS)
def test_twenty_steps(method: str, change: dict[str, str], tmp_path: Path) -> None:
    one, other = (run(method, change, tmp_path / name) for name in ("one", "other"))
    assert tiny.lines(one) == tiny.lines(other)
    assert tiny.same_tensors(tiny.weights(one), tiny.weights(other))
    found = losses(one)
    assert all(len(values) == 20 for values in found.values())
    assert all(len(set(values)) > 10 for values in found.values()), "a loss that does not move"
    file = GOLDEN / f"{method}.json"
    if os.environ.get("POSESHIFT_WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    golden: Losses = json.loads(file.read_text(encoding="utf-8"))
    assert found.keys() == golden.keys()
    for name, values in golden.items():
        assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-6), name
