"""Two processes with half of the batch each are one process with the whole of it, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.forks import Forks

from poseshift.engine.run import Run, open_run

# Gradients without momentum or normalisation: what differs in a weight is the rate times what differs in its gradient.
# Large losses (of the style net, of the released pose term, of RegDA's divergences in three updates a step), and the
# large weights of UDA-Animal's, need small steps.
RATES = {"style": 0.005, "uda_animal": 0.002, "multilevel-released": 0.02, "regda": 0.02}
# With seed 0 a ReLU of this case lies on its kink: one process alone, with other rounding, has either of two gradients.
SEEDS = {"uniframe-average": 2}
OPTIONS = {"steps": 2, "save_every": 2, "log_every": 1, "norms_every": 1, "batch_size": 8, "gradient_clip": 5.0}
PARENTS = {"init": "source_only", "style": "style", "prior": "pose_prior"}

# Beside each method as tests/tiny.py has it: what else a method may do with the global batch.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in tiny.METHODS},
    "source_only-restyled": ("source_only", {"stylise": True, "style_probability": 1.0}),
    "uniframe-average": ("uniframe", {"teacher_bn": "ema", "target_style_probability": 1.0}),
    "multilevel-released": ("multilevel", {"pose": "released", "occlusion_probability": 1.0}),
    "multilevel_plus-mixed": ("multilevel_plus", {"teacher_bn": "mixed"}),
    "bn_adapt-consistency": ("bn_adapt", {"objective": "consistency"}),
    "bn_adapt-none": ("bn_adapt", {"objective": "none"}),
    "sfdahpe-warm": ("sfdahpe", {"inverse_temperature": 1.0}),
}

TRAIN = """
from pathlib import Path
from poseshift.config import load, parse
from poseshift.engine.train import train
for name in {names}:
    train(parse(load(Path(name + ".yaml"))), "{out}" + name, quiet=True)
raise SystemExit
"""


@pytest.fixture(scope="module")
def folder(once: Callable[[str, Callable[[Path], None]], Path], forks: Forks) -> Path:
    """With ``one/CASE`` and ``two/CASE``, the same runs by one process and by two."""

    def make(made: Path) -> None:
        for role, method in PARENTS.items():
            tiny.write_config(made / f"{role}.yaml", method, {"steps": 4, "batch_size": 8})
        for case, (method, options) in CASES.items():
            given = {} if case in PARENTS.values() else {role: role for role in PARENTS}
            plain = {"name": "sgd", "momentum": 0, "rate": RATES.get(case, 0.05)}
            change = {**OPTIONS, **given, "optimiser": plain, "method": options, "seed": SEEDS.get(case, 0)}
            tiny.write_config(made / f"{case}.yaml", method, change)
        code, _, errors = forks.run(cwd=made, before=TRAIN.format(names=list(PARENTS), out=""))
        assert code == 0, errors
        for count, out in ((1, "one/"), (2, "two/")):
            for code, said, errors in forks.run_ranks(count, cwd=made, before=TRAIN.format(names=list(CASES), out=out)):
                assert (code, said) == (0, ""), errors

    return once("ranks", make)


def pair(folder: Path, case: str) -> tuple[Run, Run]:
    return open_run(folder / "one" / case), open_run(folder / "two" / case)


def numbers(run: Run) -> dict[str, float]:
    """What was logged of the losses and their gradients, by step and name."""
    found = {}
    for line in run.metrics():
        for kind in ("terms", "monitors", "gradient", "norms"):
            for name, value in line.get(kind, {}).items():
                found[f"{line['step']}/{kind}/{name}"] = value["value"] if kind == "terms" else value
    return found


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_one_process(case: str, folder: Path) -> None:
    """To a hundred roundings of float32 (6e-8 each), which is what another order of the sums may cost."""
    one, two = (numbers(run) for run in pair(folder, case))
    assert one.keys() == two.keys()
    assert len(one) >= (0 if case == "bn_adapt-none" else 4)
    for name, value in one.items():
        # divergences of maps that agree are differences of logarithms of about 4
        assert two[name] == pytest.approx(value, rel=1e-5 if "/gradient/" not in name else 1e-4, abs=1e-6), name


@pytest.mark.parametrize("case", CASES)
def test_weights_and_statistics_are_those_of_one_process(case: str, folder: Path) -> None:
    one, two = (tiny.weights(run) for run in pair(folder, case))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda text, at=name: f"{at}: {text}")


@pytest.mark.parametrize("case", CASES)
def test_one_of_the_processes_writes(case: str, folder: Path) -> None:
    one, two = pair(folder, case)
    assert two.finished
    assert two.manifest["sessions"] == 1
    files = [sorted(str(file.relative_to(run.path)) for file in run.path.rglob("*")) for run in (one, two)]
    assert files[0] == files[1]
    assert [line["step"] for line in one.metrics()] == [line["step"] for line in two.metrics()]
