from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from poseshift.batches import Batch, TargetBatch, View
from poseshift.methods.base import Context
from poseshift.methods.uda_animal import Schedule, UdaAnimal, UdaAnimalConfig, smallest
from poseshift.ops import affine

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
Maps = dict[str, np.ndarray]


def made(context: Contexts, targets: TargetBatch, **options: object) -> UdaAnimal:
    torch.manual_seed(5)
    method = UdaAnimal(UdaAnimalConfig(**options), context(style=False)).train()
    for branch in (*method.refinement.branches, *method.teacher_refinement.branches):
        branch[-1].weight.data.mul_(100)  # maps of a block that has learnt something
    method.refresh(iter([targets]))
    return method


def test_the_schedule_is_that_of_eighty_epochs() -> None:
    for epoch in range(80):
        found = Schedule.at(epoch / 80)
        assert 15 * found.label == pytest.approx(7.5 * (1 + math.cos(math.pi * min(epoch / 15, 1)))), epoch
        assert 90 * found.loops == pytest.approx(90 * math.exp(-5 * max(1 - epoch / 10, 0) ** 2)), epoch
        assert 18 - math.floor(min(found.dropped, 0.5) * 18 + 1e-9) == max(18 - max(epoch - 2, 0), 9), epoch
    assert Schedule.at(0.99999) == Schedule.at(79 / 80)


def error(one: np.ndarray, other: np.ndarray) -> float:
    """Half the mean squared error of two maps, cell by cell."""
    height, width = one.shape
    total = sum((one[y, x] - other[y, x]) ** 2 for y in range(height) for x in range(width))
    return 0.5 * float(total) / (height * width)


def slow_smallest(losses: list[list[float]], kept: int, weights: list[list[float]]) -> float:
    """The curriculum in words: of each image the ``kept`` smallest losses of labelled keypoints, else 0."""
    total = 0.0
    for row, weight in zip(losses, weights, strict=True):
        labelled = sorted(loss for loss, sure in zip(row, weight, strict=True) if sure)
        total += sum(labelled[:kept])
    return total / (kept * len(losses))


def test_keypoints_of_smallest_loss_are_those_of_sorting() -> None:
    generator = torch.Generator().manual_seed(0)
    each = torch.rand(6, 7, generator=generator)
    weight = (torch.rand(6, 7, generator=generator) < 0.6).float()
    weight[2] = 0
    for kept in (1, 3, 7):
        expected = slow_smallest(each.tolist(), kept, weight.tolist())
        assert smallest(each, kept, weight).item() == pytest.approx(expected, rel=1e-5)
        assert smallest(each, kept).item() == pytest.approx(
            slow_smallest(each.tolist(), kept, torch.ones(6, 7).tolist()), rel=1e-5
        )


def maps_of(method: UdaAnimal, given: Batch) -> Maps:
    """Heatmaps of every net on every view, in the order of the method, by a copy that nothing else sees."""
    twin, found = copy.deepcopy(method), dict[str, Tensor]()
    with torch.no_grad():
        for name, images, net, block in (
            ("teacher", given.target.teacher[0].images, twin.nets.teacher, twin.teacher_refinement),
            ("source", given.source.view.images, twin.nets.student, twin.refinement),
            ("target", given.target.student.images, twin.nets.student, twin.refinement),
        ):
            levels = net.levels(images)
            refined = block(levels)
            found |= {f"{name}/coarse": net.final(levels[-1]), f"{name}/refined": refined.heatmaps}
            found[f"{name}/other"] = refined.other
    return {name: maps.double().numpy() for name, maps in found.items()}


def gaussian(x: float, y: float) -> np.ndarray:
    return np.array([[math.exp(-((c - x) ** 2 + (r - y) ** 2) / 8) for c in range(24)] for r in range(16)])


def at(map_: np.ndarray, x: float, y: float) -> float:
    """Bilinear value, 0 outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < 16 and 0 <= column < 24:
                total += map_[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def cells(matrix: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """A place in cells of one view in cells of another; ``matrix`` is one of pixels."""
    found = matrix @ np.array([4 * x + 1.5, 4 * y + 1.5, 1.0])
    return (found[0] - 1.5) / 4, (found[1] - 1.5) / 4


def mirrored(given: Batch) -> Batch:
    """With a student's view that exchanges left and right, and a teacher's that does not."""
    target = given.target
    matrix = affine.mirror(96, like=target.student.matrix) @ target.student.matrix
    view = View(images=target.student.images, matrix=matrix)
    return Batch(
        draws=given.draws, source=given.source, target=TargetBatch(student=view, teacher=target.teacher, ids=target.ids)
    )


@pytest.mark.parametrize(("progress", "kept"), [(0.0, 3), (0.12, 2), (0.9, 2)])
@pytest.mark.parametrize("flip", [False, True])
def test_terms_are_those_of_the_formulas(
    context: Contexts, batch: Batches, targets: TargetBatch, flip: bool, progress: float, kept: int
) -> None:
    method, given = made(context, targets), batch()
    sides = [2, 1, 0] if flip else [0, 1, 2]
    method.labels.other_side, method.nets.other_side = torch.tensor([2, 1, 0]), torch.tensor([2, 1, 0])
    given = mirrored(given) if flip else given
    maps = maps_of(method, given)
    (update,) = method.updates(given, progress)

    source, target = given.source, given.target
    student = [matrix.double().numpy() for matrix in target.student.matrix]
    teacher = [matrix.double().numpy() for matrix in target.teacher[0].matrix]
    wanted = {"supervised": 0.0, "branches": 0.0, "consistency": 0.0}
    labels: dict[str, list[list[float]]] = {"coarse": [], "refined": [], "inner": [], "sure": []}
    for b in range(4):
        for column in labels.values():
            column.append([])
        for k in range(3):
            x, y = ((source.keypoints[b, k].double() - 1.5) / 4).tolist()
            if source.visible[b, k] > 0 and -0.5 <= x < 23.5 and -0.5 <= y < 15.5:
                for net in ("coarse", "refined"):
                    wanted["supervised"] += error(maps[f"source/{net}"][b, k], gaussian(x, y)) / 12
            row, side = int(target.ids[b]), sides[k]
            point = student[b] @ np.array([*method.labels.points[row, side].tolist(), 1.0])
            x, y = (point[:2] - 1.5) / 4
            sure = int(method.labels.rank[row, side]) > int(0.6 * 18) and -0.5 <= x < 23.5 and -0.5 <= y < 15.5
            labels["sure"][b].append(float(sure))
            coarse, refined, other = (maps[f"target/{net}"][b, k] for net in ("coarse", "refined", "other"))
            labels["coarse"][b].append(error(coarse, gaussian(x, y)))
            labels["refined"][b].append(error(refined, gaussian(x, y)))
            labels["inner"][b].append(error(coarse, refined))
            wanted["branches"] += error(refined, other) / 12
            there, seen = teacher[b] @ np.linalg.inv(student[b]), maps["teacher/refined"][b, side]
            moved = np.array([[at(seen, *cells(there, c, r)) for c in range(24)] for r in range(16)])
            wanted["consistency"] += error(other, moved) / 12
    ones = [[1.0] * 3 for _ in range(4)]
    wanted["distillation"] = slow_smallest(labels["inner"], kept, ones)
    wanted["pseudo_label"] = sum(slow_smallest(labels[net], kept, labels["sure"]) for net in ("coarse", "refined"))
    assert 0 < sum(map(sum, labels["sure"])) < 12
    found = {name: term.value.item() for name, term in update.terms.items()}
    assert {name: found[name] for name in wanted} == {
        name: pytest.approx(value, rel=1e-3, abs=1e-7) for name, value in wanted.items()
    }
    epoch = math.floor(80 * progress)
    loops = 90 * math.exp(-5 * (1 - min(epoch, 10) / 10) ** 2)
    assert {name: term.weight for name, term in update.terms.items()} == pytest.approx(
        {
            "supervised": 1.0,
            "pseudo_label": max(7.5 * (1 + math.cos(math.pi * min(epoch / 15, 1))), 8),
            "domain": 5e-4,
            "distillation": loops,
            "branches": 0.01,
            "consistency": loops,
        }
    )


def test_the_domains_are_told_apart_and_the_nets_go_the_other_way(
    context: Contexts, batch: Batches, targets: TargetBatch
) -> None:
    method, given = made(context, targets), batch()
    (update,) = method.updates(given, 0.3)
    twin = made(context, targets)
    domain = update.terms["domain"].value
    twin._taught(given.target)
    logits = [
        twin.classifier(twin._student(images)[1].features).detach()
        for images in (given.source.view.images, given.target.student.images)
    ]
    shares = [1 / (1 + math.exp(-value)) for value in torch.cat(logits).flatten().tolist()]
    expected = -sum(math.log(1 - p) for p in shares[:4]) / 4 - sum(math.log(p) for p in shares[4:]) / 4
    assert len(shares) == 8, "one logit an image of this size"
    assert domain.item() == pytest.approx(expected / 2, rel=1e-4)
    ramp = 2 / (1 + math.exp(-10 * 0.3)) - 1
    plain = made(context, targets)
    features = [plain._student(x)[1].features for x in (given.source.view.images, given.target.student.images)]
    signs = [
        torch.nn.functional.softplus(sign * plain.classifier(f)).mean()
        for sign, f in zip((1, -1), features, strict=True)
    ]
    wanted = torch.autograd.grad((signs[0] + signs[1]) / 2, plain.nets.student.backbone.parameters())
    found = torch.autograd.grad(domain, method.nets.student.backbone.parameters())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, -ramp * other, rtol=1e-3, atol=1e-7)


def test_inner_and_outer_loop_teach_one_way(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    """The refined map stands still for the coarse one; the teacher stands still for the student."""
    method = made(context, targets)
    (update,) = method.updates(batch(), 0.5)
    refinement, final = list(method.refinement.parameters()), list(method.nets.student.final.parameters())
    inner = update.terms["distillation"].value
    assert all(g is None for g in torch.autograd.grad(inner, refinement, retain_graph=True, allow_unused=True))
    outer = torch.autograd.grad(update.terms["consistency"].value, [*final, *refinement], allow_unused=True)
    assert outer[0] is None, "the coarse map has no part in it"
    assert not any(
        p.requires_grad for p in (*method.nets.teacher.parameters(), *method.teacher_refinement.parameters())
    )


def test_the_teacher_and_its_block_are_averages(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets, ema_decay=0.75)
    before = [p.clone() for p in method.teacher_refinement.parameters()]
    with torch.no_grad():
        for parameter in (*method.refinement.parameters(), *method.nets.student.parameters()):
            parameter.add_(1.0)
    method.after_step(0.0)
    for old, new in zip(before, method.teacher_refinement.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
    assert method.predictor is method.nets.teacher
    assert method.student is method.nets.student


def test_a_weight_below_the_least_is_the_weight(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    (update,) = made(context, targets, pseudo_label_weight=0.0).updates(batch(), 0.5)
    assert update.terms["pseudo_label"].weight == 0


def test_labels_are_made_once(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets)
    assert method.refresh_every == 0
    assert (method.labels.rank > 0).any()
    assert {"labels.points", "labels.rank"} <= method.state_dict().keys()


def test_options_that_make_no_sense_are_refused() -> None:
    wrong = {"domain_weight": -1, "pseudo_label_share": 0, "kept_keypoints": 1.5, "ema_decay": 1.0}
    for name, value in wrong.items():
        with pytest.raises(ValidationError, match=name):
            UdaAnimalConfig(**{name: value})
