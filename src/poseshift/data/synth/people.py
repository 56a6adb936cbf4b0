"""People with the 14 joints of LSP, posed by forward kinematics and fleshed out with tapered capsules."""

from __future__ import annotations

from functools import cache

import numpy as np

from poseshift.data.synth.domains import Domain, Range
from poseshift.data.synth.people_domains import LIMB_ANGLES, POSES, TRUNK_ANGLES, WILD_ANGLES
from poseshift.data.synth.scene import Body, along, rotation
from poseshift.data.synth.uniforms import Draws, Floats, Indices

SITES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
    "right_toe", "left_toe", "right_heel", "left_heel", "right_hand", "left_hand", "waist", "skull", "jaw", "nose",
    "bun", "brim", "hair", "right_chest", "left_chest", "right_waist", "left_waist", "right_side", "left_side",
    "collar", "right_hem", "left_hem", "right_eye", "left_eye", "right_thumb", "left_thumb",
)  # fmt: skip
"""Points of a body; the first 14 are the joints of LSP in their order."""

PARTS: tuple[tuple[str, str, str], ...] = (
    ("left_upper_arm", "left_shoulder", "left_elbow"), ("right_upper_arm", "right_shoulder", "right_elbow"),
    ("left_forearm", "left_elbow", "left_wrist"), ("right_forearm", "right_elbow", "right_wrist"),
    ("left_hand", "left_wrist", "left_hand"), ("right_hand", "right_wrist", "right_hand"),
    ("left_thumb", "left_wrist", "left_thumb"), ("right_thumb", "right_wrist", "right_thumb"),
    ("left_thigh", "left_hip", "left_knee"), ("right_thigh", "right_hip", "right_knee"),
    ("left_shin", "left_knee", "left_ankle"), ("right_shin", "right_knee", "right_ankle"),
    ("left_foot", "left_heel", "left_toe"), ("right_foot", "right_heel", "right_toe"),
    ("left_flank", "left_chest", "left_waist"), ("right_flank", "right_chest", "right_waist"),
    ("left_belly", "left_waist", "left_side"), ("right_belly", "right_waist", "right_side"),
    ("back", "collar", "waist"), ("shoulders", "left_shoulder", "right_shoulder"),
    ("pelvis", "left_side", "right_side"),
    ("neck", "collar", "jaw"), ("head", "jaw", "skull"), ("hair", "skull", "hair"), ("bun", "hair", "bun"),
    ("nose", "nose", "nose"), ("brim", "brim", "skull"), ("left_eye", "left_eye", "left_eye"),
    ("right_eye", "right_eye", "right_eye"), ("left_skirt", "left_side", "left_hem"),
    ("right_skirt", "right_side", "right_hem"),
)  # fmt: skip
"""Name of each capsule and the sites it runs between."""

_EXEMPT: dict[str, str] = {
    "ankle": "{0}_shin {0}_foot", "knee": "{0}_shin {0}_thigh {0}_skirt",
    "hip": "{0}_thigh {0}_belly pelvis {0}_skirt {1}_belly {1}_skirt", "wrist": "{0}_forearm {0}_hand {0}_thumb",
    "elbow": "{0}_forearm {0}_upper_arm", "shoulder": "{0}_upper_arm {0}_flank shoulders back",
}  # fmt: skip


@cache
def _exempt() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """``14×P``: the parts that a joint lies in."""
    parts = [name for name, _, _ in PARTS]
    table = np.zeros((14, len(parts)), np.bool_)
    for k, joint in enumerate(SITES[:14]):
        side, _, name = joint.partition("_")
        if name in _EXEMPT:
            names = _EXEMPT[name].format(side, "left" if side == "right" else "right").split()
        else:
            names = ["neck", "head", "hair", "bun", "brim", "shoulders", "back", "left_flank", "right_flank"]
        table[k, [parts.index(part) for part in names]] = True
    return table


@cache
def _pose_ranges(kinds: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Angle ranges of each kind of pose in radians: trunk ``C×8×2`` and limbs ``C×2×9×2``, first limbs then others."""
    trunk = [[POSES[kind].get(angle, rest) for angle, rest in TRUNK_ANGLES.items()] for kind in kinds]

    def limbs(kind: str, prefix: str) -> list[Range]:
        pose = POSES[kind]
        return [pose.get(prefix + angle, pose.get(angle, rest)) for angle, rest in LIMB_ANGLES.items()]

    pairs = [[limbs(kind, ""), limbs(kind, "other_")] for kind in kinds]
    return np.radians(np.array(trunk, np.float64)), np.radians(np.array(pairs, np.float64))


def angles(domain: Domain, draws: Draws) -> tuple[Floats, Floats]:
    """Drawn joint angles in radians: trunk ``N×8`` and limbs ``N×2×9`` (right, left), in the order of the tables."""
    trunk_ranges, limb_ranges = _pose_ranges(tuple(domain.poses))
    kind = draws.choice("pose", tuple(domain.poses.values()))
    low, high = np.moveaxis(trunk_ranges[kind], -1, 0)
    trunk = low + draws.uniform("trunk", low.shape[1]) * (high - low)
    low, high = np.moveaxis(limb_ranges[kind], -1, 0)
    share = draws.uniform("limbs", 18).reshape(-1, 2, 9)
    limbs = low + share * (high - low)
    wild = np.radians(np.array(list(WILD_ANGLES.values())))
    free = draws.uniform("wild", 4).reshape(-1, 2, 2) < domain.wild
    limbs = np.where(np.repeat(free, (4, 5), axis=2), wild[:, 0] + share * (wild[:, 1] - wild[:, 0]), limbs)
    swap = draws.uniform("swap", 2) < 0.5
    crossed = np.repeat(swap[:, None], (4, 5), axis=2)
    return trunk, np.where(crossed, limbs[:, ::-1], limbs)


def bodies(domain: Domain, draws: Draws, category: Indices) -> Body:
    """Draw, pose and flesh out ``N`` people; ``category`` is 0 for all."""
    shape = dict(zip(domain.shape, draws.between("shape", tuple(domain.shape.values())).T, strict=True))
    extras = draws.uniform("extras", 8)
    trunk, limbs = angles(domain, draws)
    sites, chest, head = place(shape, trunk, limbs, extras)
    names = [name for name, _, _ in PARTS]
    front = np.repeat(chest[:, None, :, 2], len(names), axis=1)
    for name in ("head", "hair", "bun", "neck", "nose"):
        front[:, names.index(name)] = head[:, :, 2]
    index = {site: i for i, site in enumerate(SITES)}
    return Body(
        sites=sites,
        start=np.array([index[start] for _, start, _ in PARTS]),
        end=np.array([index[end] for _, _, end in PARTS]),
        radius=_radii(shape, extras),
        front=front,
        joints=np.arange(14),
        exempt=_exempt(),
        margin=np.full(14, 0.045),
    )


def place(shape: dict[str, Floats], trunk: Floats, limbs: Floats, extras: Floats) -> tuple[Floats, Floats, Floats]:
    """Forward kinematics: sites ``N×S×3``, and the axes of chest and head ``N×3×3``."""
    pitch, lean, bend, tilt, twist, nod, cock, look = trunk.T
    pelvis = rotation(2, lean) @ rotation(0, pitch)
    chest = pelvis @ rotation(1, twist) @ rotation(2, tilt) @ rotation(0, bend)
    head = chest @ rotation(1, look) @ rotation(2, cock) @ rotation(0, nod)
    at: dict[str, Floats] = {"waist": along(pelvis, 0, 0.42 * shape["torso"], 0)}
    at["neck"] = at["waist"] + along(chest, 0, 0.58 * shape["torso"], 0)
    _place_limbs(at, shape, pelvis, chest, limbs)
    _place_trunk(at, shape, pelvis, chest)
    _place_head(at, shape, head, extras)
    for side, sign in (("right", -1), ("left", 1)):
        hem = 0.35 + 0.5 * extras[:, 1:2]
        at[f"{side}_hem"] = at[f"{side}_hip"] + hem * (at[f"{side}_knee"] - at[f"{side}_hip"])
        at[f"{side}_eye"] = at["skull"] + along(
            head, sign * 0.42 * shape["skull"], -0.1 * shape["skull"], 0.9 * shape["skull"]
        )
    return np.stack([at[name] for name in SITES], axis=1), chest, head


def _place_limbs(at: dict[str, Floats], shape: dict[str, Floats], pelvis: Floats, chest: Floats, limbs: Floats) -> None:
    sign = np.array([-1.0, 1.0])
    raised, spread, turned, elbow, leg_raised, leg_spread, leg_turned, knee, ankle = np.moveaxis(limbs, -1, 0)
    arm = chest[:, None] @ rotation(0, -raised) @ rotation(2, sign * spread) @ rotation(1, sign * turned)
    forearm = arm @ rotation(0, -elbow)
    leg = pelvis[:, None] @ rotation(0, -leg_raised) @ rotation(2, sign * leg_spread) @ rotation(1, sign * leg_turned)
    shin = leg @ rotation(0, knee)
    foot = shin @ rotation(0, ankle)
    lift = 0.045 * np.clip((np.maximum(raised, spread) - 0.9) / 2, 0, 1)
    chest_pair, pelvis_pair = np.repeat(chest[:, None], 2, 1), np.repeat(pelvis[:, None], 2, 1)
    length = {name: value[:, None] for name, value in shape.items()}
    joints = {"shoulder": at["neck"][:, None] + along(chest_pair, sign * length["shoulders"], lift - 0.022, 0)}
    joints["elbow"] = joints["shoulder"] + along(arm, 0, -length["upper_arm"], 0)
    joints["wrist"] = joints["elbow"] + along(forearm, 0, -length["forearm"], 0)
    joints["hand"] = joints["wrist"] + along(forearm, 0, -length["hand"], 0.01)
    joints["thumb"] = joints["wrist"] + along(forearm, -0.02 * sign, -0.6 * length["hand"], 0.03)
    joints["hip"] = along(pelvis_pair, sign * length["hips"], 0, 0)
    joints["knee"] = joints["hip"] + along(leg, 0, -length["thigh"], 0)
    joints["ankle"] = joints["knee"] + along(shin, 0, -length["shin"], 0)
    joints["heel"] = joints["ankle"] + along(foot, 0, -0.022, -0.012)
    joints["toe"] = joints["ankle"] + along(foot, 0.08 * sign * length["foot"], -0.030, 0.85 * length["foot"])
    for name, pair in joints.items():
        at[f"right_{name}"], at[f"left_{name}"] = pair[:, 0], pair[:, 1]


def _place_trunk(at: dict[str, Floats], shape: dict[str, Floats], pelvis: Floats, chest: Floats) -> None:
    at["collar"] = at["neck"] + along(chest, 0, -0.03, -0.01)
    waist = 0.5 * (shape["hips"] + shape["shoulders"]) * 0.55
    for side, sign in (("right", -1), ("left", 1)):
        wide = sign * 0.62 * shape["shoulders"]
        at[f"{side}_chest"] = at["neck"] + along(chest, wide, -0.32 * shape["torso"], 0.012)
        at[f"{side}_waist"] = at["waist"] + along(chest, sign * waist, 0, 0.008)
        at[f"{side}_side"] = along(pelvis, sign * 0.8 * shape["hips"], 0.012, 0)


def _place_head(at: dict[str, Floats], shape: dict[str, Floats], head: Floats, extras: Floats) -> None:
    length, skull = shape["head"], shape["skull"]
    at["head_top"] = at["neck"] + along(head, 0, length, 0)
    at["skull"] = at["neck"] + along(head, 0, length - skull, 0)
    at["jaw"] = at["neck"] + along(head, 0, length - 2.05 * skull, 0.22 * skull)
    at["nose"] = at["skull"] + along(head, 0, -0.35 * skull, 1.0 * skull)
    at["hair"] = at["skull"] + along(head, 0, -0.15 * skull, -0.30 * skull)
    at["bun"] = at["skull"] + along(head, 0, (0.9 - 3.0 * extras[:, 2]) * skull, -(0.9 + 0.7 * extras[:, 3]) * skull)
    at["brim"] = at["skull"] + along(head, 0, 0.35 * skull, 1.55 * skull)


def _radii(shape: dict[str, Floats], extras: Floats) -> Floats:
    """``N×P×2`` radii; a part that an instance lacks has -1."""
    arm, leg, skull = shape["arm_girth"], shape["leg_girth"], shape["skull"]
    chest, waist, hip = shape["chest_depth"], shape["waist_depth"], shape["hip_depth"]
    some = np.where(extras[:, [0, 4, 5]] < (0.12, 0.35, 0.16), 1.0, np.nan)
    skirt, bun, cap = some.T
    ends: dict[str, tuple[Floats, Floats]] = {
        "upper_arm": (arm * 1.15, arm * 0.88),
        "forearm": (arm * 0.92, arm * 0.62),
        "hand": (arm * 0.66, arm * 0.62),
        "thumb": (arm * 0.36, arm * 0.30),
        "thigh": (leg * 1.12, leg * 0.74),
        "shin": (leg * 0.76, leg * 0.46),
        "foot": (leg * 0.46, leg * 0.40),
        "flank": (chest * 0.92, waist * 0.92),
        "belly": (waist * 0.92, hip * 0.92),
        "back": (chest * 0.62, waist),
        "shoulders": (arm * 1.25, arm * 1.25),
        "pelvis": (hip, hip),
        "neck": (skull * 0.66, skull * 0.62),
        "head": (skull * 0.74, skull),
        "hair": (skull * 0.98, skull * 0.98),
        "bun": (skull * 0.5 * bun, skull * (0.3 + 0.25 * extras[:, 6]) * bun),
        "nose": (skull * 0.22, skull * 0.22),
        "brim": (skull * 0.34 * cap, skull * 1.03 * cap),
        "eye": (skull * 0.10, skull * 0.10),
        "skirt": (hip * 0.95 * skirt, hip * (0.9 + 0.3 * extras[:, 7]) * skirt),
    }
    columns = [ends[name.removeprefix("left_").removeprefix("right_")] for name, _, _ in PARTS]
    return np.asarray(np.nan_to_num(np.moveaxis(np.array(columns), -1, 0), nan=-1.0))
