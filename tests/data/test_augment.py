from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from poseshift.data import augment
from poseshift.data.augment_config import NONE, AugmentConfig
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


def as_it_was(base: Tensor, config: AugmentConfig, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and matrices of one number a range, as they were drawn before there were other options."""
    signed = 2 * numbers - 1
    low, high = (math.log(value) for value in config.scale)
    scale = (low + numbers[:, 2] * (high - low)).exp()
    angle, shear = signed[:, 0] * math.radians(config.rotation), signed[:, 1] * math.radians(config.shear)
    about = affine.linear(
        affine.rotation_shear_scale(angle, shear, scale), centre=numbers.new_full((2,), (SIZE - 1) / 2)
    )
    matrix = affine.translation(signed[:, 3:5] * config.translation * SIZE) @ about
    margin = affine.translation(torch.full((len(base), 2), -float(MARGIN)))
    pictures = affine.warp(base.float().div_(255), matrix @ margin, (SIZE, SIZE))
    factor = (1 + signed[:, 5:6] * config.brightness) * (1 + signed[:, 6:9] * config.cast)
    pictures = pictures * factor.view(len(pictures), 3, 1, 1)
    grey = color.luma(pictures).mean((1, 2, 3), keepdim=True)
    pictures = grey + (pictures - grey) * (1 + signed[:, 9] * config.contrast).view(-1, 1, 1, 1)  # type: ignore[operator]
    grey = color.luma(pictures)
    pictures = grey + (pictures - grey) * (1 + signed[:, 10] * config.saturation).view(-1, 1, 1, 1)
    pictures = color.blur(pictures, numbers[:, 11] * config.blur, radius=3)  # type: ignore[operator]
    tile = torch.randn(3, 512, 512, generator=torch.Generator().manual_seed(0))
    across, down = ((numbers[:, column, None] * 512).long() + torch.arange(SIZE) for column in (12, 13))
    window = tile[:, (down % 512).unsqueeze(2), (across % 512).unsqueeze(1)].transpose(0, 1)
    pictures = pictures + window * (numbers[:, 14] * config.noise).view(-1, 1, 1, 1)  # type: ignore[operator]
    return color.normalise(pictures.clamp(0, 1)), matrix


@pytest.mark.parametrize("blur", [1.0, 2.0])
@pytest.mark.parametrize("step", [0, 7])
def test_a_view_without_the_newer_options_is_drawn_as_ever(blur: float, step: int) -> None:
    """Up to rounding: colours are changed in one pass, and resampled where a sum of a row and a column says."""
    config = AugmentConfig(cast=0.2, noise=0.1, blur=blur)
    view = augment.draw(noise(), config, draws(step=step), size=SIZE, stream="a")
    images, matrix = as_it_was(noise(), config, draws(step=step).per_sample("a", 16))
    assert torch.equal(view.matrix, matrix)
    torch.testing.assert_close(view.images, images, atol=2e-4, rtol=0)


def test_a_probability_leaves_each_change_out_on_its_own() -> None:
    count = 400
    base = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    options = {"brightness": 0.0, "saturation": 0.0, "probability": 0.5}
    config = AugmentConfig(contrast=(2.0, 2.0), **options)  # type: ignore[arg-type]
    view = augment.draw(base, config, draws(count=count, total=count), size=16, stream="a")
    still = (view.matrix - torch.eye(3)).abs().amax((1, 2)) == 0
    plain = augment.draw(base, config.model_copy(update={"contrast": 0.0}), draws(count=count, total=count), size=16,
                         stream="a")  # fmt: skip
    same = torch.tensor([torch.equal(one, other) for one, other in zip(view.images, plain.images, strict=True)])
    assert torch.equal(view.matrix, plain.matrix)
    for share in (still, same):
        assert 0.42 < share.float().mean() < 0.58
    assert 0.17 < (still & same).float().mean() < 0.33, "one is decided without the other"


def test_pairs_are_ranges_of_their_own() -> None:
    base = torch.full((300, 3, SIZE, SIZE), 128, dtype=torch.uint8)

    def strengths(**change: tuple[float, float]) -> Tensor:
        config = NONE.model_copy(update=change)
        view = augment.draw(base, config, draws(count=300, total=300), size=SIZE, stream="a")
        return color.denormalise(view.images).std((1, 2, 3))

    noisy = strengths(noise=(0.05, 0.1))
    assert 0.045 < noisy.min() < 0.055
    assert 0.09 < noisy.max() < 0.105
    base = noise(300, SIZE)
    still = strengths()
    contrasted = strengths(contrast=(0.25, 0.5)) / still
    assert 0.24 < contrasted.min() < 0.27
    assert 0.48 < contrasted.max() < 0.51
    assert (strengths(blur=(4.0, 5.0)) / still).max() < 0.15, "a wide kernel leaves little of noise"


def test_axes_are_scaled_on_their_own() -> None:
    config = AugmentConfig(rotation=0, shear=0, translation=0, scale=(0.5, 1.5), separate_axes=True)
    base = torch.zeros(1000, 3, 8, 8, dtype=torch.uint8)
    block = augment.draw(base, config, draws(count=1000, total=1000), size=8, stream="a").matrix[:, :2, :2]
    width, height = block[:, 0, 0], block[:, 1, 1]
    assert not block[:, 0, 1].any()
    assert not block[:, 1, 0].any()
    for factor in (width, height):
        assert 0.5 - 1e-5 <= factor.min() < 0.52
        assert 1.47 < factor.max() <= 1.5 + 1e-5
    assert torch.stack((width, height)).corrcoef()[0, 1].abs() < 0.1


def test_a_flip_mirrors_the_view_about_its_middle() -> None:
    base = noise()
    plain = augment.draw(base, GEOMETRY, draws(), size=SIZE, stream="a")
    view = augment.draw(base, GEOMETRY.model_copy(update={"flip": 0.5}), draws(), size=SIZE, stream="a")
    flipped = affine.mirrored(view.matrix)
    assert 0 < flipped.sum() < COUNT
    assert torch.equal(view.images[~flipped], plain.images[~flipped])
    assert torch.equal(view.matrix[~flipped], plain.matrix[~flipped])
    torch.testing.assert_close(view.images[flipped], plain.images[flipped].flip(-1), atol=2e-3, rtol=0)
    points = torch.rand(COUNT, 4, 2) * SIZE
    there, expected = affine.apply(view.matrix, points), affine.apply(plain.matrix, points)
    expected[flipped, :, 0] = SIZE - 1 - expected[flipped, :, 0]
    torch.testing.assert_close(there, expected, atol=1e-3, rtol=0)
    every = augment.draw(base, GEOMETRY.model_copy(update={"flip": 1.0}), draws(), size=SIZE, stream="a")
    assert affine.mirrored(every.matrix).all()


def test_several_views_at_once_are_those_of_each_alone() -> None:
    base = torch.randint(0, 256, (5, 3, SIZE + 8, SIZE + 8), dtype=torch.uint8)
    configs = {"a": AugmentConfig(cast=0.3, noise=0.1, blur=1.0), "b": AugmentConfig(flip=0.5, probability=0.6)}
    for (stream, config), found in zip(
        configs.items(), augment.draw_views(base, configs, draws(count=5, total=5), size=SIZE), strict=True
    ):
        alone = augment.draw(base, config, draws(count=5, total=5), size=SIZE, stream=stream)
        assert torch.equal(found.images, alone.images)
        assert torch.equal(found.matrix, alone.matrix)
