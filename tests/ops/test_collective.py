from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from poseshift.ops import collective, information, pseudo_labels


def test_one_process_is_the_identity() -> None:
    x = torch.rand(3, 4, requires_grad=True)
    assert collective.processes() == 1
    assert collective.mean(x) is x
    assert collective.gather(x) is x


PROCESS = """
import json, sys, warnings
from datetime import timedelta
import torch, torch.distributed as dist
warnings.simplefilter("error")
from poseshift.ops import collective, information, pseudo_labels
rank, folder = int(sys.argv[1]), sys.argv[2]
limit = timedelta(seconds=180)
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=limit)
x = torch.tensor([[1.0, 2.0], [5.0, -3.0]])[rank].requires_grad_()
mean = collective.mean(x)
(mean * torch.tensor([10.0, 100.0]) * (rank + 1)).sum().backward()
gathered = collective.gather(torch.arange(3.0) + 3 * rank)
many = torch.full((collective.LITTLE + 1,), float(rank)).requires_grad_()
mean_of_many = collective.mean(many)
(mean_of_many * (rank + 1)).sum().backward()
maps = torch.load(f"{folder}/maps.pt")[2 * rank : 2 * rank + 2].requires_grad_()
loss = information.diversity(maps, inverse_temperature=5.0) + information.released_diversity(maps)
(gradient,) = torch.autograd.grad(loss, maps)
mask = pseudo_labels.top_fraction(maps.detach().amax((-2, -1)), 0.5)
result = {
    "processes": collective.processes(), "mean": mean.tolist(), "gradient": x.grad.tolist(),
    "many": sorted(set(mean_of_many.tolist())), "many_gradient": sorted(set(many.grad.tolist())),
    "gathered": gathered.tolist(), "requires_grad": collective.gather(x).requires_grad,
    "loss": loss.item(), "maps_gradient": gradient.tolist(), "mask": mask.tolist(),
}
open(f"{folder}/{rank}.json", "w").write(json.dumps(result))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], torch.Tensor]:
    """What each of two processes computed, and the heatmaps of their global batch."""
    folder = tmp_path_factory.mktemp("gloo")
    maps = torch.randn(4, 2, 6, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.save(maps, folder / "maps.pt")
    (folder / "process.py").write_text(PROCESS)
    source = Path(collective.__file__).parents[2]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    command = [sys.executable, str(folder / "process.py")]
    errors = [folder / f"{rank}.err" for rank in range(2)]
    with ExitStack() as stack:
        running = [
            subprocess.Popen(
                [*command, str(rank), str(folder)], env=environment, stderr=stack.enter_context(errors[rank].open("w"))
            )
            for rank in range(2)
        ]
        for process in running:
            stack.callback(process.wait)
            stack.callback(process.kill)
        codes = [process.wait(timeout=200) for process in running]
    assert codes == [0, 0], "".join(path.read_text() for path in errors)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)], maps


def test_mean_over_two_processes_has_a_gradient(two: tuple[list[dict], torch.Tensor]) -> None:
    found, _ = two
    for result in found:
        assert result["processes"] == 2
        assert result["mean"] == [3.0, -0.5]
        assert result["gradient"] == [15.0, 150.0], "half the sum of what each process' loss asks for"


def test_what_is_much_is_reduced_to_the_same(two: tuple[list[dict], torch.Tensor]) -> None:
    for result in two[0]:
        assert result["many"] == [0.5]
        assert result["many_gradient"] == [(1 + 2) / 2]


def test_gather_keeps_the_order_of_the_processes(two: tuple[list[dict], torch.Tensor]) -> None:
    found, _ = two
    for result in found:
        assert result["gathered"] == [0, 1, 2, 3, 4, 5]
        assert not result["requires_grad"]


def test_two_halves_of_a_batch_give_the_terms_of_the_whole(two: tuple[list[dict], torch.Tensor]) -> None:
    found, maps = two
    maps.requires_grad_()
    loss = information.diversity(maps, inverse_temperature=5.0) + information.released_diversity(maps)
    (gradient,) = torch.autograd.grad(loss, maps)
    mask = pseudo_labels.top_fraction(maps.detach().amax((-2, -1)), 0.5)
    for rank, result in enumerate(found):
        assert result["loss"] == pytest.approx(loss.item(), rel=1e-12)
        assert result["mask"] == mask[2 * rank : 2 * rank + 2].tolist()
        # The engine averages parameter gradients over processes, so each one carries twice its share.
        half = torch.tensor(result["maps_gradient"], dtype=torch.float64) / 2
        torch.testing.assert_close(half, gradient[2 * rank : 2 * rank + 2], rtol=1e-9, atol=1e-15)
