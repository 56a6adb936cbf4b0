"""Quadrupeds: lengths inside the stated ranges, sides, the two categories."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poseshift.data.skeletons import SKELETONS
from poseshift.data.synth import QUADRUPED_DOMAINS, quadruped
from poseshift.data.synth.quadruped_domains import LEG_ANGLES, POSES, TRUNK_ANGLES
from poseshift.data.synth.uniforms import Draws


def test_the_joints_are_the_skeleton() -> None:
    assert SKELETONS["animal14"].keypoints == quadruped.JOINTS


@given(st.sampled_from(sorted(QUADRUPED_DOMAINS)), st.integers(0, 2**31))
def test_leg_lengths_lie_in_the_stated_ranges_times_the_categorys_factor(name: str, first: int) -> None:
    domain = QUADRUPED_DOMAINS[name]
    category = np.arange(40) % 2
    body = quadruped.bodies(domain, Draws(2, np.arange(first, first + 40)), category)
    at = {site: body.sites[:, i] for i, site in enumerate(quadruped.SITES)}
    for leg in quadruped.LEGS:
        front = "front" in leg
        names = ("forearm", "pastern") if front else ("shank", "hock")
        for segment, (a, b) in zip(names, (("elbow", "knee"), ("knee", "paw")), strict=True):
            length = np.linalg.norm(at[f"{leg}_{a}"] - at[f"{leg}_{b}"], axis=1)
            factor = np.where(category == quadruped.SHEEP, quadruped.SHEEP_FACTORS.get(segment, 1.0), 1.0)
            low, high = domain.shape[segment]
            assert np.all(length >= low * factor - 1e-9)
            assert np.all(length <= high * factor + 1e-9)


def test_every_pose_names_known_angles() -> None:
    known = {*TRUNK_ANGLES, *LEG_ANGLES, *(f"other_{angle}" for angle in LEG_ANGLES)}
    for name, pose in POSES.items():
        assert set(pose) <= known, name


def test_own_left_is_at_positive_x_and_the_nose_in_front() -> None:
    domain = QUADRUPED_DOMAINS["source"]
    shape = {name: np.array([sum(bounds) / 2]) for name, bounds in domain.shape.items()}
    rest = np.radians([[sum(bounds) / 2 for bounds in TRUNK_ANGLES.values()]])
    legs = np.radians([[[sum(bounds) / 2 for bounds in LEG_ANGLES.values()]] * 2])
    sites, _, _ = quadruped.place(shape, rest, legs, np.zeros((1, 5 + 3 * 9)))
    at = {site: sites[0, i] for i, site in enumerate(quadruped.SITES)}
    for joint in ("eye", "ear_tip", "front_paw", "back_knee"):
        assert at[f"left_{joint}"][0] > 0 > at[f"right_{joint}"][0]
    assert at["nose"][2] > at["skull"][2] > at["rump"][2] > at["tail_tip"][2]
    for leg in quadruped.LEGS:
        assert at[f"{leg}_elbow"][1] > at[f"{leg}_knee"][1] > at[f"{leg}_paw"][1]
    assert at["left_back_knee"][2] < at["left_back_elbow"][2]


def test_only_sheep_have_wool() -> None:
    category = np.array([quadruped.DOG, quadruped.SHEEP])
    body = quadruped.bodies(QUADRUPED_DOMAINS["source"], Draws(2, np.arange(2)), category)
    wool = [i for i, (name, _, _) in enumerate(quadruped.PARTS) if name.startswith("wool")]
    assert np.all(body.radius[0, wool] < 0)
    assert np.all(body.radius[1, wool] > 0)
