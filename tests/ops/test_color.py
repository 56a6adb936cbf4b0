from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from poseshift.ops import color

PICTURES = torch.rand(3, 3, 11, 17, generator=torch.Generator().manual_seed(0))
FACTOR = torch.tensor([0.5, 1.0, 1.7])


def test_normalise_is_imagenets_and_comes_back() -> None:
    normalised = color.normalise(PICTURES)
    expected = (PICTURES[1, 2, 4, 5] - 0.406) / 0.225
    torch.testing.assert_close(normalised[1, 2, 4, 5], expected)
    torch.testing.assert_close(color.denormalise(normalised), PICTURES, atol=1e-6, rtol=0)


def test_clamp_cuts_to_what_a_picture_can_give() -> None:
    images = torch.randn(2, 3, 7, 9) * 10
    pictures = color.denormalise(color.clamp_normalised(images))
    assert pictures.min() > -1e-6
    assert pictures.max() < 1 + 1e-6
    valid = color.normalise(PICTURES)
    torch.testing.assert_close(color.clamp_normalised(valid), valid, atol=1e-5, rtol=0)


def slow_grey(picture: torch.Tensor) -> torch.Tensor:
    return 0.299 * picture[0] + 0.587 * picture[1] + 0.114 * picture[2]


def test_clamping_in_place_is_the_same() -> None:
    images = torch.randn(2, 3, 7, 9) * 10
    expected = color.clamp_normalised(images)
    color.clamp_normalised_(images)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)


def test_brightness_a_channel() -> None:
    cast = torch.rand(3, 3)
    found = color.recolour(PICTURES, color.brightness(cast))
    torch.testing.assert_close(found, PICTURES * cast[:, :, None, None])


def test_contrast_and_saturation_against_slow_formulas() -> None:
    means = PICTURES.mean((2, 3))
    contrast = color.recolour(
        PICTURES, color.contrast(FACTOR, (means * color.grey_weights(color.unchanged(means))).sum(1))
    )
    saturation = color.recolour(PICTURES, color.saturation(FACTOR))
    for b in range(3):
        grey = slow_grey(PICTURES[b])
        torch.testing.assert_close(contrast[b], FACTOR[b] * PICTURES[b] + (1 - FACTOR[b]) * grey.mean())
        torch.testing.assert_close(saturation[b], FACTOR[b] * PICTURES[b] + (1 - FACTOR[b]) * grey)


def test_changes_in_turn_are_their_product() -> None:
    """The mean grey value that contrast needs is known without the pictures in between."""
    first, second = color.brightness(torch.rand(3, 3)), color.saturation(FACTOR)
    in_turn = color.recolour(color.recolour(PICTURES, first), second)
    torch.testing.assert_close(color.recolour(PICTURES, second @ first), in_turn)
    grey = (color.grey_weights(second @ first) * PICTURES.mean((2, 3))).sum(1)
    torch.testing.assert_close(grey, color.luma(in_turn).mean((1, 2, 3)))


def test_normalising_as_a_change_and_into_a_tensor() -> None:
    out = torch.zeros(3, 3, 11, 17)
    change = color.normalising(color.unchanged(PICTURES.mean((2, 3))))
    assert color.recolour(PICTURES, change, out=out) is out
    other = color.recolour(PICTURES, change, offset=torch.full((3, 3, 1), 5.0))
    torch.testing.assert_close(other, out - change[:, :3, 3].view(3, 3, 1, 1) + 5.0)
    torch.testing.assert_close(out, color.normalise(PICTURES), atol=1e-5, rtol=1e-5)


def test_saturation_zero_is_grey() -> None:
    found = color.recolour(PICTURES, color.saturation(torch.zeros(3)))
    torch.testing.assert_close(found, color.luma(PICTURES).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("radius", [2, 3])
def test_blur_agrees_with_scipy(radius: int) -> None:
    sigma = torch.tensor([0.4, 0.9, 1.6])
    found = color.blur(PICTURES, sigma, radius=radius)
    assert found.shape == PICTURES.shape
    for b in range(3):
        for c in range(3):
            slow = ndimage.gaussian_filter(
                PICTURES[b, c].double().numpy(), sigma[b].item(), mode="mirror", radius=radius
            )
            np.testing.assert_allclose(found[b, c].numpy(), slow, atol=1e-6)


def test_blur_of_zero_leaves_the_picture() -> None:
    torch.testing.assert_close(color.blur(PICTURES, torch.zeros(3), radius=3), PICTURES)
