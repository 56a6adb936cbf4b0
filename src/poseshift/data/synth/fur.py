"""Colours of dogs and sheep: fur, patches, wool, dark faces and legs."""

from __future__ import annotations

import numpy as np

from poseshift.data.synth.domains import Look
from poseshift.data.synth.dress import light_of, waves
from poseshift.data.synth.quadruped import PARTS, SHEEP
from poseshift.data.synth.render import Paint, Pixels
from poseshift.data.synth.scenery import any_colour, grain, pick

_FURS = np.array(
    (
        (0.93, 0.90, 0.86), (0.85, 0.72, 0.52), (0.72, 0.52, 0.30), (0.50, 0.32, 0.18), (0.28, 0.19, 0.13),
        (0.09, 0.08, 0.08), (0.50, 0.48, 0.46), (0.75, 0.73, 0.70),
    )
)  # fmt: skip
_WOOLS = np.array(((0.93, 0.90, 0.84), (0.86, 0.80, 0.70), (0.70, 0.64, 0.56), (0.42, 0.33, 0.26), (0.16, 0.14, 0.13)))
_ODD = 0.12
"""Share of animals whose colours follow the domain's look and not nature."""


def _coat(rng: np.random.Generator, look: Look, choices: Pixels) -> Pixels:
    if rng.random() < _ODD:
        return any_colour(rng, look)
    return np.asarray(choices[rng.integers(len(choices))] * (0.85 + 0.25 * rng.random()), np.float32)


def paint_animal(rng: np.random.Generator, look: Look, scale: float, category: int) -> Paint:
    """Colour one animal. ``scale``: pixels per body unit; ``category``: dog or sheep."""
    coats = (_WOOLS if category == SHEEP else _FURS).astype(np.float32)
    furs = _FURS.astype(np.float32)
    main = _coat(rng, look, coats)
    second = _coat(rng, look, furs) if rng.random() < 0.5 else main
    belly = second if rng.random() < 0.5 else main * 0.85
    face = _coat(rng, look, furs) if rng.random() < (0.6 if category == SHEEP else 0.35) else main
    legs = face if category == SHEEP else (second if rng.random() < 0.5 else main)
    feet = legs if rng.random() < 0.5 else (legs * 0.35 if category == SHEEP else second)
    ears = face if rng.random() < 0.5 else face * 0.6
    dark = np.full(3, 0.06, np.float32)
    body = {"near": main, "far": main, "back": belly, "back_at": -0.25, "cut": 2.0}
    leg = {"near": legs, "far": feet, "back": legs, "back_at": -2.0, "cut": 0.3 + rng.random()}
    table = {
        "upper": {**body, "back_at": -2.0},
        "lower": {**leg, "cut": 2.0} if category == SHEEP else {**body, "far": legs, "cut": 0.6, "back_at": -2.0},
        "cannon": leg,
        "foot": {**leg, "near": feet},
        "head": {**body, "near": face, "far": face, "back": belly},
        "muzzle": {**body, "near": face, "far": second if rng.random() < 0.5 else face, "cut": 0.3, "back": belly},
        "nose": {**leg, "near": dark, "far": dark},
        "eye": {**leg, "near": dark, "far": dark},
        "ear": {**leg, "near": ears, "far": ears},
    }
    names = [name.rpartition("_")[2] if name.startswith(("left", "right")) else name for name, _, _ in PARTS]
    rows = [table.get(name, body) for name in names]
    columns = {key: np.array([row[key] for row in rows], np.float32) for key in body}
    patch = waves(rng, look, 6 * scale) if rng.random() < 0.7 else waves(rng, look, 2 * scale)
    plain = {"nose", "eye", "foot", "cannon"}
    return Paint(
        near=columns["near"],
        far=columns["far"],
        back=columns["back"],
        cut=columns["cut"],
        back_at=columns["back_at"],
        wave=np.stack([np.zeros(5, np.float32) if name in plain else patch for name in names]),
        ink=np.tile(second, (len(names), 1)),
        texture=pick(rng, look.texture) + (0.05 if category == SHEEP else 0.0),
        tile=grain(rng, 64, 64),
        fineness=60 / scale,
        light=light_of(rng, look),
        ambient=pick(rng, look.ambient),
        direct=pick(rng, look.direct),
    )
