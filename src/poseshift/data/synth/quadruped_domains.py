"""The domains of quadrupeds: kinds of pose in degrees, proportions in body units (a trunk is about 0.75), cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from poseshift.data.synth import looks
from poseshift.data.synth.domains import Camera, Domain, Look, Range

TRUNK_ANGLES: Mapping[str, Range] = {
    "pitch": (-6, 6),
    "lean": (-6, 6),
    "bend": (-14, 14),
    "arch": (-6, 8),
    "neck_raise": (10, 65),
    "neck_turn": (-30, 30),
    "head_drop": (10, 70),
    "head_turn": (-60, 60),
    "head_cock": (-15, 15),
    "tail_raise": (-60, 50),
    "tail_turn": (-30, 30),
}
"""Whole body nose down and sideways, trunk sideways and rounded, neck, head, tail: standing."""

LEG_ANGLES: Mapping[str, Range] = {
    "upper_arm": (-50, -15),
    "arm_spread": (-3, 9),
    "elbow": (18, 50),
    "wrist": (-12, 14),
    "thigh": (8, 42),
    "thigh_spread": (-2, 10),
    "stifle": (35, 78),
    "hock": (22, 58),
}
"""Front leg: upper arm forward, outward, its two bends; back leg likewise: standing."""

WILD_ANGLES: Mapping[str, Range] = {
    "upper_arm": (-80, 40),
    "arm_spread": (-5, 35),
    "elbow": (5, 120),
    "wrist": (-15, 80),
    "thigh": (-30, 85),
    "thigh_spread": (-5, 35),
    "stifle": (20, 130),
    "hock": (15, 120),
}
"""All that a joint does."""

POSES: Mapping[str, Mapping[str, Range]] = {
    "stand": {},
    "walk": {
        "upper_arm": (-30, 5), "elbow": (15, 55), "wrist": (0, 60), "other_upper_arm": (-70, -35),
        "other_elbow": (15, 45), "thigh": (25, 60), "stifle": (40, 90), "hock": (30, 80), "other_thigh": (-20, 15),
        "other_stifle": (25, 60),
    },
    "run": {
        "upper_arm": (-50, 40), "elbow": (10, 90), "wrist": (0, 90), "thigh": (-25, 80), "stifle": (25, 110),
        "hock": (20, 90), "pitch": (-18, 18), "arch": (-15, 25), "neck_raise": (-5, 40),
    },
    "sit": {
        "pitch": (-60, -25), "upper_arm": (-75, -45), "elbow": (15, 50), "thigh": (25, 65), "stifle": (110, 155),
        "hock": (95, 150), "thigh_spread": (0, 30), "neck_raise": (-5, 35), "head_drop": (-5, 55),
    },
    "lie": {
        "pitch": (-14, 5), "lean": (-25, 25), "upper_arm": (-70, -30), "elbow": (90, 150), "wrist": (-15, 60),
        "thigh": (50, 100), "stifle": (115, 160), "hock": (95, 155), "thigh_spread": (0, 40), "arm_spread": (-5, 25),
    },
    "side": {
        "lean": (55, 110), "upper_arm": (-60, 30), "elbow": (15, 100), "wrist": (-10, 60), "thigh": (0, 70),
        "stifle": (30, 110), "hock": (20, 100),
    },
    "graze": {"neck_raise": (-70, -25), "head_drop": (-15, 45), "pitch": (-4, 12)},
    "sniff": {"neck_raise": (-45, 5), "head_drop": (0, 50), "head_turn": (-80, 80)},
    "rear": {
        "pitch": (-90, -45), "upper_arm": (-70, 40), "elbow": (15, 110), "wrist": (0, 80), "thigh": (-60, 30),
        "stifle": (30, 110), "hock": (20, 100), "neck_raise": (-30, 20), "head_drop": (-10, 60),
    },
}  # fmt: skip
"""Kinds of pose: what differs from standing. ``other_`` is the second front or back leg; which one is drawn."""

_SHAPE: Mapping[str, Range] = {
    "trunk": (0.60, 0.86),
    "upper_arm": (0.25, 0.36),
    "forearm": (0.24, 0.38),
    "pastern": (0.14, 0.22),
    "thigh": (0.28, 0.38),
    "shank": (0.27, 0.38),
    "hock": (0.18, 0.27),
    "width": (0.09, 0.15),
    "chest": (0.19, 0.28),
    "loin": (0.15, 0.24),
    "leg_girth": (0.045, 0.075),
    "neck": (0.26, 0.44),
    "neck_girth": (0.11, 0.17),
    "skull": (0.12, 0.185),
    "snout": (0.12, 0.25),
    "snout_girth": (0.055, 0.095),
    "ear": (0.10, 0.24),
    "tail": (0.20, 0.65),
    "wool": (0.03, 0.11),
}
_POSES: Mapping[str, float] = {
    "stand": 0.30, "walk": 0.18, "run": 0.09, "sit": 0.12, "lie": 0.12, "side": 0.03, "graze": 0.08, "sniff": 0.05,
    "rear": 0.03,
}  # fmt: skip
_CAMERA = Camera(
    yaw=(0, 135),
    behind=0.12,
    elevation=(-6, 38),
    roll=(-10, 10),
    distance=(3.2, 9.0),
    span=(0.62, 1.08),
    shift=(-0.8, 0.8),
)
_EASY_SHAPE: Mapping[str, Range] = {**_SHAPE, "leg_girth": (0.055, 0.080), "neck": (0.26, 0.38), "snout": (0.12, 0.2)}
_MIDDLE_SHAPE: Mapping[str, Range] = {
    **_SHAPE,
    "trunk": (0.54, 0.74),
    "upper_arm": (0.25, 0.33),
    "forearm": (0.21, 0.30),
    "shank": (0.24, 0.32),
    "leg_girth": (0.060, 0.090),
    "skull": (0.15, 0.21),
    "chest": (0.20, 0.28),
}
_HARD_SHAPE: Mapping[str, Range] = {
    **_MIDDLE_SHAPE,
    "trunk": (0.48, 0.70),
    "forearm": (0.17, 0.27),
    "shank": (0.20, 0.29),
    "skull": (0.17, 0.24),
}
_EASY_CAMERA = replace(_CAMERA, elevation=(5, 42), span=(0.62, 0.95))
_MIDDLE_CAMERA = replace(_CAMERA, elevation=(4, 40), span=(0.60, 0.95), distance=(2.8, 5.0), behind=0.18)
_HARD_CAMERA = replace(_CAMERA, elevation=(8, 48), span=(0.55, 0.95), distance=(2.6, 4.0), behind=0.25, roll=(-18, 18))


def _domain(name: str, look: Look, *, geometry: str, shape: Mapping[str, Range], camera: Camera) -> Domain:
    return Domain(
        name=name, geometry=geometry, shape=shape, poses=_POSES, wild=0.08, gaze=0.45, camera=camera, look=look
    )


QUADRUPED_DOMAINS: dict[str, Domain] = {
    "source": _domain("source", looks.PLAIN, geometry="source", shape=_SHAPE, camera=_CAMERA),
    "random": _domain("random", looks.RANDOM, geometry="source", shape=_SHAPE, camera=_CAMERA),
    "plain": _domain("plain", looks.PLAIN, geometry="plain", shape=_SHAPE, camera=_CAMERA),
    "easy": _domain("easy", looks.EASY, geometry="easy", shape=_EASY_SHAPE, camera=_EASY_CAMERA),
    "middle": _domain("middle", looks.MIDDLE, geometry="middle", shape=_MIDDLE_SHAPE, camera=_MIDDLE_CAMERA),
    "hard": _domain("hard", looks.HARD, geometry="hard", shape=_HARD_SHAPE, camera=_HARD_CAMERA),
}
"""``source`` and ``random`` are sources for photographs; ``plain`` to ``easy``, ``middle`` or ``hard`` is the pair."""
