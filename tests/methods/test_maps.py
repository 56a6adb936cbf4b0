from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from poseshift.batches import Batch, TargetBatch, View
from poseshift.draws import generator
from poseshift.methods.base import Context
from poseshift.methods.maps import Maps, MapsConfig, easy_share
from poseshift.models.pose_net import PoseOutput
from poseshift.ops import affine, collective

Contexts, Batches = Callable[..., Context], Callable[..., Batch]
SIGMA, STRIDE, HEIGHT, WIDTH = 2.0, 4, 16, 24


def made(context: Contexts, targets: TargetBatch, **options: object) -> Maps:
    method = Maps(MapsConfig(**options), context(style=False)).train()
    method.refresh(iter([targets]))
    return method


def gaussian(x: float, y: float, *, window: float = math.inf) -> list[list[float]]:
    """Peak 1 at ``x, y`` (cells), nothing beyond ``window`` along either axis."""
    return [
        [
            math.exp(-((i - x) ** 2 + (j - y) ** 2) / (2 * SIGMA**2)) if max(abs(i - x), abs(j - y)) <= window else 0.0
            for i in range(WIDTH)
        ]
        for j in range(HEIGHT)
    ]


def squared(one: list[list[float]], other: list[list[float]]) -> float:
    return sum((a - b) ** 2 for row, others in zip(one, other, strict=True) for a, b in zip(row, others, strict=True))


def slow_errors(method: Maps, maps: Tensor) -> list[float]:
    """Of each image: the mean squared distance of its maps to Gaussians at the points that were kept."""
    found = []
    for image, points in zip(maps.tolist(), method.points.tolist(), strict=True):
        total = 0.0
        for rows, (x, y) in zip(image, points, strict=True):
            total += squared(rows, gaussian((x - 1.5) / STRIDE, (y - 1.5) / STRIDE))
        found.append(total / (len(image) * HEIGHT * WIDTH))
    return found


def mirrored(given: Batch) -> Batch:
    target = given.target
    matrix = affine.mirror(96, like=target.student.matrix) @ target.student.matrix
    view = View(images=target.student.images, matrix=matrix)
    return Batch(draws=given.draws, target=TargetBatch(student=view, teacher=target.teacher, ids=target.ids))


def test_images_are_ranked_by_their_distance_to_their_own_gaussians(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets)
    with torch.no_grad():
        maps = method.nets.teacher(targets.student.images).heatmaps.double()
    errors = slow_errors(method, maps)
    order = sorted(range(6), key=lambda i: errors[i])
    assert len(set(errors)) == 6
    assert [order.index(i) for i in range(6)] == method.rank.tolist()
    top = maps.flatten(-2).argmax(-1)
    cells = (method.points - 1.5) / STRIDE
    assert ((cells - torch.stack((top % WIDTH, top // WIDTH), -1)).abs() <= 0.5).all()


def test_what_a_pass_does_not_show_is_hardest_and_how_it_is_cut_does_not_matter(
    context: Contexts, targets: TargetBatch
) -> None:
    whole, cut = (Maps(MapsConfig(teacher_bn="ema"), context(style=False)).train() for _ in range(2))
    whole.refresh(iter([targets]))
    view = targets.student

    def part(rows: list[int]) -> TargetBatch:
        some = View(images=view.images[rows], matrix=view.matrix[rows])
        return TargetBatch(student=some, teacher=(some,), ids=torch.tensor(rows))

    cut.refresh(iter([part([3, 0]), part([5, 4, 1, 2])]))
    assert torch.equal(cut.rank, whole.rank)
    torch.testing.assert_close(cut.points, whole.points)
    cut.refresh(iter([part([3, 0]), part([5, 4])]))
    assert set(cut.rank[[1, 2]].tolist()) == {4, 5}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_terms_are_those_of_the_formula(
    context: Contexts, batch: Batches, targets: TargetBatch, flip: bool, share: float
) -> None:
    """In loops; labels move with the view, and a mirrored one exchanges sides."""
    method = made(context, targets, easy_first=share, easy_last=share)
    method.nets.other_side = torch.tensor([2, 1, 0])
    given = mirrored(batch(source=False)) if flip else batch(source=False)
    (update,) = method.updates(given, 0.0)
    fresh = made(context, targets)  # the same weights, running statistics untouched by the update
    fresh.nets.other_side = method.nets.other_side
    target, images = given.target, given.target.student.images
    strength = float(generator(0, "mixup", 0).beta(0.75, 0.75))
    order = generator(0, "mixup/order", 0).random(4, dtype="float32").argsort().tolist()
    with torch.no_grad():
        pseudo = fresh.nets.pseudo_heatmaps([target.teacher[0].images], target.teacher).double()
        raw = fresh.nets.student(images).heatmaps
        canonical = fresh.nets.to_canonical(raw, target.student).double()
        mixed = fresh.nets.student(strength * images + (1 - strength) * images[order]).heatmaps.double()
    peaks = sorted(pseudo.amax((-2, -1)).flatten().tolist())
    easy = [rank < round(share * 6) for rank in method.rank[target.ids].tolist()]
    assert 0 < sum(easy) < 4 or share == 1
    consistency = mixup = label = 0.0
    for b in range(4):
        matrix = target.student.matrix[b].double()
        for k in range(3):
            top = pseudo[b, k].flatten().argmax().item()
            if pseudo[b, k].max() > peaks[5]:
                wanted = gaussian(top % WIDTH, top // WIDTH, window=6)
                consistency += squared(canonical[b, k].tolist(), wanted)
            both = strength * raw[b, k].double() + (1 - strength) * raw[order[b], k].double()
            mixup += squared(mixed[b, k].tolist(), both.tolist()) / 2
            point = torch.cat((method.points[target.ids[b], 2 - k if flip else k].double(), torch.ones(1).double()))
            x, y = ((matrix @ point)[:2] - 1.5).div(STRIDE).tolist()
            if easy[b] and -0.5 <= x < WIDTH - 0.5 and -0.5 <= y < HEIGHT - 0.5:
                label += squared(raw[b, k].tolist(), gaussian(x, y)) / 2
    cells = 3 * HEIGHT * WIDTH
    assert {name: term.value.item() for name, term in update.terms.items()} == {
        "consistency": pytest.approx(consistency / 4 / cells, rel=1e-4),
        "mixup": pytest.approx(mixup / 4 / cells, rel=1e-4),
        "pseudo_label": pytest.approx(label / sum(easy) / cells, rel=1e-4),
    }
    assert update.monitors["easy"].item() == sum(easy) / 4


def test_the_mixture_is_a_target_without_a_gradient(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    """The error at the features of the single images stays with the other terms."""
    method = made(context, targets)
    (update,) = method.updates(batch(source=False), 0.0)
    alone, mixed = update.probe
    value = update.terms["mixup"].value
    assert torch.autograd.grad(value, alone, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(value, mixed)[0].any()


def test_two_processes_mix_what_one_does(
    context: Contexts, batch: Batches, targets: TargetBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mixes its half of the global batch, with partners from all of it."""
    given = batch(source=False)
    target, seen, said = given.target, [], []

    class Watched(torch.nn.Module):
        def forward(self, images: Tensor) -> PoseOutput:
            seen.append(images)
            return PoseOutput(images[:, :, ::4, ::4], images)

    def mix(rows: slice) -> Tensor:
        method = made(context, targets)
        method.nets.student = Watched()
        half = View(images=target.student.images[rows], matrix=target.student.matrix[rows])
        part = TargetBatch(student=half, teacher=(half,), ids=target.ids[rows])
        draws = replace(given.draws, start=rows.start, count=rows.stop - rows.start)
        output = PoseOutput(half.images[:, :, ::4, ::4], half.images)
        said.append(method._mixup(Batch(draws=draws, target=part), output)[1])
        return seen.pop()

    whole = mix(slice(0, 4))
    everyone = {96: target.student.images, 24: target.student.images[:, :, ::4, ::4]}
    monkeypatch.setattr(collective, "gather", lambda x: everyone[x.shape[-1]])
    halves = [mix(slice(0, 2)), mix(slice(2, 4))]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(whole, target.student.images)
    assert [value.item() for value in said] == pytest.approx([0, 0, 0], abs=1e-12)  # a linear net


def test_a_batch_without_easy_images_takes_its_easiest(context: Contexts, batch: Batches, targets: TargetBatch) -> None:
    method, target = made(context, targets), batch(source=False).target  # images 3, 0, 5, 1
    method.rank.copy_(torch.tensor([4, 3, 0, 5, 1, 2]))
    assert method._easy(target, 0.0).tolist() == [0, 0, 1, 0]  # one image of six is easy, and not here
    method.rank.copy_(torch.tensor([4, 3, 5, 0, 1, 2]))
    assert method._easy(target, 0.0).tolist() == [1, 0, 0, 0]
    assert method._easy(target, 0.999).tolist() == [1, 0, 0, 0]
    method.config = MapsConfig(easy_last=0.5)
    assert method._easy(target, 0.999).tolist() == [1, 0, 1, 0]


def test_the_share_of_easy_images_grows_in_rounds() -> None:
    shares = [easy_share(0.1, 0.3, 2, step / 9) for step in range(9)]
    assert shares == pytest.approx([0.1] * 3 + [0.2] * 3 + [0.3] * 3)
    assert easy_share(0.25, 1.0, 1, 0.999) == 1.0


def test_it_needs_target_images_alone_and_a_trained_net() -> None:
    assert MapsConfig().needs == {"target"}
    assert MapsConfig().needs_init


def test_a_share_that_falls_is_refused_in_one_line() -> None:
    with pytest.raises(ValidationError, match=r"easy_last 0.05 is below easy_first 0.1; the share must grow"):
        MapsConfig(easy_last=0.05)


@pytest.mark.parametrize("wrong", [{"mixup_alpha": 0}, {"easy_first": 0}, {"easy_last": 1.1}, {"mixup_weight": -1}])
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        MapsConfig(**wrong)


def test_a_weight_of_nothing_leaves_its_term_out(context: Contexts, batch: Batches) -> None:
    method = Maps(MapsConfig(mixup_weight=0, pseudo_label_weight=0), context(style=False)).train()
    method.refresh(iter(()))
    assert method.refresh_every == 0
    (update,) = method.updates(batch(source=False), 0.0)
    assert list(update.terms) == ["consistency"]
    assert Maps(MapsConfig(refresh_every=7), context(style=False)).refresh_every == 7


def test_the_teacher_follows_each_step(context: Contexts, targets: TargetBatch) -> None:
    method = made(context, targets, ema_decay=0.75)
    with torch.no_grad():
        method.nets.student.final.bias.add_(1.0)
    method.after_step(0.0)
    moved = method.nets.teacher.final.bias - (method.nets.student.final.bias - 1.0)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert method.predictor is method.nets.teacher
    assert method.student is method.nets.student
