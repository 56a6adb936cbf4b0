import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from poseshift.batches import TargetBatch, View
from poseshift.engine import label_free, poses
from poseshift.models.pose_net import PoseOutput
from poseshift.ops import affine, heatmaps

Says = tiny.Says


def pair(matrix: Tensor, count: int = 3) -> tuple[TargetBatch, TargetBatch]:
    images, ids = torch.zeros(count, 3, 64, 64), torch.arange(count)
    same = View(images=images, matrix=affine.identity(count, like=images))
    moved = View(images=images.clone(), matrix=matrix.expand(count, 3, 3))
    return TargetBatch(student=same, teacher=(same,), ids=ids), TargetBatch(student=moved, teacher=(same,), ids=ids)


STILL = affine.translation(torch.zeros(1, 2))


@pytest.mark.parametrize(("off", "expected"), [(0.0, 100.0), (3.0, 100.0), (3.4, 50.0)])
def test_agreement_counts_what_lies_within_a_twentieth_of_the_side(off: float, expected: float) -> None:
    """5 % of 64 px are 3.2 px; the student's view is the plain one moved by (5, -2), so its points must be too."""
    move = affine.translation(torch.tensor([[5.0, -2.0]]))
    predictor = Says([(20.0, 30.0), (40.0, 25.0)])
    student = Says([(25.0 + off, 28.0), (45.0, 23.0)])
    found = label_free.label_free(predictor, student, [pair(move), pair(move, 2)], ())  # type: ignore[arg-type]
    assert found.agreement == pytest.approx(expected)
    assert math.isnan(found.coincidence)
    assert math.isnan(found.plausibility)


@pytest.mark.parametrize("move", [(0.0, 0.0), (3.0, -4.0)])
def test_equivariance_is_how_far_points_stay_behind(move: tuple[float, float]) -> None:
    """A net that says the same in a moved view is wrong by the move there."""
    net = Says([(20.0, 30.0), (40.0, 25.0)])
    views = [pair(affine.translation(torch.tensor([move])))]
    found = label_free.label_free(net, net, views, ())  # type: ignore[arg-type]
    assert found.equivariance == pytest.approx(100 * math.hypot(*move) / 64, abs=1e-4)
    assert found.agreement == (100 if move == (0, 0) else 0)


@pytest.mark.parametrize(("sides", "expected"), [(((0, 1), (2, 3)), 50.0), (((0, 1),), 100.0), (((2, 3),), 0.0)])
def test_coincidence_counts_pairs_on_one_spot(sides: tuple[tuple[int, int], ...], expected: float) -> None:
    """Of 0 and 1 (3 px apart, the limit is 3.2) and 2 and 3 (far apart); what the student says does not count."""
    net, student = Says([(20.0, 30.0), (23.0, 30.0), (5.0, 9.0), (50.0, 9.0)]), Says([(9.0, 9.0)] * 4)
    found = label_free.label_free(net, student, [pair(STILL)], sides)  # type: ignore[arg-type]
    assert found.coincidence == pytest.approx(expected)
    assert found.agreement == 0


class Draws(nn.Module):
    """Shows maps ``N×K×h×w``, one after the other; the images do not matter."""

    stride = 4

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps, self.place = maps, 0

    def forward(self, images: Tensor) -> PoseOutput:
        shown = self.maps[torch.arange(self.place, self.place + len(images)) % len(self.maps)]
        self.place += len(images)
        return PoseOutput(shown, shown)


def test_of_a_constant_answer_there_is_no_information_however_sharp() -> None:
    """A collapsed net is as sharp and agrees as well as one that follows the image: information tells them apart."""
    spikes = torch.zeros(16, 1, 4, 4)
    spikes[torch.arange(16), 0, torch.arange(16) // 4, torch.arange(16) % 4] = 100.0
    found = {
        name: label_free.label_free(Draws(maps), Draws(maps), [pair(STILL, 16)], ())  # type: ignore[arg-type]
        for name, maps in (("follows", spikes), ("constant", spikes[:1]), ("flat", torch.zeros(1, 1, 4, 4)))
    }
    assert [found[name].entropy for name in found] == pytest.approx([0, 0, 100], abs=1e-4)
    assert [found[name].information for name in found] == pytest.approx([100, 0, 0], abs=1e-4)
    assert [found[name].agreement for name in found] == [100, 100, 100]


class Watched(nn.Module):
    """A net of random weights that shows what is bright, and notes what it sees."""

    stride = 4

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, 4, 4, stride=4)
        nn.init.uniform_(self.layer.weight)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> PoseOutput:
        self.seen.append(images)
        maps = self.layer(images) / 40
        return PoseOutput(maps, maps)


def entropy(weights: list[float]) -> float:
    """In nats, of the softmax of ten times the values."""
    powers = [math.exp(10 * (value - max(weights))) for value in weights]
    return -sum(one / sum(powers) * math.log(one / sum(powers)) for one in powers if one)


def slow(
    predictor: nn.Module, student: nn.Module, views: list[tuple[TargetBatch, TargetBatch]],
    sides: tuple[tuple[int, int], ...], known: Tensor,
) -> dict[str, float]:  # fmt: skip
    """Each score counted on its own, from the formula, point by point; all views are moved by (2, 1)."""
    near, apart, together, entropies, shares, far = [], [], [], [], [], []
    for plain, moved in views:
        maps = predictor(plain.student.images).heatmaps.double()
        ours, _ = heatmaps.decode(maps.float(), stride=4)
        again, _ = heatmaps.decode(predictor(moved.student.images).heatmaps, stride=4)
        theirs, _ = heatmaps.decode(student(moved.student.images).heatmaps, stride=4)
        shift = torch.tensor([2.0, 1.0])
        for image, (one, second, other) in enumerate(zip(ours, again - shift, theirs - shift, strict=True)):
            near += [float((a - b).norm()) <= 3.2 for a, b in zip(one, other, strict=True)]
            apart += [float((a - b).norm()) / 64 for a, b in zip(one, second, strict=True)]
            together += [float((one[a] - one[b]).norm()) <= 3.2 for a, b in sides]
            entropies += [entropy(shown.flatten().tolist()) for shown in maps[image]]
            shares.append((10 * maps[image].flatten(1)).softmax(1))
            middle = one.mean(0)
            size = max(math.sqrt(sum(float((a - middle).norm()) ** 2 for a in one) / len(one)), 0.05 * 64)
            pose = [(a - middle) / size for a in one]
            far.append(
                min(
                    math.sqrt(sum(float((a - b).norm()) ** 2 for a, b in zip(pose, other, strict=True)) / len(pose))
                    for other in known
                )
            )
    mean = torch.stack(shares).mean(0)
    spread = [-sum(p * math.log(p) for p in row.tolist() if p) for row in mean]
    bits = float(np.mean(entropies))
    return {
        "agreement": 100 * float(np.mean(near)),
        "equivariance": 100 * float(np.mean(apart)),
        "entropy": 100 * bits / math.log(256),
        "information": 100 * (float(np.mean(spread)) - bits) / math.log(256),
        "plausibility": 100 * float(np.mean(far)),
        "coincidence": 100 * float(np.mean(together)),
    }


@torch.no_grad()
def test_one_pass_says_what_a_slow_count_of_each_score_does() -> None:
    """And each net sees each view once."""
    torch.manual_seed(0)
    predictor, student, sides = Watched(1), Watched(2), ((0, 2), (3, 1))
    views = [pair(affine.translation(torch.tensor([[2.0, 1.0]])), count) for count in (5, 3)]
    for batch in (one for both in views for one in both):
        batch.student.images.uniform_()
        batch.student.images[::2, :, 20:24, 32:36] += 5  # in every other image all points lie on this spot
    known = poses.normalise(torch.rand(20, 4, 2) * 64, side=64)
    found = label_free.label_free(predictor, student, views, sides, known)  # type: ignore[arg-type]
    assert [len(images) for images in predictor.seen] == [10, 6]
    assert [len(images) for images in student.seen] == [5, 3]
    expected = slow(predictor, student, views, sides, known)
    assert 0 < expected["agreement"] < 100
    assert 0 < expected["coincidence"] < 100
    assert asdict(found) == pytest.approx(expected, rel=1e-5)


def test_a_student_that_is_the_predictor_looks_no_second_time() -> None:
    net = Watched(1)
    found = label_free.label_free(net, net, [pair(STILL)], ())  # type: ignore[arg-type]
    assert [len(images) for images in net.seen] == [6]
    assert (found.agreement, found.equivariance) == (100, 0)


def test_coincidence_of_labels_counts_labelled_pairs() -> None:
    keypoints = np.array([[[0, 0], [3, 0]], [[0, 0], [3.3, 0]], [[0, 0], [0, 0]]], np.float32)
    visible = np.array([[2, 1], [2, 2], [2, 0]], np.uint8)
    assert label_free.labelled_coincidence(keypoints, visible, ((0, 1),), size=64) == pytest.approx(50)
    assert np.isnan(label_free.labelled_coincidence(keypoints, visible * 0, ((0, 1),), size=64))


def test_modes_are_given_back() -> None:
    one, other = Says([(20.0, 30.0)]), Says([(20.0, 30.0)])
    one.train(), other.eval()
    label_free.label_free(one, other, [pair(STILL)], ())  # type: ignore[arg-type]
    assert (one.training, other.training) == (True, False)


def test_of_no_image_nothing_is_known() -> None:
    one = Says([(20.0, 30.0)])
    found = label_free.label_free(one, one, [], ((0, 0),))  # type: ignore[arg-type]
    assert all(math.isnan(value) for value in asdict(found).values())
