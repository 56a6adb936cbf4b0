from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from poseshift.batches import TargetBatch, View
from poseshift.models.label_bank import Frames, LabelBank, ensemble, followed
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import affine, color, optical_flow

HEIGHT, WIDTH = 48, 64


class Brightness(PoseNet):
    """Heatmaps are the red and the green channel, four pixels a cell."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.stride = 4

    def forward(self, images: Tensor) -> PoseOutput:
        maps = nn.functional.avg_pool2d(color.denormalise(images)[:, :2], 4)
        return PoseOutput(maps, maps)


def smooth(count: int, seed: int = 0) -> Tensor:
    """Pictures ``count×3×H×W`` in [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, HEIGHT, WIDTH))
    blurred = ndimage.gaussian_filter(noise, (0, 0, 3, 3))
    return torch.from_numpy(0.5 + 0.2 * blurred / blurred.std()).clamp(0, 1).float()


def film(count: int, shift: tuple[float, float] = (2.0, -1.0)) -> Tensor:
    """One picture that moves by ``shift`` pixels a frame, cut from a larger one."""
    noise = np.random.default_rng(3).normal(size=(HEIGHT + 80, WIDTH + 80))
    large = ndimage.gaussian_filter(noise, 2.0)
    large = 0.5 + 0.15 * large / large.std()
    frames = []
    for number in range(count):
        moved = ndimage.shift(large, (shift[1] * number, shift[0] * number), order=3, mode="nearest")
        frames.append(moved[40 : 40 + HEIGHT, 40 : 40 + WIDTH])
    return torch.from_numpy(np.stack(frames)).clamp(0, 1).float()[:, None]


def batches(images: Tensor, sizes: list[int]) -> list[TargetBatch]:
    made, first = [], 0
    for size in sizes:
        view = View(images=images[first : first + size], matrix=torch.eye(3).expand(size, 3, 3))
        made.append(TargetBatch(student=view, teacher=(view,), ids=torch.arange(first, first + size)))
        first += size
    return made


# --- equivariance -----------------------------------------------------------------------------------------------------


def value(picture: np.ndarray, x: float, y: float) -> float:
    """Bilinear value at a place, 0 outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]:
                total += picture[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def slow_ensemble(picture: np.ndarray) -> np.ndarray:
    """One channel of the ensemble of :class:`Brightness`, place by place from the definition."""
    middle = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    total = np.zeros((HEIGHT // 4, WIDTH // 4))
    for degrees, factor in ((0, 1.0), (30, 0.75), (-30, 0.75), (30, 1.25), (-30, 1.25)):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

        def there(x: float, y: float, cos: float = cos, sin: float = sin, factor: float = factor) -> tuple:
            x, y = x - middle[0], y - middle[1]
            return middle[0] + factor * (cos * x - sin * y), middle[1] + factor * (sin * x + cos * y)

        def back(x: float, y: float, cos: float = cos, sin: float = sin, factor: float = factor) -> tuple:
            x, y = (x - middle[0]) / factor, (y - middle[1]) / factor
            return middle[0] + cos * x + sin * y, middle[1] - sin * x + cos * y

        view = np.array([[value(picture, *back(x, y)) for x in range(WIDTH)] for y in range(HEIGHT)])
        cells = view.reshape(HEIGHT // 4, 4, WIDTH // 4, 4).mean((1, 3))
        for row in range(HEIGHT // 4):
            for column in range(WIDTH // 4):
                x, y = there(4 * column + 1.5, 4 * row + 1.5)
                total[row, column] += value(cells, (x - 1.5) / 4, (y - 1.5) / 4) / 5
    return total


def test_the_ensemble_is_that_of_the_slow_version() -> None:
    pictures = smooth(2)
    found = ensemble(Brightness(), color.normalise(pictures))
    for channel in (0, 1):
        expected = slow_ensemble(pictures[1, channel].double().numpy())
        assert found[1, channel].numpy() == pytest.approx(expected, abs=1e-4)


def test_an_ensemble_finds_what_it_should() -> None:
    """A bright spot stays where it is, whatever the views do, and one that a view loses is worth less."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    spots = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 60.0) for a, b in ((40, 20), (3, 3))]
    pictures = torch.stack((*spots, spots[0]))[None]
    maps = ensemble(Brightness(), color.normalise(pictures))[0]
    inside, corner = maps
    assert divmod(int(inside.argmax()), WIDTH // 4) == (5, 10)
    assert corner.max() < 0.7 * inside.max()


# --- time -------------------------------------------------------------------------------------------------------------


def slow_film(frames: Frames, previous: list[int], far: float) -> tuple[list[list[tuple[float, float]]], Tensor]:
    """The rule, frame after frame: every one knows the final labels of the one before it."""
    points, confidence = frames.points.clone(), frames.confidence.clone()
    for now, before in enumerate(previous):
        for k in range(points.shape[1]) if before >= 0 else ():
            one = slice(before, before + 1), slice(now, now + 1)
            moved, found = optical_flow.follow(
                frames.grey[one[0]], frames.grey[one[1]], points[before, k].view(1, 1, 2), radius=2
            )
            carried = 0.9 * float(confidence[before, k])
            near = math.dist(moved[0, 0].tolist(), points[before, k].tolist()) <= far
            if carried > 0 and bool(found) and near and float(frames.confidence[now, k]) < carried:
                points[now, k], confidence[now, k] = moved[0, 0], carried
    return points.tolist(), confidence


def labelled(count: int, *, seed: int = 0) -> Frames:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, 2, generator=generator) * torch.tensor([30.0, 20.0]) + 15
    return Frames(torch.arange(count), film(count), points, torch.rand(count, 3, generator=generator))


@pytest.mark.parametrize("cut", [12, 5, 1])
def test_labels_through_time_are_those_of_going_from_frame_to_frame(cut: int) -> None:
    frames, previous = labelled(12), [-1, 0, 1, 2, 3, -1, 5, 6, -1, 8, 9, 10]
    expected, confidence = slow_film(frames, previous, 15 / 256 * WIDTH)
    found, last = [], None
    for first in range(0, 12, cut):
        part = Frames(*(column[first : first + cut] for column in frames))
        part = followed(part, last, torch.tensor(previous[first : first + cut]))
        last = Frames(*(column[-1:] for column in part))
        found.append(part)
    points, certain = (torch.cat([getattr(part, name) for part in found]) for name in ("points", "confidence"))
    assert torch.allclose(points, torch.tensor(expected), atol=1e-3)
    assert torch.allclose(certain, confidence)
    taken = (certain != frames.confidence).sum(1)
    assert taken[[0, 5, 8]].tolist() == [0, 0, 0], "first frames have none before them"
    assert taken.sum() > 8


def test_a_label_moves_as_the_picture_does() -> None:
    """By (2, -1) pixels a frame; three frames that know nothing of it are carried over."""
    frames = labelled(4)
    frames = frames._replace(confidence=torch.tensor([[0.9, 0.1, 0.9], [0.1] * 3, [0.1] * 3, [0.1] * 3]))
    found = followed(frames, None, torch.tensor([-1, 0, 1, 2]))
    for number in range(4):
        expected = frames.points[0] + number * torch.tensor([2.0, -1.0])
        assert (found.points[number] - expected)[[0, 2]].norm(dim=-1).max() < 0.1 * max(number, 0.01)
        assert found.confidence[number].tolist() == pytest.approx([0.9 * 0.9**number, 0.1, 0.9 * 0.9**number])
    assert torch.equal(found.points[:, 1], frames.points[:, 1]), "0.1 is not less than 0.9 of 0.1"


def test_what_is_too_far_or_flat_or_worthless_is_not_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, previous = labelled(2), torch.tensor([-1, 0])
    sure = frames._replace(confidence=torch.tensor([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]]))
    assert (followed(sure, None, previous).confidence[1] > 0.8).all()
    fast = sure._replace(grey=film(2, (5.0, 0.0)))
    assert (followed(fast, None, previous).confidence[1] == 0.1).all(), "5 of 64 pixels are more than 15 of 256"
    flat = sure._replace(grey=torch.full((2, 1, HEIGHT, WIDTH), 0.5))
    assert (followed(flat, None, previous).confidence[1] == 0.1).all()
    nothing = sure._replace(confidence=torch.tensor([[-0.1] * 3, [-0.2] * 3]))
    assert torch.equal(followed(nothing, None, previous).points, frames.points)
    assert followed(sure, None, torch.tensor([-1, 7])) is sure, "row 7 is not at hand"


# --- the bank ---------------------------------------------------------------------------------------------------------


def test_a_percentile_is_that_of_sorting() -> None:
    pictures = smooth(7)
    bank = LabelBank(7, 2)
    bank.fill_from(Brightness(), iter(batches(color.normalise(pictures), [7])))
    peaks = ensemble(Brightness(), color.normalise(pictures)).flatten(-2).amax(-1)
    ordered = sorted(peaks.flatten().tolist())
    for share in (0.0, 0.2, 0.5, 0.8):
        threshold = ordered[int(share * 14)]
        ids = torch.tensor([3, 0, 6, 3])
        assert torch.equal(bank.trusted(ids, share), peaks[ids] > threshold)
    assert not bank.trusted(torch.arange(7), 1.0).any()


@pytest.mark.parametrize("previous", [None, torch.arange(-1, 6)])
def test_labels_do_not_depend_on_how_the_pass_is_cut(previous: Tensor | None) -> None:
    images = color.normalise(film(7).expand(-1, 3, -1, -1) * torch.linspace(1, 0.5, 7).view(-1, 1, 1, 1))
    states = []
    for sizes in ([7], [1, 4, 2]):
        bank = LabelBank(7, 2, previous=previous)
        bank.fill_from(Brightness(), iter(batches(images, sizes)))
        states.append(bank.state_dict())
        assert set(states[-1]) == {"points", "rank"}
    assert torch.allclose(states[0]["points"], states[1]["points"], atol=1e-3)
    assert torch.equal(states[0]["rank"], states[1]["rank"])


def test_rows_that_nobody_saw_are_never_trusted_and_the_mode_of_the_net_stays() -> None:
    images, net = color.normalise(smooth(4)), Brightness()
    bank = LabelBank(5, 2)
    bank.fill_from(net, iter(batches(images, [4])))
    assert bank.trusted(torch.arange(5), 0.0).sum(1).tolist() == [2, 2, 2, 2, 0]
    assert net.training
    bank.fill_from(net.eval(), iter(()))
    assert not net.training
    assert not bank.trusted(torch.arange(5), 0.0).any()


def test_labels_in_a_mirrored_view_exchange_sides() -> None:
    bank = LabelBank(2, 3, pairs=((0, 2),))
    bank.points.copy_(torch.arange(12.0).view(2, 3, 2))
    plain = torch.eye(3).expand(2, 3, 3)
    mirror = affine.mirror(WIDTH, like=plain)
    view = View(images=torch.zeros(2, 3, HEIGHT, WIDTH), matrix=torch.stack((mirror, plain[0])))
    bank.rank.copy_(torch.tensor([[5, 4, 3], [2, 1, 0]]))
    found, trusted = bank.in_view(view, torch.tensor([1, 0]), 0.2)
    assert found[0].tolist() == [[63 - 10, 11], [63 - 8, 9], [63 - 6, 7]]
    assert torch.equal(found[1], bank.points[0])
    assert trusted.tolist() == [[False, False, True], [True, True, True]], "above the rank of 1"
