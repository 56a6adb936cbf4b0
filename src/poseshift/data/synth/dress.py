"""Colours of people: skin, hair, shirts, trousers, shoes and their patterns."""

from __future__ import annotations

import numpy as np

from poseshift.data.synth.domains import Look
from poseshift.data.synth.people import PARTS
from poseshift.data.synth.render import Paint, Pixels
from poseshift.data.synth.scenery import any_colour, grain, pick

_SKINS = np.array(((0.98, 0.84, 0.73), (0.93, 0.74, 0.60), (0.80, 0.58, 0.43), (0.58, 0.39, 0.27), (0.36, 0.23, 0.16)))
_HAIRS = np.array(((0.07, 0.06, 0.06), (0.22, 0.14, 0.09), (0.42, 0.28, 0.16), (0.80, 0.66, 0.40), (0.60, 0.58, 0.56)))
_SLEEVES = ((0.9, 0.0), (0.5, 0.0), (2.0, 0.0), (2.0, 0.45), (2.0, 0.9), (0.0, 0.0))
"""Where the sleeve ends on the upper arm and on the forearm."""
_LEGS = ((0.55, 0.0), (0.95, 0.0), (2.0, 0.5), (2.0, 0.92), (2.0, 0.98), (0.25, 0.0))
"""Where the trousers end on the thigh and on the shin."""
_TOP = ("flank", "belly", "back", "shoulders")
_BOTTOM = ("pelvis", "skirt")


def light_of(rng: np.random.Generator, look: Look) -> tuple[float, float, float]:
    """Unit direction of the lamp: from above, aside by the look's ``oblique``."""
    direction = np.array((rng.standard_normal() * pick(rng, look.oblique), -0.3 - 0.8 * rng.random(), 0.8))
    x, y, z = direction / np.linalg.norm(direction)
    return float(x), float(y), float(z)


def waves(rng: np.random.Generator, look: Look, scale: float) -> Pixels:
    """A pattern: stripes along or across, or checks, five numbers as in :class:`Paint`."""
    if rng.random() >= look.patterned:
        return np.zeros(5, np.float32)
    period = (0.025 + 0.07 * rng.random()) * scale
    frequency, kind = 2 * np.pi / period, rng.integers(3)
    along, across = (frequency, 0.0), (0.0, frequency)
    pair = (along, across, (frequency, frequency))[kind]
    # a sine of frequency 0 and phase 90 degrees is 1: stripes are checks with one axis still
    phases = [rng.random() * 6 if f else np.pi / 2 for f in pair]
    return np.array((*pair, *phases, pick(rng, look.pattern)), np.float32)


def paint_person(rng: np.random.Generator, look: Look, scale: float, category: int) -> Paint:
    """Dress one person. ``scale``: pixels per stature; ``category`` is 0."""
    skin = _SKINS[rng.integers(len(_SKINS))] * (0.9 + 0.2 * rng.random())
    hair = _HAIRS[rng.integers(len(_HAIRS))] * (0.8 + 0.4 * rng.random())
    top, bottom, shoe, sock, cap, ink, ink_low = (any_colour(rng, look) for _ in range(7))
    back = top if rng.random() < 0.6 else any_colour(rng, look)
    sleeve, leg = _SLEEVES[rng.integers(len(_SLEEVES))], _LEGS[rng.integers(len(_LEGS))]
    bottom = top if rng.random() < 0.15 else bottom
    sock_from = 2.0 if rng.random() < 0.5 else 0.3 + 0.6 * rng.random()
    dull = {"near": skin, "far": skin, "back": skin, "cut": 2.0, "back_at": -2.0}
    table: dict[str, dict[str, object]] = {
        "upper_arm": {"near": top, "cut": sleeve[0]},
        "forearm": {"near": top, "cut": sleeve[1]},
        "thigh": {"near": bottom, "cut": leg[0]},
        "shin": {"near": bottom, "cut": leg[1]} if leg[1] else {"far": sock, "cut": sock_from},
        "foot": {"near": shoe, "far": shoe, "back": shoe},
        "head": {"near": skin, "back": hair, "back_at": -0.15 + 0.5 * rng.random()},
        "hair": {"near": hair, "far": hair},
        "bun": {"near": hair, "far": hair},
        "brim": {"near": cap, "far": cap},
        "eye": {"near": np.full(3, 0.08), "far": np.full(3, 0.08)},
        **{name: {"near": top, "far": top, "back": back, "back_at": -0.2} for name in _TOP},
        **{name: {"near": bottom, "far": bottom, "back": bottom} for name in _BOTTOM},
    }
    names = [name.removeprefix("left_").removeprefix("right_") for name, _, _ in PARTS]
    rows = [{**dull, **table.get(name, {})} for name in names]
    columns = {key: np.array([row[key] for row in rows], np.float32) for key in dull}
    shirt, trousers = waves(rng, look, scale), waves(rng, look, scale)
    pattern = {**dict.fromkeys((*_TOP, "upper_arm", "forearm"), (shirt, ink))}
    pattern |= dict.fromkeys((*_BOTTOM, "thigh", "shin"), (trousers, ink_low))
    none = (np.zeros(5, np.float32), ink)
    return Paint(
        near=columns["near"],
        far=columns["far"],
        back=columns["back"],
        cut=columns["cut"],
        back_at=columns["back_at"],
        wave=np.stack([pattern.get(name, none)[0] for name in names]),
        ink=np.stack([pattern.get(name, none)[1] for name in names]),
        texture=pick(rng, look.texture),
        tile=grain(rng, 64, 64),
        fineness=96 / scale,
        light=light_of(rng, look),
        ambient=pick(rng, look.ambient),
        direct=pick(rng, look.direct),
    )
