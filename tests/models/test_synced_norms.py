"""BatchNorm of two processes with half of a batch each, against torch's own with the whole of it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.forks import Forks
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from poseshift.models import synced_norms


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    made: dict[str, nn.Module] = {
        "plain": nn.BatchNorm2d(3),
        "cumulative": nn.BatchNorm2d(3, momentum=None),
        "untracked": nn.BatchNorm2d(3, track_running_stats=False),
        "bare": nn.BatchNorm2d(3, affine=False),
        "timm": BatchNormAct2d(3),
        "flat": nn.BatchNorm1d(3),
    }
    for net in made.values():
        if getattr(net, "affine", False):
            nn.init.uniform_(net.weight, 0.5, 2)  # type: ignore[arg-type]
    made["flat"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), made["flat"])
    return made


def images(rank: int, count: int) -> tuple[Tensor, Tensor]:
    """This process's share of a batch of the source and of one of the target, which is brighter."""
    draws = torch.Generator().manual_seed(1)
    both = (torch.randn(4, 3, 5, 7, generator=draws), 100 + 3 * torch.randn(4, 3, 5, 7, generator=draws))
    share = slice(rank * 4 // count, (rank + 1) * 4 // count)
    return both[0][share], both[1][share]


def summary(net: nn.Module, twin: nn.Module, domains: tuple[Tensor, Tensor]) -> dict[str, object]:
    shares = [share.clone().requires_grad_() for share in domains]
    outputs = [net(share) for share in shares]
    sum((output * (number + output)).mean() for number, output in enumerate(outputs, 1)).backward()
    with torch.no_grad():
        taught = twin(shares[1])
    return {
        "outputs": [output.tolist() for output in (*outputs, taught)],
        "gradients": [share.grad.tolist() for share in shares],  # type: ignore[union-attr]
        "parameters": {name: p.grad.tolist() for name, p in net.named_parameters()},  # type: ignore[union-attr]
        "buffers": {name: b.tolist() for name, b in net.named_buffers()},
    }


# Two domains pass one after the other, a copy sees one without a gradient, then each process does for itself.
PROCESS = f"""
import copy, json, os
import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from poseshift.engine import processes
from poseshift.models import synced_norms
from poseshift.ops import collective

{inspect.getsource(nets)}
{inspect.getsource(images)}
{inspect.getsource(summary)}
def counted(send):
    def count(*given, **named):
        sent.append(send)
        return send(*given, **named)
    return count

processes.meet()
dist.all_reduce, dist.all_gather = counted(dist.all_reduce), counted(dist.all_gather)
found = {{}}
for name, net in nets().items():
    if processes.size() > 1:
        assert synced_norms.synchronise(net) == 1
    sent = []
    found[name] = summary(net, copy.deepcopy(net), images(processes.rank(), processes.size()))
    found[name]["messages"] = len(sent)
    with collective.alone():
        found[name]["alone"] = net(images(0, 2)[0]).sum().item()
    net.eval()
    found[name]["evaluated"] = net(images(0, 2)[0]).sum().item()
open(f"{{os.getpid()}}.json", "w").write(json.dumps([processes.rank(), processes.size(), found]))
raise SystemExit
"""


@pytest.fixture(scope="module")
def found(once: Callable[[str, Callable[[Path], None]], Path], forks: Forks) -> dict[tuple[int, int], dict[str, dict]]:
    """What each process computed, by its rank and their number."""

    def make(folder: Path) -> None:
        for count in (1, 2):
            for code, _, errors in forks.run_ranks(count, cwd=folder, before=PROCESS):
                assert code == 0, errors

    folder = once("norms", make)
    said = [json.loads(file.read_text()) for file in Path(folder).glob("*.json")]
    return {(rank, count): values for rank, count, values in said}


@pytest.mark.parametrize("name", nets())
def test_two_halves_are_normalised_as_the_whole(name: str, found: dict[tuple[int, int], dict[str, dict]]) -> None:
    whole, halves = found[0, 1][name], [found[rank, 2][name] for rank in range(2)]
    for number, expected in enumerate(whole["outputs"]):
        joined = torch.cat([torch.tensor(half["outputs"][number]) for half in halves])
        torch.testing.assert_close(joined, torch.tensor(expected), rtol=1e-4, atol=1e-4)  # values are near 100
    for number, expected in enumerate(whole["gradients"]):
        # The loss is the mean of the processes' losses, so each carries twice its share.
        joined = torch.cat([torch.tensor(half["gradients"][number]) for half in halves]) / 2
        torch.testing.assert_close(joined, torch.tensor(expected), rtol=1e-3, atol=1e-6)
    for parameter, expected in whole["parameters"].items():
        mean = sum(torch.tensor(half["parameters"][parameter]) for half in halves) / 2
        torch.testing.assert_close(mean, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    for half in halves:
        for buffer, expected in whole["buffers"].items():
            torch.testing.assert_close(torch.tensor(half["buffers"][buffer]), torch.tensor(expected), rtol=1e-5, atol=0)
    assert halves[0]["buffers"] == halves[1]["buffers"], "bit for bit"


@pytest.mark.parametrize("name", nets())
def test_a_layer_sends_once_forward_and_once_back(name: str, found: dict[tuple[int, int], dict[str, dict]]) -> None:
    assert found[0, 1][name]["messages"] == 0
    assert found[0, 2][name]["messages"] == found[1, 2][name]["messages"] == 3 + 2  # passes, and those with a gradient


@pytest.mark.parametrize("name", nets())
def test_alone_and_in_evaluation_a_layer_does_what_it_did(
    name: str, found: dict[tuple[int, int], dict[str, dict]]
) -> None:
    one, two = found[0, 1][name], found[0, 2][name]
    assert two["alone"] == one["alone"], "bit for bit"
    assert two["evaluated"] == pytest.approx(one["evaluated"], rel=1e-5)


def test_half_precision_stays_half() -> None:
    layer, exact = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    x = images(0, 1)[1].bfloat16().requires_grad_()
    single = x.detach().float().requires_grad_()
    out, expected = synced_norms.normalise(x, *synced_norms.statistics(x), layer), exact(single)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=2**-7, atol=2**-7)
    towards = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    out.backward(towards)
    expected.backward(towards.float())
    assert x.grad is not None
    assert single.grad is not None
    assert x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(x.grad.float(), single.grad, rtol=2**-6, atol=2**-7)
    torch.testing.assert_close(layer.weight.grad, exact.weight.grad, rtol=2**-7, atol=2**-5)
