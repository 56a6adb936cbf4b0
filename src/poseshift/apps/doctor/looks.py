"""How the pictures of a domain look, in a few numbers with names, and what augmentation makes of the source's.

Measured on what a crop shows of its image, in RGB from 0 to 1. ``sharpness`` compares squared gradients over one pixel
with those over four, both less what grain gives to them: about 1 for edges that lie between two pixels, towards a sixth
for edges wider than eight. ``grain`` is the standard deviation of Gaussian noise in the luma that would give the median
response to a filter that no straight edge and no slope excites: noise, or texture as fine as a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from poseshift.apps.doctor.features import grey, shrink
from poseshift.apps.doctor.samples import Sample
from poseshift.data import augment
from poseshift.data.augment_config import AugmentConfig
from poseshift.draws import Draws
from poseshift.ops import color
from poseshift.types import FloatArray

LOOKS = ("brightness", "contrast", "saturation", "warmth", "tint", "sharpness", "grain")
"""Columns of what :func:`looks` gives. ``warmth``: red over blue, ``tint``: green over both, powers of two."""
LOW, HIGH = 5.0, 95.0
"""Percentiles of the source, plain and augmented, between which a look counts as covered."""
LEVEL = 1 / 255
COARSE, STEP = 4, 2.75
"""Pixels of the coarse gradient, and what makes a step edge 1 in the mean over its four places within them."""
MOST = 200
"""Source crops that are augmented: the 5th percentile of 200 is known to about ±3 percentiles."""
STILL = {"rotation": 0.0, "shear": 0.0, "translation": 0.0, "scale": (1.0, 1.0), "separate_axes": False, "flip": 0.0}
"""An augmentation that moves nothing, so that a crop's window stays where it is."""
LADDERS: dict[str, tuple[str, tuple[float, ...]]] = {
    "brightness": ("brightness", (0.5, 0.6, 0.7, 0.8, 0.9)),
    "contrast": ("contrast", (0.5, 0.6, 0.7, 0.8, 0.9)),
    "saturation": ("saturation", (0.6, 0.8, 1.0)),
    "warmth": ("cast", (0.1, 0.2, 0.3, 0.4, 0.5)),
    "tint": ("cast", (0.1, 0.2, 0.3, 0.4, 0.5)),
    "sharpness": ("blur", (0.5, 1.0, 1.5, 2.0)),
    "grain": ("noise", (0.05, 0.1, 0.2, 0.3)),
}
"""Which range of the augmentation moves a look, and the values that are tried."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """One look in both domains.

    Attributes:
        name: One of :data:`LOOKS`.
        source: ``n`` values.
        augmented: Of augmented source crops.
        target: ``m`` values.
        low: The lower fifth percentile of ``source`` and ``augmented``. ``high``: the higher 95th.
        below: Share of the target below ``low``. ``above``: above ``high``; 0.05 each where domains are alike.
        knob: Range of the augmentation that moves it.
        setting: Least of the tried values of that range that brings the target's median between the percentiles of
            the source so augmented; None where none does, or none is needed.
    """

    name: str
    source: FloatArray
    augmented: FloatArray
    target: FloatArray
    low: float
    high: float
    below: float
    above: float
    knob: str
    setting: float | None


def looks(pixels: FloatArray) -> FloatArray:
    """The values of :data:`LOOKS` for one picture ``h×w×3`` in 0..1."""
    luma = grey(pixels)
    means = pixels.mean((0, 1), dtype=np.float64) + LEVEL
    colourful = np.sqrt(np.square(pixels - luma[..., None]).mean())
    grain = _grain(luma)
    values = [
        luma.mean(),
        luma.std(),
        colourful,
        np.log2(means[0] / means[2]),
        np.log2(means[1] ** 2 / (means[0] * means[2])) / 2,
        _sharpness(luma, grain),
        grain,
    ]
    return np.round(np.array(values, np.float64), 6).astype(np.float32)  # grey is grey, not 1e-8


def _grain(luma: FloatArray) -> float:
    """From the median response to (1 −2 1) across and down, whose norm is 6 (Immerkær 1996 takes the mean)."""
    if min(luma.shape) < 3:
        return 0.0
    response = np.diff(np.diff(luma, 2, axis=0), 2, axis=1)
    return float(np.median(np.abs(response)) / (0.6745 * 6))


def _sharpness(luma: FloatArray, grain: float) -> float:
    fine, coarse = _squared_steps(luma), _squared_steps(shrink(luma, COARSE))
    noise = 4 * grain**2
    fine, coarse = fine - noise, coarse - noise / COARSE**2
    if coarse <= 2 * LEVEL**2:
        return 0.0  # nothing in it has an edge
    return float(np.clip(STEP * fine / coarse, 0, 2))


def _squared_steps(luma: FloatArray) -> float:
    if min(luma.shape) < 2:
        return 0.0
    return float(np.square(np.diff(luma, axis=0)).mean() + np.square(np.diff(luma, axis=1)).mean())


def of_sample(sample: Sample) -> FloatArray:
    """``n×7`` looks."""
    return np.stack(
        [looks((sample.pixels(number) / np.float32(255)).astype(np.float32)) for number in range(len(sample))]
    )


def of_augmented(sample: Sample, config: AugmentConfig, *, seed: int) -> FloatArray:
    """Looks of one augmented view of each of at most 200 crops, without the change of geometry."""
    rows = np.linspace(0, len(sample) - 1, min(MOST, len(sample))).round().astype(np.int64)
    still = config.model_copy(update=STILL)
    base = torch.from_numpy(sample.crops[rows]).permute(0, 3, 1, 2)
    draws = Draws(seed=seed, step=0, start=0, count=len(rows), total=len(rows), device=torch.device("cpu"))
    views = augment.draw(base, still, draws, size=base.shape[-1], stream="doctor views").images
    pictures = color.denormalise(views).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    windows = sample.windows[rows].tolist()
    return np.stack([looks(one[y0:y1, x0:x1]) for one, (x0, y0, x1, y1) in zip(pictures, windows, strict=True)])


def compare(source: Sample, target: Sample, config: AugmentConfig, *, seed: int) -> tuple[Look, ...]:
    """Each look of both domains, and what of the target augmentation of the source covers.

    Args:
        source: Crops.
        target: Crops.
        config: Of the source's views in training.
        seed: Of the augmentation.
    """
    own, there = of_sample(source), of_sample(target)
    drawn = of_augmented(source, config, seed=seed)
    found = []
    for column, name in enumerate(LOOKS):
        low, high = _covered(own[:, column], drawn[:, column])
        values, knob = there[:, column], LADDERS[name][0]
        outside = not low <= np.median(values) <= high
        setting = _setting(source, config, name, values, seed=seed) if outside else None
        found.append(
            Look(
                name=name,
                source=own[:, column],
                augmented=drawn[:, column],
                target=values,
                low=low,
                high=high,
                below=float((values < low).mean()),
                above=float((values > high).mean()),
                knob=knob,
                setting=setting,
            )
        )
    return tuple(found)


def _setting(source: Sample, config: AugmentConfig, name: str, target: FloatArray, *, seed: int) -> float | None:
    knob, ladder = LADDERS[name]
    column, wanted = LOOKS.index(name), float(np.median(target))
    for value in ladder:
        if value <= _reach(config, knob):
            continue
        drawn = of_augmented(source, config.model_copy(update={knob: value}), seed=seed)[:, column]
        if np.percentile(drawn, LOW) <= wanted <= np.percentile(drawn, HIGH):
            return value
    return None


def _reach(config: AugmentConfig, knob: str) -> float:
    """How far a range of the augmentation goes; of two factors of the contrast, the further one from 1."""
    value = getattr(config, knob)
    if not isinstance(value, tuple):
        return float(value)
    return float(max(1 - value[0], value[1] - 1) if knob == "contrast" else value[1])


def _covered(source: FloatArray, augmented: FloatArray) -> tuple[float, float]:
    """Ends of the range that training shows; what a change of 0 leaves plain is at the end of some of them."""
    low, high = zip(*(np.percentile(values, [LOW, HIGH]) for values in (source, augmented)), strict=True)
    return float(min(low)), float(max(high))
