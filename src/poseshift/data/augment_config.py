"""Ranges that a view's geometry and colours are drawn from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def _range(least: float, most: float, *, above: bool = False) -> BeforeValidator:
    """One number, or two in order, within bounds; ``above``: the lower of two must be above ``least``."""

    def check(value: Any) -> Any:
        pair = isinstance(value, (list, tuple)) and len(value) == 2
        numbers = list(value) if pair else [value]
        if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers):
            raise ValueError("expected a number, or two as [low, high]")
        if not (least <= numbers[0] <= numbers[-1] <= most) or (above and pair and numbers[0] == least):
            raise ValueError(f"expected a number from {least:g} to {most:g}, or two such in order")
        return value

    return BeforeValidator(check)


Pair = tuple[float, float]


class AugmentConfig(BaseModel):
    """Ranges of one view; a range of 0 leaves that change out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation: float = Field(60.0, ge=0, le=180, description="Degrees, ±.")
    shear: float = Field(30.0, ge=0, lt=90, description="Degrees along x, ±.")
    translation: float = Field(0.05, ge=0, le=1, description="Fraction of the side, ±, along x and y.")
    scale: tuple[float, float] = Field((0.8, 1.3), description="Factor of the picture's size, drawn log-uniformly.")
    brightness: float = Field(0.25, ge=0, lt=1, description="Factor 1 ±.")
    contrast: Annotated[float | Pair, _range(0, 10, above=True)] = Field(
        0.25, description="Factor 1 ±, or two factors."
    )
    saturation: float = Field(0.25, ge=0, le=1, description="Factor 1 ±.")
    cast: float = Field(0.0, ge=0, lt=1, description="Factor 1 ± of each channel on its own.")
    noise: Annotated[float | Pair, _range(0, 1)] = Field(
        0.0, description="Largest standard deviation of Gaussian noise, or least and largest."
    )
    blur: Annotated[float | Pair, _range(0, 5)] = Field(
        0.0, description="Largest sigma of a Gaussian blur, pixels, or least and largest."
    )
    probability: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Of each change to be applied to an image: of geometry as one, of each other alone.",
    )
    flip: float = Field(0.0, ge=0, le=1, description="Probability of a mirrored view, left and right exchanged.")
    separate_axes: bool = Field(False, description="Width and height are scaled by a factor of `scale` each.")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {list(scale)}: expected 0 < low <= high")
        return scale

    @field_validator("contrast")
    @classmethod
    def _positive(cls, contrast: float | Pair) -> float | Pair:
        if isinstance(contrast, float) and contrast >= 1:
            raise ValueError("one number is a factor 1 ±, below 1; give two factors as [0.5, 2]")
        return contrast

    @property
    def by_chance(self) -> bool:
        """Whether anything but ranges is drawn."""
        return self.probability < 1 or self.flip > 0 or self.separate_axes


NONE = AugmentConfig(
    rotation=0,
    shear=0,
    translation=0,
    scale=(1.0, 1.0),
    brightness=0,
    contrast=0,
    saturation=0,
    cast=0,
    noise=0,
    blur=0,
)
