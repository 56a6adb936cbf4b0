from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from poseshift.models.ensemble import ensemble
from poseshift.ops import color

HEIGHT, WIDTH = 48, 64


def brightness(images: Tensor) -> Tensor:
    """Heatmaps that are the red and the green channel, four pixels a cell."""
    return nn.functional.avg_pool2d(color.denormalise(images)[:, :2], 4)


def smooth(count: int, seed: int = 0) -> Tensor:
    """Pictures ``count×3×H×W`` in [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, HEIGHT, WIDTH))
    blurred = ndimage.gaussian_filter(noise, (0, 0, 3, 3))
    return torch.from_numpy(0.5 + 0.2 * blurred / blurred.std()).clamp(0, 1).float()


def value(picture: np.ndarray, x: float, y: float) -> float:
    """Bilinear value at a place, 0 outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]:
                total += picture[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def slow_ensemble(picture: np.ndarray) -> np.ndarray:
    """One channel of the ensemble of :func:`brightness`, place by place from the definition."""
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
    found = ensemble(brightness, color.normalise(pictures), stride=4)
    for channel in (0, 1):
        expected = slow_ensemble(pictures[1, channel].double().numpy())
        assert found[1, channel].numpy() == pytest.approx(expected, abs=1e-4)


def test_an_ensemble_finds_what_it_should() -> None:
    """A bright spot stays where it is, whatever the views do, and one that a view loses is worth less."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    spots = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 60.0) for a, b in ((40, 20), (3, 3))]
    pictures = torch.stack((*spots, spots[0]))[None]
    maps = ensemble(brightness, color.normalise(pictures), stride=4)[0]
    inside, corner = maps
    assert divmod(int(inside.argmax()), WIDTH // 4) == (5, 10)
    assert corner.max() < 0.7 * inside.max()


def test_another_net_may_look_at_the_plain_view() -> None:
    images = color.normalise(smooth(2))
    whole, wide = ensemble(brightness, images, stride=4), ((30.0, 0.75), (-30.0, 1.25))
    assert torch.equal(ensemble(brightness, images, stride=4, wide=()), brightness(images))
    of_wide = 3 * ensemble(brightness, images, stride=4, wide=wide) - brightness(images)
    other = ensemble(brightness, images, stride=4, wide=wide, first=lambda shown: torch.zeros(2, 2, 12, 16))
    torch.testing.assert_close(3 * other, of_wide, atol=1e-5, rtol=0)
    assert not torch.allclose(whole, brightness(images), atol=1e-2)
