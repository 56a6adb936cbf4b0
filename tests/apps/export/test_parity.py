import numpy as np
import pytest
from tests import tiny

from poseshift.apps.export import parity
from poseshift.apps.export.parity import Truth, compare
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine.calibration import Calibration
from poseshift.errors import DataError, ExportError
from poseshift.types import ByteArray, FloatArray

RNG = np.random.default_rng(0)
REGIONS = np.array([[-0.5, -0.5, 63.5, 63.5], [10, -20, 42, 12], [3, 4, 4003, 4004]], np.float32)
KNOWN = Truth(
    rows=[0, 1, 2],
    images=RNG.integers(0, 255, (3, 32, 32, 3), dtype=np.uint8),
    regions=REGIONS,
    keypoints=RNG.uniform(0, 32, (3, 5, 2)).astype(np.float32),
    scores=RNG.uniform(0, 1, (3, 5)).astype(np.float32),
)


def model(*, shift: float = 0.0, score: float = 0.0, ignores_regions: bool = False, alone: float = 0.0) -> parity.Model:
    """Says the truth but for what is given, in pixels of the crop."""

    def says(crops: ByteArray, regions: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        count = len(crops)
        inside = KNOWN.keypoints[:count].copy()
        inside[0, 3, 1] += shift + (alone if count == 1 else 0.0)
        scores = KNOWN.scores[:count].copy()
        scores[0, 2] += score
        if regions is None or ignores_regions:
            return inside, scores
        factor = (regions[:, 2] - regions[:, 0])[:, None, None] / 32
        return ((inside + 0.5) * factor + regions[:, None, :2]).astype(np.float32), scores

    return says


def test_what_agrees_passes_and_says_by_how_much() -> None:
    found = compare(model(shift=5e-4, score=5e-6), KNOWN, what="pictures")
    assert found.images == 3
    assert found.shift == pytest.approx(5e-4, abs=5e-5)
    assert found.score == pytest.approx(5e-6, abs=1e-7)


@pytest.mark.parametrize(
    "wrong", [{"shift": 2e-3}, {"score": 2e-5}, {"shift": np.nan}, {"ignores_regions": True}, {"alone": 2e-3}]
)
def test_what_differs_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ExportError, match=r"differs from torch .* on 3 pictures; nothing was written"):
        compare(model(**wrong), KNOWN, what="pictures")  # type: ignore[arg-type]


CALIBRATION = Calibration(slope=0.5, intercept=-1.0, shift=-0.7, held="source", right_source=0.5, agreement_source=0.9)


def crops(limit: int) -> Crops:
    return Crops(sources.read(tiny.TARGET, limit=limit), CropConfig(boxes="whole"), size=32)


def test_the_truth_is_what_predict_says_of_what_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [(6 + 1.4 * k, 25 - 1.3 * k) for k in range(14)]
    shown = crops(4)
    read = Crops._decode

    def broken(self: Crops, row: int) -> object:
        if row == 1:
            raise DataError("does not decode")
        return read(self, row)

    monkeypatch.setattr(Crops, "_decode", broken)
    known = parity.truth(tiny.Says(points), shown, flip_index=None, calibration=CALIBRATION)
    assert known.rows == [0, 2, 3]
    assert known.images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(known.images[1], shown[2].pixels)
    np.testing.assert_array_equal(known.regions, shown.regions[[0, 2, 3]])
    np.testing.assert_allclose(known.keypoints, np.broadcast_to(points, (3, 14, 2)), atol=0.01)
    raw = parity.truth(tiny.Says(points), shown, flip_index=None, calibration=None).scores
    np.testing.assert_allclose(known.scores, CALIBRATION(raw))
    half = known.part(slice(1, None, 2))
    assert (half.rows, len(half.images), len(half.scores)) == ([2], 1, 1)


def test_nothing_that_decodes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Crops, row: int) -> object:
        raise DataError("does not decode")

    shown = crops(2)
    monkeypatch.setattr(Crops, "_decode", broken)
    with pytest.raises(DataError, match="decode"):
        parity.truth(tiny.Says([(1, 1)] * 14), shown, flip_index=None, calibration=None)
