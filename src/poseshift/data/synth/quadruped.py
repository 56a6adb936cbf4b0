"""Dogs and sheep with the 14 joints of AnimalPose, posed by forward kinematics and fleshed out with capsules.

AnimalPose calls the upper joint of a leg, where it leaves the body, *elbow* (in front the elbow, behind the stifle),
the middle one *knee* (carpus, hock) and the foot *paw*.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from poseshift.data.synth.domains import Domain
from poseshift.data.synth.quadruped_domains import LEG_ANGLES, POSES, TRUNK_ANGLES, WILD_ANGLES
from poseshift.data.synth.scene import Body, along, heading, rotation
from poseshift.data.synth.uniforms import Draws, Floats, Indices

LEGS = ("left_front", "right_front", "left_back", "right_back")
JOINTS = ("left_eye", "right_eye", *(f"{leg}_{joint}" for joint in ("paw", "knee", "elbow") for leg in LEGS))
_WOOL = tuple(f"wool{i}" for i in range(9))
SITES = (
    *JOINTS, *(f"{leg}_root" for leg in LEGS), *(f"{leg}_toe" for leg in LEGS), "rump", "loin", "chest", "withers",
    "nape", "skull", "cheek", "muzzle", "nose", "left_ear", "right_ear", "left_ear_tip", "right_ear_tip",
    "tail", "tail_middle", "tail_tip", *_WOOL,
)  # fmt: skip
"""Points of a body; the first 14 are its joints."""

PARTS: tuple[tuple[str, str, str], ...] = (
    *((f"{leg}_upper", f"{leg}_root", f"{leg}_elbow") for leg in LEGS),
    *((f"{leg}_lower", f"{leg}_elbow", f"{leg}_knee") for leg in LEGS),
    *((f"{leg}_cannon", f"{leg}_knee", f"{leg}_paw") for leg in LEGS),
    *((f"{leg}_foot", f"{leg}_paw", f"{leg}_toe") for leg in LEGS),
    ("hind", "rump", "loin"), ("barrel", "loin", "chest"), ("withers", "chest", "withers"), ("neck", "withers", "nape"),
    ("throat", "chest", "nape"), ("head", "skull", "cheek"), ("muzzle", "cheek", "muzzle"), ("nose", "nose", "nose"),
    ("left_eye", "left_eye", "left_eye"), ("right_eye", "right_eye", "right_eye"),
    ("left_ear", "left_ear", "left_ear_tip"), ("right_ear", "right_ear", "right_ear_tip"),
    ("tail", "tail", "tail_middle"), ("tail_tip", "tail_middle", "tail_tip"), *((bump, bump, bump) for bump in _WOOL),
)  # fmt: skip
"""Name of each capsule and the sites it runs between."""

DOG, SHEEP = 0, 1
SHEEP_FACTORS: Mapping[str, float] = {
    "forearm": 0.82, "shank": 0.82, "tail": 0.45, "ear": 0.8, "skull": 0.88, "chest": 1.18, "loin": 1.35,
    "neck_girth": 1.15, "leg_girth": 0.9,
}  # fmt: skip
"""What sets a sheep apart: factors of the domain's ranges, which are a dog's."""
_LEG_COLUMNS = (4, 4)


@cache
def _exempt() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """``14×P``: the parts that a joint lies in."""
    parts = [name for name, _, _ in PARTS]
    table = np.zeros((14, len(parts)), np.bool_)
    own = {"paw": ("cannon", "foot"), "knee": ("lower", "cannon"), "elbow": ("upper", "lower")}
    for k, joint in enumerate(JOINTS):
        leg, _, name = joint.rpartition("_")
        names = [f"{leg}_{part}" for part in own[name]] if name in own else [joint]
        table[k, [parts.index(part) for part in names]] = True
    return table


@cache
def _pose_ranges(kinds: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Angle ranges of each kind of pose in radians: trunk ``C×11×2`` and legs ``C×2×8×2``."""
    trunk = [[POSES[kind].get(angle, rest) for angle, rest in TRUNK_ANGLES.items()] for kind in kinds]
    legs = [
        [
            [POSES[kind].get(prefix + angle, POSES[kind].get(angle, rest)) for angle, rest in LEG_ANGLES.items()]
            for prefix in ("", "other_")
        ]
        for kind in kinds
    ]
    return np.radians(np.array(trunk, np.float64)), np.radians(np.array(legs, np.float64))


def angles(domain: Domain, draws: Draws) -> tuple[Floats, Floats]:
    """Drawn angles in radians: trunk ``N×11`` and legs ``N×2×8`` (left, right), in the order of the tables."""
    trunk_ranges, leg_ranges = _pose_ranges(tuple(domain.poses))
    kind = draws.choice("pose", tuple(domain.poses.values()))
    low, high = np.moveaxis(trunk_ranges[kind], -1, 0)
    trunk = low + draws.uniform("trunk", low.shape[1]) * (high - low)
    _look_at_camera(domain, draws, trunk)
    low, high = np.moveaxis(leg_ranges[kind], -1, 0)
    share = draws.uniform("legs", 16).reshape(-1, 2, 8)
    # animals stand on pairs of legs: the second of a pair stays near the first
    share[:, 1] = 0.5 * (share[:, 0] + share[:, 1])
    legs = low + share * (high - low)
    wild = np.radians(np.array(list(WILD_ANGLES.values())))
    free = draws.uniform("wild", 4).reshape(-1, 2, 2) < domain.wild
    legs = np.where(np.repeat(free, _LEG_COLUMNS, axis=2), wild[:, 0] + share * (wild[:, 1] - wild[:, 0]), legs)
    crossed = np.repeat((draws.uniform("swap", 2) < 0.5)[:, None], _LEG_COLUMNS, axis=2)
    return trunk, np.where(crossed, legs[:, ::-1], legs)


def _look_at_camera(domain: Domain, draws: Draws, trunk: Floats) -> None:
    """Turn neck and head of some animals towards the camera, in place, as far as they go."""
    gaze = draws.uniform("gaze", 2)
    names = list(TRUNK_ANGLES)
    neck, head = names.index("neck_turn"), names.index("head_turn")
    away = (heading(domain.camera, draws) + np.pi) % (2 * np.pi) - np.pi
    turn = np.clip(-away + 0.6 * (gaze[:, 1] - 0.5), -2.2, 2.2)
    turns = gaze[:, 0] < domain.gaze
    trunk[:, neck] = np.where(turns, 0.4 * turn, trunk[:, neck])
    trunk[:, head] = np.where(turns, 0.6 * turn, trunk[:, head])


def bodies(domain: Domain, draws: Draws, category: Indices) -> Body:
    """Draw, pose and flesh out ``N`` quadrupeds; ``category``: ``N`` of :data:`DOG` and :data:`SHEEP`."""
    shape = dict(zip(domain.shape, draws.between("shape", tuple(domain.shape.values())).T, strict=True))
    sheep = category == SHEEP
    for name, factor in SHEEP_FACTORS.items():
        shape[name] = shape[name] * np.where(sheep, factor, 1.0)
    trunk, legs = angles(domain, draws)
    extras = draws.uniform("extras", 5 + 3 * len(_WOOL))
    sites, back, head = place(shape, trunk, legs, extras)
    names = [name for name, _, _ in PARTS]
    front = np.repeat(back[:, None, :, 1], len(names), axis=1)
    for name in ("head", "muzzle", "nose"):
        front[:, names.index(name)] = head[:, :, 1]
    index = {site: i for i, site in enumerate(SITES)}
    return Body(
        sites=sites,
        start=np.array([index[start] for _, start, _ in PARTS]),
        end=np.array([index[end] for _, _, end in PARTS]),
        radius=_radii(shape, sheep, extras),
        front=front,
        joints=np.arange(14),
        exempt=_exempt(),
        margin=np.array([0.04] * 2 + [0.08] * 4 + [0.12] * 4 + [0.20] * 4),
    )


def place(shape: dict[str, Floats], trunk: Floats, legs: Floats, extras: Floats) -> tuple[Floats, Floats, Floats]:
    """Forward kinematics: sites ``N×S×3``, and the axes of the trunk's front half and of the head ``N×3×3``."""
    pitch, lean, bend, arch, neck_raise, neck_turn, head_drop, head_turn, head_cock, tail_raise, tail_turn = trunk.T
    rear = rotation(0, pitch) @ rotation(2, lean)
    fore = rear @ rotation(1, bend) @ rotation(0, arch)
    neck = fore @ rotation(1, neck_turn) @ rotation(0, -neck_raise)
    head = neck @ rotation(1, head_turn) @ rotation(0, head_drop) @ rotation(2, head_cock)
    half = shape["trunk"] / 2
    at: dict[str, Floats] = {"loin": np.zeros((len(half), 3))}
    at["rump"] = along(rear, 0, 0, -half)
    at["chest"] = along(fore, 0, -0.02, half)
    at["withers"] = at["chest"] + along(fore, 0, 0.35 * shape["chest"], 0.1 * half)
    tail = rear @ rotation(1, tail_turn) @ rotation(0, tail_raise)
    at["tail"] = at["rump"] + along(rear, 0, 0.5 * shape["loin"], -0.6 * shape["loin"])
    at["tail_middle"] = at["tail"] + along(tail, 0, 0.1 * shape["tail"], -0.5 * shape["tail"])
    at["tail_tip"] = at["tail_middle"] + along(tail, 0, 0.3 * shape["tail"], -0.4 * shape["tail"])
    _place_head(at, shape, neck, head, extras)
    _place_legs(at, shape, rear, fore, legs)
    bumps = extras[:, 5:].reshape(-1, len(_WOOL), 3)
    for i, name in enumerate(_WOOL):
        turn, place = 6.28 * bumps[:, i, 0], (i + bumps[:, i, 1]) / len(_WOOL)
        reach = 0.62 * (shape["loin"] + (shape["chest"] - shape["loin"]) * place)
        centre = at["rump"] + place[:, None] * (at["chest"] - at["rump"])
        at[name] = centre + along(fore, reach * np.sin(turn), reach * np.cos(turn), 0.0 * reach)
    return np.stack([at[name] for name in SITES], axis=1), fore, head


def _place_head(at: dict[str, Floats], shape: dict[str, Floats], neck: Floats, head: Floats, extras: Floats) -> None:
    skull, snout, ear = shape["skull"], shape["snout"], shape["ear"]
    at["nape"] = at["withers"] + along(neck, 0, 0, shape["neck"])
    at["skull"] = at["nape"] + along(head, 0, 0.25 * skull, 0.35 * skull)
    at["cheek"] = at["skull"] + along(head, 0, -0.22 * skull, 0.5 * skull)
    at["muzzle"] = at["cheek"] + along(head, 0, -0.12 * skull, 0.35 * skull + snout)
    at["nose"] = at["muzzle"] + along(head, 0, 0.45 * shape["snout_girth"], 0.75 * shape["snout_girth"])
    # ears stand (0) or hang (1)
    hang = np.where(extras[:, 0] < 0.45, 0.3 * extras[:, 1], 0.7 + 0.3 * extras[:, 1]) * np.pi
    for side, sign in (("left", 1), ("right", -1)):
        at[f"{side}_eye"] = at["skull"] + along(head, sign * 0.58 * skull, 0.22 * skull, 0.92 * skull)
        at[f"{side}_ear"] = at["skull"] + along(head, sign * 0.75 * skull, 0.55 * skull, -0.15 * skull)
        out = 0.35 + 0.6 * np.sin(hang)
        at[f"{side}_ear_tip"] = at[f"{side}_ear"] + along(head, sign * ear * out, ear * np.cos(hang), 0.1 * ear)


def _place_legs(at: dict[str, Floats], shape: dict[str, Floats], rear: Floats, fore: Floats, legs: Floats) -> None:
    sign = np.array([1.0, -1.0])
    upper_arm, arm_spread, elbow, wrist, thigh, thigh_spread, stifle, hock = np.moveaxis(legs, -1, 0)
    length = {name: value[:, None] for name, value in shape.items()}
    for end, frame, hub, spread, lean, first, second, names in (
        ("front", fore, "chest", arm_spread, upper_arm, elbow, -wrist, ("upper_arm", "forearm", "pastern")),
        ("back", rear, "rump", thigh_spread, thigh, -stifle, hock, ("thigh", "shank", "hock")),
    ):
        pair = np.repeat(frame[:, None], 2, 1)
        base = pair @ rotation(2, sign * spread)
        upper = base @ rotation(0, -lean)
        lower = upper @ rotation(0, -first)
        cannon = lower @ rotation(0, -second)
        root = at[hub][:, None] + along(pair, sign * length["width"], -0.04, 0)
        joint = root + along(upper, 0, -length[names[0]], 0)
        middle = joint + along(lower, 0, -length[names[1]], 0)
        paw = middle + along(cannon, 0, -length[names[2]], 0)
        toe = paw + along(cannon, 0, -0.012, 1.1 * length["leg_girth"])
        for name, points in (("root", root), ("elbow", joint), ("knee", middle), ("paw", paw), ("toe", toe)):
            at[f"left_{end}_{name}"], at[f"right_{end}_{name}"] = points[:, 0], points[:, 1]


def _radii(shape: dict[str, Floats], sheep: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], extras: Floats) -> Floats:
    """``N×P×2`` radii; a part that an instance lacks has -1."""
    leg, skull, chest, loin = shape["leg_girth"], shape["skull"], shape["chest"], shape["loin"]
    neck, snout, tail = shape["neck_girth"], shape["snout_girth"], 0.03 + 0.05 * extras[:, 2]
    bump = np.where(sheep, 0.38 * (chest + loin) / 2 + shape["wool"], -1.0)
    ends: dict[str, tuple[Floats, Floats]] = {
        "front_upper": (leg * 2.0, leg * 1.25),
        "front_lower": (leg * 1.2, leg * 0.85),
        "back_upper": (leg * 2.7, leg * 1.6),
        "back_lower": (leg * 1.55, leg * 0.8),
        "front_cannon": (leg * 0.82, leg * 0.72),
        "back_cannon": (leg * 0.78, leg * 0.70),
        "front_foot": (leg * 0.80, leg * 0.78),
        "back_foot": (leg * 0.78, leg * 0.74),
        "hind": (loin * 0.98, loin),
        "barrel": (loin, chest),
        "withers": (chest * 0.8, neck * 1.15),
        "neck": (neck * 1.2, neck * 0.85),
        "throat": (neck * 1.2, neck * 0.75),
        "head": (skull, skull * 0.82),
        "muzzle": (snout * 1.35, snout),
        "nose": (snout * 0.45, snout * 0.45),
        "eye": (skull * 0.15, skull * 0.15),
        "ear": (skull * 0.36, skull * 0.20),
        "tail": (tail * 1.2, tail),
        "tail_tip": (tail, tail * 0.7),
        **dict.fromkeys(_WOOL, (bump, bump)),
    }
    columns = [ends[name.removeprefix("left_").removeprefix("right_")] for name, _, _ in PARTS]
    return np.moveaxis(np.array(columns), -1, 0)
