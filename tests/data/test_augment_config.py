from __future__ import annotations

import pytest
from pydantic import ValidationError

from poseshift.data.augment_config import AugmentConfig


@pytest.mark.parametrize(
    "change",
    [
        *({"contrast": wrong} for wrong in (1.0, -0.1, (0.0, 1.0), (2, 0.5), (1, 2, 3), "half", True)),
        *({"noise": wrong} for wrong in (1.5, (0.5, 0.2), (-0.1, 0.2))),
        *[{"blur": (1, 6)}, {"flip": 1.5}, {"probability": 0}, {"separate_axes": "sideways"}],
    ],
    ids=str,
)
def test_newer_options_are_strict_too(change: dict) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**change)


@pytest.mark.parametrize(
    "change", [{"scale": (1.3, 0.6)}, {"scale": (0.0, 1.0)}, {"rotation": 200}, {"rotate": 3}, {"noise": -0.1}]
)
def test_configuration_is_strict(change: dict) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**change)
