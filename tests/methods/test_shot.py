from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from poseshift.batches import Batch, TargetBatch, View
from poseshift.methods.base import Context, OptimiserConfig
from poseshift.methods.shot import Shot, ShotConfig, local_maxima, nearest
from poseshift.models.pose_net import PoseOutput
from poseshift.ops import affine, heatmaps

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
BETA = 10.0


def made(context: Contexts, targets: TargetBatch, **options: object) -> Shot:
    method = Shot(ShotConfig(**options), context(style=False)).train()
    method.refresh(iter([targets]))
    return method


def probabilities(map_: Tensor) -> list[float]:
    """δ of one map, cell by cell."""
    powers = [math.exp(BETA * value) for value in map_.flatten().tolist()]
    return [power / sum(powers) for power in powers]


def entropy(shares: list[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def refined(map_: Tensor, row: int, column: int) -> list[float]:
    """Pixels ``[x, y]`` of the top of a parabola through the logarithms about a maximum, at most half a cell off."""
    height, width = map_.shape
    place = []
    for at, before, after, inner in (
        (column, (row, column - 1), (row, column + 1), 0 < column < width - 1),
        (row, (row - 1, column), (row + 1, column), 0 < row < height - 1),
    ):
        shift = 0.0
        if inner:
            low, top, high = (math.log(max(float(map_[cell]), 1e-6)) for cell in (before, (row, column), after))
            curvature = low - 2 * top + high
            if curvature < -1e-9:
                shift = min(max((low - high) / (2 * curvature), -0.5), 0.5)
        place.append(4 * (at + shift) + 1.5)
    return place


def slow_labels(maps: Tensor, features: Tensor, count: int) -> list[list[tuple[int, int]]]:
    """Eq. 4 to 6 from the formula, in loops: the cell (row, column) that labels each map."""
    images, keypoints, height, width = maps.shape
    cells = [(row, column) for row in range(height) for column in range(width)]
    feature = {(b, *cell): features[b, :, cell[0], cell[1]].tolist() for b in range(images) for cell in cells}
    labels: list[list[tuple[int, int]]] = [[] for _ in range(images)]
    for k in range(keypoints):
        total, mass = [0.0] * features.shape[1], 0.0
        candidates = []
        for b in range(images):
            for share, cell in zip(probabilities(maps[b, k]), cells, strict=True):
                total = [t + share * f for t, f in zip(total, feature[b, *cell], strict=True)]
                mass += share
            peaks = [
                (float(maps[b, k, row, column]), row, column)
                for row, column in cells
                if maps[b, k, row, column]
                >= maps[b, k, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].max()
            ]
            candidates.append([(row, column) for _, row, column in sorted(peaks, reverse=True)[:count]])
        centroid = [t / mass for t in total]  # Eq. 4
        for _ in range(2):
            chosen = [
                max(candidates[b], key=lambda cell: cosine(feature[b, *cell], centroid)) for b in range(images)
            ]  # Eq. 5
            picked = [feature[b, *cell] for b, cell in enumerate(chosen)]
            centroid = [sum(column) / images for column in zip(*picked, strict=True)]  # Eq. 6
        for b in range(images):
            labels[b].append(chosen[b])
    return labels


@pytest.mark.parametrize("count", [1, 4, 1000])
def test_labels_are_those_of_the_slow_version(context: Contexts, targets: TargetBatch, count: int) -> None:
    method = made(context, targets, candidates=count)
    fresh = made(context, targets)
    with torch.no_grad():
        output: PoseOutput = fresh.net(targets.student.images)
    expected = slow_labels(output.heatmaps.double(), output.features.double(), count)
    points = [[refined(output.heatmaps[b, k], *cell) for k, cell in enumerate(row)] for b, row in enumerate(expected)]
    torch.testing.assert_close(method.points, torch.tensor(points), atol=1e-3, rtol=0)
    assert any(abs((x - 1.5) % 4 - 2) < 1.9 for row in points for x, _ in row), "off the middle of a cell"
    if count == 1:
        assert torch.equal(method.points, heatmaps.decode(output.heatmaps, stride=4)[0])
    else:
        assert not torch.equal(method.points, made(context, targets, candidates=1).points)


def test_labels_do_not_depend_on_the_order_of_the_pass(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets)
    whole, view, rows = method.points.clone(), targets.student, torch.tensor([3, 0, 1, 5, 4, 2])
    part = View(images=view.images[rows], matrix=view.matrix[rows])
    method.points.zero_()
    method.refresh(iter([TargetBatch(student=part, teacher=(part,), ids=rows)]))
    assert torch.equal(method.points, whole)


def test_labels_of_several_batches_have_common_centroids(context: Contexts, targets: TargetBatch) -> None:
    """The pass may be cut anywhere, but for BatchNorm, which normalises by each batch."""
    method = made(context, targets)
    method.net.eval()
    method.refresh(iter([targets]))
    whole, view = method.points.clone(), targets.student
    parts = []
    for rows in (torch.tensor([3, 0]), torch.tensor([1, 5, 4, 2])):
        part = View(images=view.images[rows], matrix=view.matrix[rows])
        parts.append(TargetBatch(student=part, teacher=(part,), ids=rows))
    method.points.zero_()
    method.refresh(iter(parts))
    assert torch.equal(method.points, whole)


@pytest.mark.parametrize("flip", [False, True])
def test_terms_are_those_of_the_formula(context: Contexts, batch: Batches, targets: TargetBatch, flip: bool) -> None:
    """Eq. 3 and the last term of Eq. 7 in loops; labels move with the view, and a mirrored one exchanges sides."""
    method, given = made(context, targets), batch(source=False)
    method.other_side = torch.tensor([2, 1, 0])
    target = given.target
    if flip:
        matrix = affine.mirror(96, like=target.student.matrix) @ target.student.matrix
        target = TargetBatch(
            student=View(images=target.student.images, matrix=matrix), teacher=target.teacher, ids=target.ids
        )
        given = Batch(draws=given.draws, target=target)
    (update,) = method.updates(given, 0.0)
    fresh = made(context, targets)  # the same weights, running statistics untouched by the update
    with torch.no_grad():
        maps = fresh.net(target.student.images).heatmaps.double()
    shares = [[probabilities(maps[b, k]) for k in range(3)] for b in range(4)]
    scale = math.log(16 * 24)
    certainty = sum(entropy(shares[b][k]) for b in range(4) for k in range(3)) / 12 / scale
    means = [[sum(shares[b][k][i] for b in range(4)) / 4 for i in range(16 * 24)] for k in range(3)]
    cross, inside = 0.0, 0
    for b in range(4):
        matrix = target.student.matrix[b].double()
        for k in range(3):
            point = torch.cat((method.points[target.ids[b], 2 - k if flip else k].double(), torch.ones(1).double()))
            x, y = ((matrix @ point)[:2] - 1.5).div(4).tolist()
            if -0.5 <= x < 23.5 and -0.5 <= y < 15.5:
                inside += 1
                label = [[math.exp(-((c - x) ** 2 + (r - y) ** 2) / 8) for c in range(24)] for r in range(16)]
                wanted = probabilities(torch.tensor(label, dtype=torch.float64))
                cross -= sum(q * math.log(p) for q, p in zip(wanted, shares[b][k], strict=True))
    assert inside > 0
    found = {name: term.value.item() for name, term in update.terms.items()}
    assert found == {
        "certainty": pytest.approx(certainty, rel=1e-4),
        "diversity": pytest.approx(sum(map(entropy, means)) / 3 / scale, rel=1e-4),
        "pseudo_label": pytest.approx(cross / 12 / scale, rel=1e-4),
    }
    assert {name: term.weight for name, term in update.terms.items()} == {
        "certainty": 0.1,
        "diversity": -0.1,
        "pseudo_label": 0.3,
    }


def test_the_encoder_is_slow(context: Contexts) -> None:
    method = Shot(ShotConfig(), context(style=False))
    assert method.optimisers(OptimiserConfig(rate=0.5))["encoder"].rate == pytest.approx(0.05)


def test_it_needs_target_images_alone_and_a_trained_net() -> None:
    assert ShotConfig().needs == {"target"}
    assert ShotConfig().needs_init


def test_the_hypothesis_stands_still(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method = made(context, targets)
    (update,) = method.updates(batch(source=False), 0.0)
    update.total.backward()
    assert update.on == ("encoder",)
    assert all(p.grad is None for p in method.net.final.parameters())
    moving = {id(p) for p in method.parts()["encoder"].parameters()}
    assert moving == {id(p) for p in (*method.net.backbone.parameters(), *method.net.head.parameters())}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.net.head.parameters())
    assert method.predictor is method.student is method.net


def test_information_maximisation_alone_makes_no_labels(context: Contexts, batch: Batches) -> None:
    method = Shot(ShotConfig(pseudo_label_weight=0.0), context(style=False))
    method.refresh(iter(()))
    assert method.refresh_every == 0
    (update,) = method.updates(batch(source=False), 0.0)
    assert list(update.terms) == ["certainty", "diversity"]
    assert Shot(ShotConfig(refresh_every=7), context(style=False)).refresh_every == 7


def test_local_maxima_of_a_map_with_fewer_than_asked_for() -> None:
    maps = torch.zeros(1, 1, 4, 6)
    maps -= torch.arange(24.0).view(4, 6)
    maps[0, 0, 3, 5] = 5.0
    index, values = local_maxima(maps, 3)
    assert index[0, 0, :2].tolist() == [23, 0]
    assert values[0, 0].tolist() == [5.0, 0.0, -math.inf]
    features = torch.zeros(1, 1, 3, 2)
    features[..., 2, :] = 1.0  # of no candidate, though nearest
    features[..., :2, 0] = 1.0
    assert nearest(features, values, torch.ones(1, 2)).item() == 0
