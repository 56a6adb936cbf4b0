"""Two looks at the same images."""

from __future__ import annotations

import numpy as np
import torch
from tests import tiny

from poseshift.data.augment_config import NONE, AugmentConfig
from poseshift.engine import observation, setup
from poseshift.engine.observation import Seen

CPU = torch.device("cpu")
POINTS = [(6 + 1.4 * k, 25 - 1.3 * k) for k in range(14)]


def look(views: AugmentConfig, *, rows: list[int] | None = None, student: tiny.Says | None = None) -> Seen:
    crops = setup.data_of(tiny.settings("multilevel")).target
    assert crops is not None
    net = tiny.Says(POINTS)
    chosen = list(range(12)) if rows is None else rows
    return observation.look(net, student or net, crops, chosen, views, seed=3, device=CPU)  # type: ignore[arg-type]


def test_without_augmentation_both_say_the_same() -> None:
    seen = look(NONE, rows=[1, 4, 7])
    assert seen.rows.tolist() == [1, 4, 7]
    np.testing.assert_allclose(seen.keypoints[2], POINTS, atol=0.02)
    np.testing.assert_allclose(seen.again, seen.keypoints, atol=1e-4)
    assert seen.agreed.all()
    assert seen.scores.shape == (3, 14)


def test_a_net_that_ignores_the_image_disagrees_with_itself() -> None:
    """It says the same of a turned view, which is another place once that is moved back."""
    seen = look(AugmentConfig(rotation=60, scale=(0.5, 1.5)))
    assert seen.agreed.mean() < 0.5
    again = look(AugmentConfig(rotation=60, scale=(0.5, 1.5)))
    np.testing.assert_array_equal(seen.again, again.again)
    np.testing.assert_allclose(seen.keypoints, np.broadcast_to(POINTS, (12, 14, 2)), atol=0.02)


def test_views_are_never_mirrored() -> None:
    """Points are compared: a mirrored view would exchange sides."""
    seen = look(NONE.model_copy(update={"flip": 1.0}))
    assert seen.agreed.all()


def test_agreement_is_within_a_twentieth_of_the_side() -> None:
    shifted = [(x + 1.5, y) for x, y in POINTS[:7]] + [(x + 1.8, y) for x, y in POINTS[7:]]
    seen = look(NONE, student=tiny.Says(shifted))
    assert seen.agreed[:, :7].all()  # 1.5 of 32 pixels, and 1.6 is the limit
    assert not seen.agreed[:, 7:].any()
