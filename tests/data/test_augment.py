from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from poseshift.data import augment
from poseshift.data.augment import NONE, AugmentConfig
from poseshift.draws import Draws
from poseshift.ops import affine, color

SIZE, MARGIN, COUNT = 64, 16, 12


def draws(*, seed: int = 1, step: int = 0, start: int = 0, count: int = COUNT, total: int = COUNT) -> Draws:
    return Draws(seed=seed, step=step, start=start, count=count, total=total, device=torch.device("cpu"))


def noise(count: int = COUNT, side: int = SIZE + 2 * MARGIN) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def dots(points: Tensor) -> Tensor:
    """Base crops with a bright blob at each canonical point (``B×2``)."""
    at = torch.arange(SIZE + 2 * MARGIN, dtype=torch.float32) - MARGIN
    columns = torch.exp(-(at - points[:, :1]).square() / 8)
    rows = torch.exp(-(at - points[:, 1:]).square() / 8)
    blob = rows.unsqueeze(2) * columns.unsqueeze(1)
    return (blob * 255).round().to(torch.uint8).unsqueeze(1).expand(-1, 3, -1, -1)


GEOMETRY = AugmentConfig(brightness=0, contrast=0, saturation=0)


def test_the_matrix_maps_canonical_points_to_view_points() -> None:
    points = 20 + 24 * torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(2))
    view = augment.draw(dots(points), GEOMETRY, draws(), size=SIZE, stream="a")
    assert view.images.shape == (COUNT, 3, SIZE, SIZE)
    expected = affine.apply(view.matrix, points.unsqueeze(1)).squeeze(1)
    inside = ((expected > 10) & (expected < SIZE - 11)).all(1)
    assert inside.sum() >= 6
    grey = color.denormalise(view.images).mean(1)
    axis = torch.arange(SIZE, dtype=torch.float32)
    found = torch.stack(((grey.sum(1) * axis).sum(1), (grey.sum(2) * axis).sum(1)), 1) / grey.sum((1, 2)).unsqueeze(1)
    assert (found - expected)[inside].norm(dim=1).max() < 0.1
    assert (points - expected)[inside].norm(dim=1).max() > 5, "the views are not the canonical frame"


def test_none_is_the_canonical_frame() -> None:
    base = noise()
    view = augment.draw(base, NONE, draws(), size=SIZE, stream="a")
    plain = augment.plain(base, size=SIZE)
    middle = color.normalise(base[..., MARGIN:-MARGIN, MARGIN:-MARGIN] / 255)
    torch.testing.assert_close(plain.images, middle)
    torch.testing.assert_close(view.images, middle, atol=1e-3, rtol=0)
    for matrix in (view.matrix, plain.matrix):
        torch.testing.assert_close(matrix, affine.identity(COUNT, like=matrix), atol=1e-5, rtol=0)


def test_the_base_crop_is_left_alone() -> None:
    base = noise()
    before = base.clone()
    augment.draw(base, AugmentConfig(cast=0.3, noise=0.1, blur=1.0), draws(), size=SIZE, stream="a")
    assert torch.equal(base, before)


def parameters(config: AugmentConfig, count: int = 2000) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Degrees of rotation and shear, scale and shift (``B×2``, fractions of the side) read off the matrices."""
    base = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    matrix = augment.draw(base, config, draws(count=count, total=count), size=8, stream="a").matrix
    block = matrix[:, :2, :2]
    angle = torch.atan2(block[:, 1, 0], block[:, 0, 0])
    scale = block[:, :, 0].norm(dim=1)
    back = torch.stack((angle.cos(), angle.sin(), -angle.sin(), angle.cos()), 1).view(-1, 2, 2) / scale.view(-1, 1, 1)
    shear = (back @ block)[:, 0, 1].atan()
    centre = torch.full((count, 1, 2), 3.5)
    shift = (affine.apply(matrix, centre) - centre).squeeze(1) / 8
    return angle.rad2deg(), shear.rad2deg(), scale, shift


def test_geometry_stays_in_its_ranges_and_fills_them() -> None:
    config = AugmentConfig(rotation=60, shear=30, translation=0.05, scale=(0.6, 1.3))
    angle, shear, scale, shift = parameters(config)
    for values, low, high in ((angle, -60, 60), (shear, -30, 30), (scale, 0.6, 1.3), (shift, -0.05, 0.05)):
        span = high - low
        assert low - 1e-4 * span <= values.min() <= low + 0.02 * span
        assert high - 0.02 * span <= values.max() <= high + 1e-4 * span
    assert scale.log().mean().item() == pytest.approx((math.log(0.6) + math.log(1.3)) / 2, abs=0.02)
    together = torch.stack((angle, shear, scale, shift[:, 0], shift[:, 1])).corrcoef()
    assert (together - torch.eye(5)).abs().max() < 0.1, "each number is drawn on its own"


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [({"brightness": 0.25}, 0.75, 1.25), ({"cast": 0.4}, 0.6, 1.4), ({"brightness": 0.1, "cast": 0.2}, 0.72, 1.32)],
)
def test_brightness_and_cast_stay_in_their_ranges(change: dict[str, float], low: float, high: float) -> None:
    base = torch.full((500, 3, 8, 8), 100, dtype=torch.uint8)
    config = NONE.model_copy(update=change)
    view = augment.draw(base, config, draws(count=500, total=500), size=4, stream="a")
    factor = color.denormalise(view.images).mean((2, 3)) * 2.55
    assert low - 1e-3 <= factor.min() < low + 0.1
    assert high - 0.1 < factor.max() <= high + 1e-3
    assert (factor.std(1) > 1e-4).any() == ("cast" in change), "only a cast changes the hue of grey"


def test_contrast_saturation_and_blur_change_what_they_say() -> None:
    base = noise()
    canonical = base[..., MARGIN:-MARGIN, MARGIN:-MARGIN] / 255

    def pictures(**change: float) -> Tensor:
        return color.denormalise(
            augment.draw(base, NONE.model_copy(update=change), draws(), size=SIZE, stream="a").images
        )

    grey = pictures(saturation=1.0)
    spread = grey.std(1).mean((1, 2)) / canonical.std(1).mean((1, 2))
    assert spread.min() < 0.5
    contrast = pictures(contrast=0.5).std((1, 2, 3)) / canonical.std((1, 2, 3))
    assert contrast.min() < 0.8
    blurred = pictures(blur=2.0).std((1, 2, 3)) / canonical.std((1, 2, 3))
    assert blurred.max() <= 1.001
    assert blurred.min() < 0.5


def test_noise_has_the_stated_strength_and_pictures_stay_valid() -> None:
    base = torch.full((200, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    config = NONE.model_copy(update={"noise": 0.1})
    view = augment.draw(base, config, draws(count=200, total=200), size=SIZE, stream="a")
    pictures = color.denormalise(view.images)
    strength = pictures.std((1, 2, 3))
    assert 0.09 < strength.max() < 0.105
    assert strength.min() < 0.01
    assert (pictures[0] - pictures[1]).std() > 1e-3
    loud = augment.draw(noise(), NONE.model_copy(update={"noise": 1.0}), draws(), size=SIZE, stream="a")
    found = color.denormalise(loud.images)
    assert found.min() > -1e-5
    assert found.max() < 1 + 1e-5


FULL = AugmentConfig(cast=0.2, noise=0.1, blur=1.0)


def test_a_view_is_a_function_of_seed_step_position_and_stream() -> None:
    base = noise()
    view = augment.draw(base, FULL, draws(), size=SIZE, stream="a")
    again = augment.draw(base, FULL, draws(), size=SIZE, stream="a")
    assert torch.equal(view.images, again.images)
    for start in (0, 6):
        half = augment.draw(base[start : start + 6], FULL, draws(start=start, count=6), size=SIZE, stream="a")
        torch.testing.assert_close(half.images, view.images[start : start + 6], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(half.matrix, view.matrix[start : start + 6])
    for other in (draws(seed=2), draws(step=1)):
        assert not torch.allclose(augment.draw(base, FULL, other, size=SIZE, stream="a").matrix, view.matrix)
    assert not torch.allclose(augment.draw(base, FULL, draws(), size=SIZE, stream="b").matrix, view.matrix)


@pytest.mark.parametrize(
    "change", [{"scale": (1.3, 0.6)}, {"scale": (0.0, 1.0)}, {"rotation": 200}, {"rotate": 3}, {"noise": -0.1}]
)
def test_configuration_is_strict(change: dict) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**change)
