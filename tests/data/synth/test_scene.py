"""Projection, framing, capsules and visibility."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseshift.data.synth import FIGURE_DOMAINS, QUADRUPED_DOMAINS, people, quadruped
from poseshift.data.synth.domains import Domain
from poseshift.data.synth.scene import (
    Body,
    Scene,
    capsule_inside,
    capsule_surface,
    frame,
    occluder_distance,
    rotation,
    visibility,
)
from poseshift.data.synth.uniforms import Draws


@given(st.integers(0, 2), st.floats(-10, 10))
def test_rotation_is_proper_and_turns_the_next_axis_to_the_one_after(axis: int, angle: float) -> None:
    matrix = rotation(axis, np.array([angle]))[0]
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.isclose(np.linalg.det(matrix), 1)
    quarter = rotation(axis, np.array([np.pi / 2]))[0]
    assert np.allclose(quarter @ np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3])


def _numbers(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value]) for value in values)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-12, 12), st.floats(-12, 12), st.floats(-12, 12))
def test_capsule_depth_is_the_nearest_of_all_its_balls(x: float, y: float, dx: float, dy: float, dz: float) -> None:
    radius = 5.0
    t = np.linspace(0, 1, 20_001)
    squared = radius**2 - (x - t * dx) ** 2 - (y - t * dy) ** 2
    inside = capsule_inside(*_numbers(x, y), _numbers(0, 0, 0), _numbers(dx, dy, dz), _numbers(radius, radius))[0]
    away = radius - np.sqrt((radius**2 - squared).min())
    assert inside == pytest.approx(away, abs=0.02)
    if away > 0.5:
        seen = capsule_surface(*_numbers(x, y), _numbers(0, 0, 0), _numbers(dx, dy, dz), _numbers(radius, radius))
        expected = np.where(squared >= 0, t * dz + np.sqrt(np.maximum(squared, 0)), -np.inf).max()
        # a capsule seen end-on is the ball of its nearer end: there, a step of 1e-3 px may matter
        assert seen.depth[0] == pytest.approx(expected, abs=0.15)


def test_occluder_is_inside_where_it_is_drawn() -> None:
    box = np.array([10.0, 5.0, 4.0, 2.0, np.pi / 2])
    assert occluder_distance(np.array(11.5), np.array(8.0), box) > 0
    assert occluder_distance(np.array(13.0), np.array(5.0), box) < 0
    assert occluder_distance(np.array(10.0), np.array(5.0), box * (1, 1, 0, 1, 1)) == -np.inf


def _scenes(domain: Domain, count: int, side: int) -> tuple[Body, Scene]:
    module = people if domain.name in FIGURE_DOMAINS and domain is FIGURE_DOMAINS[domain.name] else quadruped
    draws = Draws(11, np.arange(count))
    body = module.bodies(domain, draws, np.arange(count) % 2)
    return body, frame(body, domain.camera, draws, side, domain.look.occluders)


@pytest.mark.parametrize("domain", [*FIGURE_DOMAINS.values(), *QUADRUPED_DOMAINS.values()])
def test_span_and_shift_are_kept(domain: Domain) -> None:
    _, scene = _scenes(domain, 300, 120)
    extent = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1) / 120
    assert extent.min() >= domain.camera.span[0] - 1e-9
    assert extent.max() <= domain.camera.span[1] + 1e-9
    if domain.camera.span[1] <= 1:
        assert scene.boxes.min() >= -0.5 - 1e-9
        assert scene.boxes.max() <= 119.5 + 1e-9


def test_a_ball_in_front_hides_and_one_behind_does_not() -> None:
    sites = np.array([[[0, 0, 0], [0.1, 0, 0.5], [0.1, 0, -0.5]]], np.float64)

    def seen(part: int) -> int:
        body = Body(
            sites=sites,
            start=np.array([part]),
            end=np.array([part]),
            radius=np.full((1, 1, 2), 0.3),
            front=np.zeros((1, 1, 3)),
            joints=np.array([0]),
            exempt=np.zeros((1, 1), np.bool_),
            margin=np.array([0.1]),
        )
        pixels = sites * (50, -50, 50) + (40, 30, 0)
        scene = Scene(
            start=pixels[:, [part]],
            end=pixels[:, [part]],
            radius=body.radius * 50,
            front=body.front,
            joints=pixels[:, :1],
            scale=np.array([50.0]),
            boxes=np.zeros((1, 4)),
            occluders=np.zeros((1, 0, 5)),
        )
        return int(visibility(scene, body, 64)[0, 0])

    assert seen(1) == 1
    assert seen(2) == 2


def test_joints_outside_the_picture_are_not_labelled() -> None:
    body, scene = _scenes(QUADRUPED_DOMAINS["source"], 2_000, 96)
    visible = visibility(scene, body, 96)
    x, y = scene.joints[..., 0], scene.joints[..., 1]
    outside = (x < -0.5) | (y < -0.5) | (x >= 95.5) | (y >= 95.5)
    assert np.array_equal(visible == 0, outside)
    assert outside.any()


def test_most_joints_are_visible_and_some_hidden() -> None:
    body, scene = _scenes(FIGURE_DOMAINS["source"], 2_000, 96)
    shares = np.bincount(visibility(scene, body, 96).ravel(), minlength=3) / (2_000 * 14)
    assert shares[0] == 0
    assert 0.05 < shares[1] < 0.3
