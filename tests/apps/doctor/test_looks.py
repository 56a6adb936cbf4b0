from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from poseshift.apps.doctor import looks
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.features import LUMA
from poseshift.apps.doctor.looks import LOOKS, Look
from poseshift.apps.doctor.samples import Sample
from poseshift.data.augment_config import NONE, AugmentConfig

RNG = np.random.default_rng(0)


def look(picture: np.ndarray, name: str) -> float:
    return float(looks.looks(picture.astype(np.float32))[LOOKS.index(name)])


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def test_a_plain_colour() -> None:
    red, green, blue = 0.6, 0.3, 0.2
    picture = np.full((32, 32, 3), (red, green, blue))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert look(picture, "brightness") == pytest.approx(luma, abs=1e-5)
    assert look(picture, "contrast") == pytest.approx(0, abs=1e-5)
    away = np.sqrt(np.mean([(c - luma) ** 2 for c in (red, green, blue)]))
    assert look(picture, "saturation") == pytest.approx(away, abs=1e-5)
    assert look(picture, "warmth") == pytest.approx(np.log2(red / blue), abs=0.02)
    assert look(picture, "tint") == pytest.approx(np.log2(green / np.sqrt(red * blue)), abs=0.02)
    assert (look(picture, "sharpness"), look(picture, "grain")) == (0, 0)


def test_grey_has_no_colour() -> None:
    picture = grey(RNG.random((32, 32)))
    assert [look(picture, name) for name in ("saturation", "warmth", "tint")] == [0, 0, 0]


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_grain_is_the_deviation_of_the_noise(sigma: float) -> None:
    slope = np.linspace(0.2, 0.8, 96)[None].repeat(96, 0)
    noise = RNG.normal(0, sigma, (96, 96))
    assert look(grey(slope + noise), "grain") == pytest.approx(sigma, rel=0.06)
    assert look(grey(slope), "grain") == pytest.approx(0, abs=1e-6)


def steps() -> list[np.ndarray]:
    """A step edge at each of its four places within squares of four pixels."""
    return [np.where(np.arange(64)[None] < 32 + place, 0.2, 0.8).repeat(64, 0) for place in range(4)]


def test_sharpness_is_one_for_steps_and_falls_with_blur() -> None:
    found = [
        np.mean([look(grey(gaussian_filter(step, sigma) if sigma else step), "sharpness") for step in steps()])
        for sigma in (0, 0.7, 1.5, 3)
    ]
    assert found[0] == pytest.approx(1, abs=0.07)
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.3


def test_sharpness_knows_neither_contrast_nor_noise() -> None:
    texture = gaussian_filter(RNG.random((128, 128)), 1.2)
    texture = (texture - texture.min()) / np.ptp(texture)
    plain = look(grey(texture), "sharpness")
    assert look(grey(0.3 + 0.4 * texture), "sharpness") == pytest.approx(plain, rel=0.06)
    noisy = texture + RNG.normal(0, 0.1, texture.shape)
    assert look(grey(noisy), "sharpness") < 1.5 * plain


def shaded(sample: Sample, factor: float) -> Sample:
    return replace(sample, crops=(sample.crops * factor).astype(np.uint8))


def compared(healthy: Examination, target: Sample, config: AugmentConfig) -> dict[str, Look]:
    return {found.name: found for found in looks.compare(healthy.source, target, config, seed=0)}


def test_nothing_differs_between_two_draws(healthy: Examination) -> None:
    for found in compared(healthy, healthy.target, AugmentConfig(noise=0.1, blur=1)).values():
        assert found.setting is None
        assert max(found.below, found.above) < 0.3


def test_a_darker_target_and_the_range_that_covers_it(healthy: Examination) -> None:
    config = AugmentConfig(brightness=0.2)
    dark = shaded(healthy.target, 0.25)
    found = compared(healthy, dark, config)["brightness"]
    assert found.below > 0.9
    assert found.above == 0
    assert found.knob == "brightness"
    assert found.setting is not None
    assert found.setting > 0.2
    wider = compared(healthy, dark, config.model_copy(update={"brightness": found.setting}))["brightness"]
    assert wider.below < 0.5
    assert wider.setting is None


def test_what_no_range_reaches(healthy: Examination) -> None:
    found = compared(healthy, shaded(healthy.target, 0.0), NONE)
    assert found["brightness"].below == 1
    assert found["brightness"].setting is None


def test_augmentation_moves_what_it_says(healthy: Examination) -> None:
    plain = looks.of_augmented(healthy.source, NONE, seed=0)
    own = looks.of_sample(healthy.source)
    np.testing.assert_allclose(plain, own, atol=0.02)
    for name, knob, sign in (("grain", "noise", 1), ("sharpness", "blur", -1)):
        drawn = looks.of_augmented(
            healthy.source, NONE.model_copy(update={knob: 0.3 if knob == "noise" else 2}), seed=0
        )
        column = LOOKS.index(name)
        assert sign * (np.median(drawn[:, column]) - np.median(own[:, column])) > 0, name


def test_published_ranges_are_pairs_and_chances(healthy: Examination) -> None:
    """Geometry is left out, mirroring too; a pair of factors reaches as far as its further end."""
    config = AugmentConfig(contrast=(0.5, 2.0), noise=(0.1, 0.1), blur=(1.0, 2.0), flip=1.0, separate_axes=True)
    drawn = looks.of_augmented(healthy.source, config, seed=0)
    # noise of each channel on its own: what of it is left in the luma
    assert np.median(drawn[:, LOOKS.index("grain")]) == pytest.approx(0.1 * np.linalg.norm(LUMA), rel=0.1)
    assert [looks._reach(config, knob) for knob in ("contrast", "noise", "blur", "brightness")] == [1.0, 0.1, 2.0, 0.25]
    found = compared(healthy, shaded(healthy.target, 0.0), config)
    assert found["contrast"].setting is None


def test_a_mirrored_view_has_the_looks_of_the_plain_one(healthy: Examination) -> None:
    windows = healthy.source.windows.copy()
    windows[:, 0] = 40
    narrow = replace(healthy.source, windows=windows)
    mirrored = looks.of_augmented(narrow, NONE.model_copy(update={"flip": 1.0}), seed=0)
    np.testing.assert_array_equal(mirrored, looks.of_augmented(narrow, NONE, seed=0))
