"""People: lengths and angles inside the stated ranges, left and right where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseshift.data.skeletons import SKELETONS
from poseshift.data.synth import FIGURE_DOMAINS, people
from poseshift.data.synth.people_domains import LIMB_ANGLES, POSES, TRUNK_ANGLES, WILD_ANGLES
from poseshift.data.synth.uniforms import Draws

_LIMBS = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "thigh": ("hip", "knee"),
    "shin": ("knee", "ankle"),
}


def test_the_first_sites_are_the_skeleton() -> None:
    assert people.SITES[:14] == SKELETONS["lsp"].keypoints


@given(st.sampled_from(sorted(FIGURE_DOMAINS)), st.integers(0, 2**31))
def test_limb_lengths_lie_in_the_stated_ranges(name: str, first: int) -> None:
    domain = FIGURE_DOMAINS[name]
    body = people.bodies(domain, Draws(2, np.arange(first, first + 40)), np.zeros(40, np.int64))
    at = {site: body.sites[:, i] for i, site in enumerate(people.SITES)}
    lengths = {
        (limb, side): np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"], axis=1)
        for limb, (a, b) in _LIMBS.items()
        for side in ("left", "right")
    }
    lengths["head", ""] = np.linalg.norm(at["head_top"] - at["neck"], axis=1)
    lengths["hips", ""] = np.linalg.norm(at["left_hip"] - at["right_hip"], axis=1) / 2
    for (limb, side), length in lengths.items():
        low, high = domain.shape[limb]
        assert np.all((low - 1e-9 <= length) & (length <= high + 1e-9)), (limb, side)


def test_angles_lie_in_the_stated_ranges() -> None:
    domain = FIGURE_DOMAINS["source"]
    trunk, limbs = people.angles(domain, Draws(2, np.arange(4_000)))
    for column, (angle, rest) in enumerate(TRUNK_ANGLES.items()):
        ranges = [rest, *(pose[angle] for pose in POSES.values() if angle in pose)]
        assert np.degrees(trunk[:, column]).min() >= min(low for low, _ in ranges) - 1e-9
        assert np.degrees(trunk[:, column]).max() <= max(high for _, high in ranges) + 1e-9
    for column, (angle, rest) in enumerate(LIMB_ANGLES.items()):
        stated = [pose[key] for pose in POSES.values() for key in (angle, f"other_{angle}") if key in pose]
        ranges = [rest, WILD_ANGLES[angle], *stated]
        assert np.degrees(limbs[..., column]).min() >= min(low for low, _ in ranges) - 1e-9
        assert np.degrees(limbs[..., column]).max() <= max(high for _, high in ranges) + 1e-9


def test_every_pose_names_known_angles() -> None:
    known = {*TRUNK_ANGLES, *LIMB_ANGLES, *(f"other_{angle}" for angle in LIMB_ANGLES)}
    for name, pose in POSES.items():
        assert set(pose) <= known, name
        assert all(low <= high for low, high in pose.values()), name


def test_own_left_is_at_positive_x_and_the_nose_in_front() -> None:
    trunk, limbs = np.zeros((1, 8)), np.zeros((1, 2, 9))
    shape = {name: np.array([sum(bounds) / 2]) for name, bounds in FIGURE_DOMAINS["source"].shape.items()}
    sites, _, _ = people.place(shape, trunk, limbs, np.zeros((1, 8)))
    at = {site: sites[0, i] for i, site in enumerate(people.SITES)}
    for joint in ("shoulder", "hip", "knee", "wrist"):
        assert at[f"left_{joint}"][0] > 0 > at[f"right_{joint}"][0]
    assert at["nose"][2] > at["skull"][2] > at["hair"][2]
    assert at["left_toe"][2] > at["left_ankle"][2]
    assert at["head_top"][1] > at["neck"][1] > at["left_hip"][1] > at["left_knee"][1] > at["left_ankle"][1]


@pytest.mark.parametrize(
    ("angle", "joint", "axis", "sign"),
    [
        ("arm_raise", "wrist", 2, 1), ("elbow", "wrist", 2, 1), ("leg_raise", "knee", 2, 1), ("knee", "ankle", 2, -1),
        ("arm_spread", "wrist", 0, 1), ("leg_spread", "ankle", 0, 1), ("ankle", "toe", 1, -1),
    ],
)  # fmt: skip
def test_a_positive_angle_moves_the_left_limb(angle: str, joint: str, axis: int, sign: int) -> None:
    shape = {name: np.array([sum(bounds) / 2]) for name, bounds in FIGURE_DOMAINS["source"].shape.items()}
    still, bent = np.zeros((1, 2, 9)), np.zeros((1, 2, 9))
    bent[..., list(LIMB_ANGLES).index(angle)] = 0.5
    site = people.SITES.index(f"left_{joint}")
    before, after = (people.place(shape, np.zeros((1, 8)), a, np.zeros((1, 8)))[0][0, site] for a in (still, bent))
    assert sign * (after - before)[axis] > 0.02
