"""The domains of people: kinds of pose in degrees, proportions as shares of the stature, cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from poseshift.data.synth import looks
from poseshift.data.synth.domains import Camera, Domain, Look, Range

TRUNK_ANGLES: Mapping[str, Range] = {
    "pitch": (-8, 12),
    "lean": (-8, 8),
    "bend": (-8, 22),
    "tilt": (-12, 12),
    "twist": (-22, 22),
    "nod": (-20, 25),
    "cock": (-12, 12),
    "look": (-45, 45),
}
"""Whole body forward and sideways, spine forward, sideways and about itself, head likewise: at ease."""

LIMB_ANGLES: Mapping[str, Range] = {
    "arm_raise": (-20, 35),
    "arm_spread": (4, 28),
    "arm_turn": (-70, 20),
    "elbow": (4, 60),
    "leg_raise": (-10, 14),
    "leg_spread": (0, 12),
    "leg_turn": (-4, 22),
    "knee": (0, 14),
    "ankle": (-5, 12),
}
"""Limb forward, sideways, about itself (outwards), and its bends: at ease. The ankle is positive toes down."""

WILD_ANGLES: Mapping[str, Range] = {
    "arm_raise": (-50, 175),
    "arm_spread": (0, 130),
    "arm_turn": (-90, 60),
    "elbow": (0, 140),
    "leg_raise": (-35, 110),
    "leg_spread": (-5, 55),
    "leg_turn": (-15, 45),
    "knee": (0, 130),
    "ankle": (-15, 45),
}
"""All that a joint does."""

POSES: Mapping[str, Mapping[str, Range]] = {
    "stand": {},
    "ready": {
        "bend": (8, 45), "leg_raise": (15, 65), "knee": (25, 90), "leg_spread": (5, 30), "arm_raise": (10, 85),
        "arm_spread": (5, 50), "elbow": (25, 115), "pitch": (-5, 20),
    },
    "run": {
        "pitch": (0, 28), "leg_raise": (25, 90), "knee": (40, 125), "arm_raise": (-60, -5), "elbow": (45, 115),
        "other_leg_raise": (-40, 8), "other_knee": (5, 95), "other_arm_raise": (5, 75), "other_elbow": (45, 120),
        "ankle": (-10, 40), "twist": (-35, 35),
    },
    "kick": {
        "pitch": (-30, 8), "leg_raise": (20, 115), "knee": (0, 70), "leg_spread": (0, 40), "ankle": (0, 45),
        "other_leg_raise": (-20, 20), "other_knee": (0, 40), "arm_spread": (20, 95), "lean": (-25, 25),
    },
    "lunge": {
        "leg_raise": (30, 95), "knee": (40, 115), "other_leg_raise": (-45, 0), "other_knee": (0, 45),
        "leg_spread": (0, 40), "bend": (0, 40), "arm_raise": (-20, 100), "arm_spread": (0, 80), "elbow": (0, 100),
    },
    "throw": {
        "arm_raise": (80, 180), "arm_spread": (0, 70), "elbow": (0, 110), "other_arm_raise": (-30, 110),
        "other_arm_spread": (5, 80), "other_elbow": (0, 100), "tilt": (-28, 28), "leg_raise": (-25, 45),
        "knee": (0, 60), "leg_spread": (0, 30), "pitch": (-20, 25), "twist": (-40, 40),
    },
    "stoop": {
        "bend": (25, 75), "pitch": (10, 60), "leg_raise": (20, 95), "knee": (0, 60), "arm_raise": (0, 110),
        "arm_spread": (0, 50), "elbow": (0, 100), "nod": (-45, 10),
    },
    "crouch": {
        "leg_raise": (65, 125), "knee": (60, 145), "leg_spread": (0, 45), "bend": (0, 45), "pitch": (-20, 25),
        "arm_raise": (0, 100), "elbow": (0, 120),
    },
    "lie": {
        "pitch": (-115, -60), "leg_raise": (-10, 90), "knee": (0, 110), "bend": (-10, 50), "arm_raise": (-30, 170),
        "arm_spread": (0, 90), "elbow": (0, 110),
    },
    "dive": {
        "pitch": (55, 120), "leg_raise": (-30, 40), "knee": (0, 80), "bend": (-20, 25), "arm_raise": (60, 180),
        "arm_spread": (0, 60), "elbow": (0, 90), "nod": (-50, 5), "ankle": (10, 50),
    },
    "handstand": {
        "pitch": (135, 225), "leg_raise": (-30, 80), "leg_spread": (0, 60), "knee": (0, 90), "arm_raise": (125, 185),
        "arm_spread": (0, 35), "elbow": (0, 40), "nod": (-45, 10), "ankle": (10, 50), "lean": (-20, 20),
    },
    "somersault": {
        "pitch": (-180, 180), "lean": (-50, 50), "bend": (-15, 60), "leg_raise": (-10, 125), "leg_spread": (0, 50),
        "knee": (0, 135), "arm_raise": (-30, 180), "arm_spread": (0, 90), "elbow": (0, 110), "ankle": (0, 50),
    },
    "star": {
        "leg_spread": (10, 60), "leg_raise": (-25, 60), "knee": (0, 60), "arm_spread": (40, 150),
        "arm_raise": (-20, 40), "elbow": (0, 60), "lean": (-35, 35), "pitch": (-15, 30),
    },
}  # fmt: skip
"""Kinds of pose: what differs from being at ease. ``other_`` is the second arm or leg; which one is drawn."""

_SHAPE: Mapping[str, Range] = {
    "hips": (0.050, 0.078),
    "torso": (0.27, 0.345),
    "shoulders": (0.088, 0.128),
    "head": (0.165, 0.210),
    "skull": (0.052, 0.070),
    "upper_arm": (0.140, 0.185),
    "forearm": (0.120, 0.165),
    "hand": (0.060, 0.095),
    "thigh": (0.215, 0.270),
    "shin": (0.205, 0.260),
    "foot": (0.100, 0.145),
    "chest_depth": (0.062, 0.088),
    "waist_depth": (0.055, 0.090),
    "hip_depth": (0.064, 0.092),
    "arm_girth": (0.024, 0.040),
    "leg_girth": (0.046, 0.070),
}
_POSES: Mapping[str, float] = {
    "stand": 0.13, "ready": 0.14, "run": 0.15, "kick": 0.08, "lunge": 0.08, "throw": 0.10, "stoop": 0.05,
    "crouch": 0.06, "lie": 0.04, "dive": 0.03, "handstand": 0.04, "somersault": 0.05, "star": 0.05,
}  # fmt: skip
_CALM_POSES: Mapping[str, float] = {
    "stand": 0.30, "ready": 0.20, "run": 0.20, "throw": 0.10, "lunge": 0.10, "star": 0.10,
}  # fmt: skip
_CAMERA = Camera(
    yaw=(-95, 95),
    behind=0.35,
    elevation=(-15, 35),
    roll=(-12, 12),
    distance=(2.6, 8.0),
    span=(0.58, 0.90),
    shift=(-0.6, 0.6),
)
_CALM_CAMERA = replace(_CAMERA, behind=0.2)
_EASY_SHAPE: Mapping[str, Range] = {
    **_SHAPE, "torso": (0.29, 0.34), "leg_girth": (0.052, 0.072), "arm_girth": (0.028, 0.042), "head": (0.18, 0.215),
}  # fmt: skip
_MIDDLE_SHAPE: Mapping[str, Range] = {
    **_SHAPE,
    "torso": (0.30, 0.36),
    "head": (0.19, 0.235),
    "skull": (0.060, 0.080),
    "thigh": (0.20, 0.245),
    "shin": (0.195, 0.235),
    "upper_arm": (0.135, 0.170),
    "forearm": (0.115, 0.150),
    "arm_girth": (0.032, 0.048),
    "leg_girth": (0.058, 0.080),
}
_HARD_SHAPE: Mapping[str, Range] = {
    **_MIDDLE_SHAPE,
    "head": (0.20, 0.26),
    "skull": (0.068, 0.092),
    "thigh": (0.18, 0.235),
    "shin": (0.17, 0.225),
    "waist_depth": (0.075, 0.115),
}
_EASY_CAMERA = replace(_CALM_CAMERA, elevation=(0, 40), span=(0.6, 0.85))
_MIDDLE_CAMERA = replace(_CALM_CAMERA, elevation=(10, 45), span=(0.55, 0.80), distance=(2.2, 4.0))
_HARD_CAMERA = replace(_CALM_CAMERA, elevation=(15, 55), span=(0.5, 0.75), distance=(2.0, 3.2), roll=(-20, 20))


def _sporting(name: str, look: Look) -> Domain:
    """Every kind of pose, upside down included: what sports photographs show."""
    return Domain(
        name=name, geometry="source", shape=_SHAPE, poses=_POSES, wild=0.15, gaze=0.0, camera=_CAMERA, look=look
    )


def _calm(name: str, look: Look, *, shape: Mapping[str, Range], camera: Camera) -> Domain:
    """Upright poses, which a small net learns in a minute: the procedural pair."""
    return Domain(
        name=name, geometry=name, shape=shape, poses=_CALM_POSES, wild=0.05, gaze=0.0, camera=camera, look=look
    )


FIGURE_DOMAINS: dict[str, Domain] = {
    "source": _sporting("source", looks.PLAIN),
    "random": _sporting("random", looks.RANDOM),
    "plain": _calm("plain", looks.PLAIN, shape=_SHAPE, camera=_CALM_CAMERA),
    "easy": _calm("easy", looks.EASY, shape=_EASY_SHAPE, camera=_EASY_CAMERA),
    "middle": _calm("middle", looks.MIDDLE, shape=_MIDDLE_SHAPE, camera=_MIDDLE_CAMERA),
    "hard": _calm("hard", looks.HARD, shape=_HARD_SHAPE, camera=_HARD_CAMERA),
}
"""``source`` and ``random`` are sources for photographs; ``plain`` to ``easy``, ``middle`` or ``hard`` is the pair."""
