"""Drawn pixels against geometry: the pixel convention, depth order, soft edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseshift.data.synth import FIGURE_DOMAINS, QUADRUPED_DOMAINS, people, quadruped
from poseshift.data.synth.render import Paint, draw
from poseshift.data.synth.scene import Scene, frame
from poseshift.data.synth.uniforms import Draws


def _paint(*colours: tuple[float, float, float]) -> Paint:
    parts = len(colours)
    near = np.array(colours, np.float32)
    return Paint(
        near=near,
        far=near,
        back=near,
        cut=np.full(parts, 2, np.float32),
        back_at=np.full(parts, -2, np.float32),
        wave=np.zeros((parts, 5), np.float32),
        ink=near,
        texture=0.0,
        tile=np.zeros((64, 64), np.float32),
        fineness=1.0,
        light=(0.0, 0.0, 1.0),
        ambient=1.0,
        direct=0.0,
    )


def _scene(start: np.ndarray, end: np.ndarray, radius: np.ndarray) -> Scene:
    parts = len(start)
    return Scene(
        start=start[None],
        end=end[None],
        radius=radius[None],
        front=np.zeros((1, parts, 3)),
        joints=np.zeros((1, 0, 3)),
        scale=np.ones(1),
        boxes=np.zeros((1, 4)),
        occluders=np.zeros((1, 0, 5)),
    )


def _coverage(scene: Scene, height: int, width: int) -> np.ndarray:
    canvas = np.ones((height, width, 3), np.float32)
    return 1 - draw(canvas, scene, _paint(*[(0, 0, 0)] * scene.start.shape[1]))[..., 0]


@given(st.floats(8, 30), st.floats(8, 20), st.floats(1.5, 6))
def test_a_ball_is_drawn_where_its_centre_is(x: float, y: float, radius: float) -> None:
    point = np.array([[x, y, 0.0]])
    cover = _coverage(_scene(point, point, np.full((1, 2), radius)), 29, 40)
    rows, columns = np.mgrid[0:29, 0:40]
    assert (cover * columns).sum() / cover.sum() == pytest.approx(x, abs=0.1)
    assert (cover * rows).sum() / cover.sum() == pytest.approx(y, abs=0.1)
    assert cover.sum() == pytest.approx(np.pi * radius**2, rel=0.03, abs=0.6)


@pytest.mark.parametrize("swap", [False, True])
def test_the_nearer_part_hides_whatever_the_order(swap: bool) -> None:
    near, far = np.array([20.0, 15.0, 9.0]), np.array([20.0, 15.0, -9.0])
    points = np.stack([far, near] if swap else [near, far])
    paint = _paint((0, 1, 0), (1, 0, 0)) if swap else _paint((1, 0, 0), (0, 1, 0))
    canvas = draw(np.zeros((30, 41, 3), np.float32), _scene(points, points, np.full((2, 2), 5.0)), paint)
    assert canvas[15, 20, 0] > 0.9
    assert canvas[15, 20, 1] == 0


def test_parts_outside_or_absent_leave_the_canvas_alone() -> None:
    points = np.array([[-50.0, 10.0, 0.0], [10.0, 10.0, 0.0]])
    radius = np.array([[4.0, 4.0], [-1.0, -1.0]])
    canvas = draw(np.full((20, 31, 3), 0.5, np.float32), _scene(points, points, radius), _paint((1, 0, 0), (1, 0, 0)))
    assert np.all(canvas == 0.5)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["figures", "quadrupeds"]), st.integers(0, 10_000))
def test_keypoints_sit_in_the_middle_of_markers_drawn_at_their_joints(kind: str, index: int) -> None:
    module, domains = (people, FIGURE_DOMAINS) if kind == "figures" else (quadruped, QUADRUPED_DOMAINS)
    domain = domains["source"]
    draws = Draws(5, np.array([index]))
    body = module.bodies(domain, draws, np.zeros(1, np.int64))
    scene = frame(body, domain.camera, draws, 96, (0, 0))
    rows, columns = np.mgrid[0:96, 0:96]
    for joint in scene.joints[0]:
        if not (4 < joint[0] < 91 and 4 < joint[1] < 91):
            continue
        cover = _coverage(_scene(joint[None], joint[None], np.full((1, 2), 2.0)), 96, 96)
        centre = (cover * columns).sum() / cover.sum(), (cover * rows).sum() / cover.sum()
        assert np.hypot(centre[0] - joint[0], centre[1] - joint[1]) < 0.1


def test_a_forearm_runs_through_elbow_and_wrist() -> None:
    domain = FIGURE_DOMAINS["source"]
    draws = Draws(5, np.arange(12))
    body = people.bodies(domain, draws, np.zeros(12, np.int64))
    scene = frame(body, domain.camera, draws, 131, (0, 0))
    part = [name for name, _, _ in people.PARTS].index("right_forearm")
    rows, columns = np.mgrid[0:131, 0:131]
    for i in range(12):
        # drawn without its taper, which would move the centroid towards the elbow
        only = _scene(scene.start[i, [part]], scene.end[i, [part]], np.full((1, 2), 1.0))
        cover = _coverage(only, 131, 131)
        for joint in (6, 7):
            away = np.hypot(columns - scene.joints[i, joint, 0], rows - scene.joints[i, joint, 1])
            assert cover[away < 0.75].max() > 0.3
        middle = scene.joints[i, [6, 7], :2].mean(0)
        centre = np.array([(cover * columns).sum(), (cover * rows).sum()]) / cover.sum()
        assert np.linalg.norm(centre - middle) < 0.6
