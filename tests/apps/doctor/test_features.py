from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from poseshift.apps.doctor import features
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.samples import Sample
from poseshift.errors import DataError, UsageError


def of(sample: Sample, pictures: list[np.ndarray]) -> Sample:
    """A sample of these pictures, all of one square size."""
    side, count = pictures[0].shape[0], len(pictures)
    windows = np.tile(np.array([0, 0, side, side]), (count, 1))
    return replace(sample, crops=np.stack(pictures).astype(np.uint8), windows=windows, rows=sample.rows[:count])


def described(sample: Sample, part: str) -> np.ndarray:
    found = features.handmade(sample)
    return found.values[:, [name == part for name in found.parts]]


def test_a_plain_picture(healthy: Examination) -> None:
    plain = np.full((64, 64, 3), (51, 102, 204), np.uint8)
    sample = of(healthy.source, [plain])
    colour = described(sample, "colour")[0]
    np.testing.assert_allclose(colour[:3], [0.2, 0.4, 0.8], atol=1e-6)
    np.testing.assert_allclose(colour[3:], 0, atol=1e-3)
    for part in ("fine texture", "coarse structure"):
        steps = described(sample, part).reshape(2, 4)
        np.testing.assert_allclose(steps[:, [0, 3]], np.log(features.FLOOR), atol=1e-4)
        np.testing.assert_allclose(steps[:, [1, 2]], 0, atol=1e-3)
    np.testing.assert_allclose(described(sample, "layout"), 0, atol=1e-6)


def test_stripes_have_a_direction_and_a_scale(healthy: Examination) -> None:
    """Columns of black and white, two wide: steps at every second column, and none once squares of 4 are averaged."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, np.arange(64) % 4 < 2] = 255
    sample = of(healthy.source, [stripes, stripes.transpose(1, 0, 2)])
    fine = described(sample, "fine texture").reshape(2, 2, 4)
    np.testing.assert_allclose(fine[:, 0, 2], [1, -1], atol=1e-4)
    mean = 31 / 63
    np.testing.assert_allclose(fine[:, 0, 0], np.log(mean + features.FLOOR), atol=1e-4)
    np.testing.assert_allclose(
        fine[:, 0, 1], np.log((np.sqrt(mean) + features.FLOOR) / (mean + features.FLOOR)), atol=1e-4
    )
    np.testing.assert_allclose(described(sample, "coarse structure")[:, 0], np.log(features.FLOOR), atol=1e-4)


def test_what_lies_outside_the_image_is_left_out(healthy: Examination) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    barred = picture.copy()
    barred[:16], barred[48:] = 0, 0
    sample = of(healthy.source, [picture, barred])
    windows = sample.windows.copy()
    windows[:, 1], windows[:, 3] = 16, 48
    found = features.handmade(replace(sample, windows=windows)).values
    np.testing.assert_array_equal(found[0], found[1])


def test_a_sliver_of_an_image_is_described_too(healthy: Examination) -> None:
    sample = of(healthy.source, [np.full((64, 64, 3), 9, np.uint8)])
    windows = np.array([[0, 31, 64, 32]])
    assert np.isfinite(features.handmade(replace(sample, windows=windows)).values).all()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(timm.create_model("mobilenetv2_035").state_dict(), file)
    return file


def test_features_of_a_net(healthy: Examination, weights: Path) -> None:
    sample = of(healthy.source, list(healthy.source.crops[:3]))
    network = features.network("mobilenetv2_035", str(weights))
    first, second = network(sample), network(sample)
    assert first.values.shape == (3, len(first.parts))
    assert list(dict.fromkeys(first.parts)) == [f"stage {stage}" for stage in range(1, 6)]
    assert first.name == "mobilenetv2_035, weights net.safetensors"
    np.testing.assert_array_equal(first.values, second.values)
    assert np.ptp(first.values, axis=0).max() > 0, "pictures differ, and so do their features"


def test_weights_that_do_not_fit(weights: Path) -> None:
    with pytest.raises(UsageError, match="has no weights to load"):
        features.network("small", str(weights))
    with pytest.raises(DataError, match=r"has shape .* expected"):
        features.network("mobilenetv2_050", str(weights))
