from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from poseshift.batches import Batch
from poseshift.methods.base import Context, HeatmapConfig, OptimiserConfig, Update, supervised
from poseshift.methods.regda import Regda, RegdaConfig, divergence, ground_false, ground_truth
from poseshift.ops import heatmaps

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
SIGMA = 2.0


def made(context: Contexts, **options: object) -> Regda:
    torch.manual_seed(0)
    method = Regda(RegdaConfig(**options), context(style=False)).train()
    with torch.no_grad():
        method.adversary[-1].weight.mul_(300)  # heatmaps of a head that has learnt something
    return method


def take(method: Regda, update: Update, rate: float = 0.01) -> None:
    moving = [p for name in update.on for p in method.parts()[name].parameters()]
    gradients = torch.autograd.grad(update.total, moving)
    with torch.no_grad():
        for parameter, gradient in zip(moving, gradients, strict=True):
            parameter.sub_(rate * gradient)


def slow_gaussian(x: int, y: int, height: int, width: int) -> list[list[float]]:
    """Peak 1 at the cell, nothing beyond 3σ along either axis."""
    reach = 3 * SIGMA
    return [
        [
            math.exp(-((i - x) ** 2 + (j - y) ** 2) / (2 * SIGMA**2)) if max(abs(i - x), abs(j - y)) <= reach else 0.0
            for i in range(width)
        ]
        for j in range(height)
    ]


def slow_truth(maps: Tensor) -> list[list[list[list[float]]]]:
    height, width = maps.shape[-2:]
    found = []
    for image in maps.tolist():
        found.append([])
        for rows in image:
            y, x = max(((j, i) for j in range(height) for i in range(width)), key=lambda c: rows[c[0]][c[1]])
            found[-1].append(slow_gaussian(x, y, height, width))
    return found


def slow_false(truth: list[list[list[list[float]]]]) -> list[list[list[list[float]]]]:
    return [
        [
            [
                [min(1.0, sum(other[j][i] for n, other in enumerate(image) if n != k)) for i in range(len(image[k][0]))]
                for j in range(len(image[k]))
            ]
            for k in range(len(image))
        ]
        for image in truth
    ]


def slow_divergence(prediction: Tensor, target: list, weight: list[list[float]] | None = None) -> float:
    """Σ q·ln(q/p) of each image and keypoint, p the softmax of the map, q the target over its sum."""
    total, count = 0.0, 0
    for b, image in enumerate(prediction.double().tolist()):
        for k, rows in enumerate(image):
            logits = [v for row in rows for v in row]
            partition = sum(math.exp(v) for v in logits)
            wanted = [v + 1e-7 for row in target[b][k] for v in row]
            mass = sum(wanted)
            kl = sum(
                q / mass * math.log((q / mass) / (math.exp(v) / partition)) for q, v in zip(wanted, logits, strict=True)
            )
            total += kl * (1.0 if weight is None else weight[b][k])
            count += 1
    return total / count


@pytest.mark.parametrize("loss", ["mse", "kl"])
def test_the_three_updates_are_the_formulas(context: Contexts, batch: Batches, loss: str) -> None:
    """Each against a slow version, from nets as they are when that update is made."""
    method, given = made(context, supervised_loss=loss), batch()
    found: dict[str, float] = {}
    expected: dict[str, float] = {}
    generator = method.updates(given, 0.5)
    for images in (given.source.view.images, given.target.student.images, given.target.student.images):
        twin = copy.deepcopy(method)  # as the method is before the update, its steps so far taken
        update = next(generator)
        found |= {name: term.value.item() for name, term in update.terms.items()}
        with torch.no_grad():
            output = twin.nets.net(images)
            adversarial = twin.adversary(output.features)
        truth = slow_truth(output.heatmaps)
        if "supervised" in update.terms:
            drawn, weight = heatmaps.encode(
                given.source.keypoints, given.source.visible, (16, 24), stride=4, sigma=SIGMA, convention="exact"
            )
            expected["source_disparity"] = slow_divergence(adversarial, truth, weight.tolist())
            if loss == "kl":
                expected["supervised"] = slow_divergence(output.heatmaps, drawn.tolist(), weight.tolist())
            else:
                expected["supervised"] = supervised(output, given.source, 4, HeatmapConfig()).item()
        elif "false_disparity" in update.terms:
            expected["false_disparity"] = slow_divergence(adversarial, slow_false(truth))
        else:
            expected["target_disparity"] = slow_divergence(adversarial, truth)
        take(method, update)
    assert list(found) == ["supervised", "source_disparity", "false_disparity", "target_disparity"]
    assert found == pytest.approx(expected, rel=1e-4)
    assert len({round(value, 3) for value in found.values()}) == 4


def test_parts_weights_and_who_moves(context: Contexts, batch: Batches) -> None:
    method = made(context, margin=3.0, trade_off=0.5)
    seen = []
    for update in method.updates(batch(), 0.5):
        seen.append((update.on, {name: term.weight for name, term in update.terms.items()}))
        take(method, update)
    assert seen == [
        (("features", "main", "adversary"), {"supervised": 1.0, "source_disparity": 1.5}),
        (("adversary",), {"false_disparity": 0.5}),
        (("features",), {"target_disparity": 0.5}),
    ]
    parts = [{id(p) for p in part.parameters()} for part in method.parts().values()]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(list(method.parameters()))
    assert parts[0] | parts[1] == {id(p) for p in method.nets.net.parameters()}


@pytest.mark.parametrize(("number", "term"), [(1, "false_disparity"), (2, "target_disparity")])
def test_a_step_makes_its_own_goal_smaller(context: Contexts, batch: Batches, number: int, term: str) -> None:
    given, values = batch(), []
    method = made(context)
    for rate in (0.02, 0.0):  # the second round of updates sees what the step of the first has done
        for index, update in enumerate(method.updates(given, 0.5)):
            if index == number:
                values.append(update.terms[term].value.item())
                take(method, update, rate)
    assert values[1] < values[0]


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.0), (1 / 15, 0.1 * math.tanh(0.5)), (0.9, 0.1 * math.tanh(6.75))]
)
def test_features_get_a_share_of_the_gradient_of_the_adversarial_head_and_it_has_its_own_whole(
    context: Contexts, batch: Batches, progress: float, expected: float
) -> None:
    """After i of 15,000 steps that share is 0.1·(2/(1 + e^(-i/1000)) - 1) = 0.1·tanh(i/2000)."""
    found = {}
    for label, options in (("given", {}), ("whole", {"gradient_scale": 1.0, "steepness": 1e9})):
        method = made(context, **options)
        update = next(method.updates(batch(), progress if label == "given" else 1.0))
        last = method.adversary[-1].weight
        found[label] = torch.autograd.grad(update.terms["source_disparity"].value, (*update.probe, last))
    torch.testing.assert_close(found["given"][0], expected * found["whole"][0], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found["given"][1], found["whole"][1], rtol=1e-4, atol=1e-7)
    assert found["whole"][0].any()


def test_every_target_keypoint_counts_alike(context: Contexts, batch: Batches) -> None:
    """The authors' code weights them by labels; here no label of either domain reaches that weight."""
    truth = ground_truth(torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(2)), SIGMA)
    maps = torch.randn(4, 3, 16, 24, generator=torch.Generator().manual_seed(3))
    one_by_one = [
        divergence(maps[b : b + 1, k : k + 1], truth[b : b + 1, k : k + 1]) for b in range(4) for k in range(3)
    ]
    torch.testing.assert_close(divergence(maps, truth), torch.stack(one_by_one).mean())
    given = batch()
    blind = Batch(draws=given.draws, source=replace(given.source, visible=torch.zeros(4, 3)), target=given.target)
    found = [
        {n: t.value.item() for u in made(context).updates(b, 0.5) for n, t in u.terms.items()} for b in (given, blind)
    ]
    assert found[0]["supervised"] > found[1]["supervised"] == 0
    assert found[0]["source_disparity"] > found[1]["source_disparity"] == 0
    assert found[0]["false_disparity"] == pytest.approx(found[1]["false_disparity"]), "the target knows no visibility"


def test_ground_truth_needs_no_positive_value() -> None:
    maps = torch.full((1, 2, 9, 11), -3.0)
    maps[0, 0, 2, 7] = -1.0
    maps[0, 1, 6, 1] = 4.0
    cells, peaks = heatmaps.peaks(ground_truth(maps, SIGMA))
    assert cells.tolist() == [[[7, 2], [1, 6]]]
    assert peaks.tolist() == [[1, 1]]


def test_ground_false_of_one_keypoint_alone_is_uniform_and_of_equal_ones_at_most_one() -> None:
    truth = ground_truth(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)), SIGMA)
    assert not ground_false(truth).any()
    assert divergence(torch.zeros(1, 1, 8, 8), ground_false(truth)).item() == pytest.approx(0, abs=1e-6)
    assert ground_false(truth.expand(1, 4, 8, 8)).max().item() == 1


def test_the_divergence_is_zero_where_they_agree_and_does_not_see_a_shift() -> None:
    truth = ground_truth(torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)), SIGMA)
    agreeing = (truth + 1e-7).log()
    assert divergence(agreeing, truth).item() == pytest.approx(0, abs=1e-5)
    assert divergence(agreeing + 5, truth).item() == pytest.approx(0, abs=1e-5)
    assert divergence(agreeing.flip(-1), truth).item() > 1


def test_heads_learn_faster_than_features(context: Contexts) -> None:
    default = OptimiserConfig(rate=1e-3, schedule="cosine")
    heads = default.model_copy(update={"rate": 1e-2})
    found = made(context).optimisers(default)
    assert found["features"] == default
    assert found["main"] == found["adversary"]
    assert found["main"].rate == pytest.approx(heads.rate)


def test_a_moving_average_can_be_evaluated(context: Contexts) -> None:
    plain = made(context)
    assert plain.predictor is plain.student is plain.nets.net
    method = made(context, ema_decay=0.75)
    assert method.predictor is method.nets.average
    before = method.nets.average.final.bias.clone()
    with torch.no_grad():
        method.nets.net.final.bias.add_(1.0)
    method.after_step(0.0)
    torch.testing.assert_close(method.nets.average.final.bias, before + 0.25)


@pytest.mark.parametrize("change", [{"margin": -1.0}, {"supervised_loss": "l1"}, {"trade_off": -0.1}])
def test_configuration_is_strict(change: dict) -> None:
    with pytest.raises(ValidationError):
        RegdaConfig(**change)
