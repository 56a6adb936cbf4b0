"""Posed bodies in front of a camera: projection, framing, boxes, visibility, all vectorised over instances.

Axes of a body and of the camera: x to the right of the picture (a body that faces the camera has its own left there),
y up, z towards the viewer. In a :class:`Scene` positions are pixels, y points **down**, depth towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from poseshift.data.synth.domains import Camera
from poseshift.data.synth.uniforms import Draws, Floats

Array = npt.NDArray[np.floating]
_CHUNK = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """``N`` posed bodies in body units and world axes, made of ``P`` tapered capsules.

    Attributes:
        sites: ``N×S×3`` named points.
        start: ``P`` indices of sites, where each capsule begins.
        end: ``P`` indices of sites, where it ends.
        radius: ``N×P×2`` radii at its two ends; not positive: the instance lacks this part.
        front: ``N×P×3`` unit vector that says where the front of the part looks.
        joints: ``K`` indices of the sites that are keypoints.
        exempt: ``K×P``: parts that never count as hiding a keypoint, since it lies inside or on them.
        margin: ``K``: how far (body units) in front of a keypoint a surface must lie to hide it.
    """

    sites: Floats
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    radius: Floats
    front: Floats
    joints: npt.NDArray[np.int64]
    exempt: npt.NDArray[np.bool_]
    margin: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """``N`` framed pictures, in pixels.

    Attributes:
        start: ``N×P×3`` (x, y down, depth), where each capsule begins; ``end`` likewise.
        radius: ``N×P×2``.
        front: ``N×P×3`` unit vectors, y down.
        joints: ``N×K×3``.
        scale: ``N`` pixels per body unit.
        boxes: ``N×4`` corners that bound the silhouette, in the picture or not.
        occluders: ``N×M×5`` (x, y, half width, half height, angle); half width 0 where there is none.
    """

    start: Floats
    end: Floats
    radius: Floats
    front: Floats
    joints: Floats
    scale: Floats
    boxes: Floats
    occluders: Floats

    def __getitem__(self, row: int) -> Scene:
        """One picture, as a scene of ``N = 1``."""
        return Scene(**{column.name: getattr(self, column.name)[row : row + 1] for column in fields(self)})


def rotation(axis: int, radians: Floats) -> Floats:
    """Rotation matrices ``…×3×3`` about axis 0, 1 or 2; positive turns axis+1 towards axis+2."""
    cosine, sine = np.cos(radians), np.sin(radians)
    matrix = np.zeros((*radians.shape, 3, 3))
    following, last = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., following, following] = matrix[..., last, last] = cosine
    matrix[..., last, following] = sine
    matrix[..., following, last] = -sine
    return matrix


def along(frame: Floats, x: Floats | float, y: Floats | float, z: Floats | float) -> Floats:
    """A vector given in the axes of ``frame`` (``…×3×3``), in the world: ``…×3``. ``x``, ``y``, ``z``: ``…``."""
    parts = [
        frame[..., axis] * np.asarray(value)[..., None]
        for axis, value in enumerate((x, y, z))
        if not isinstance(value, (int, float)) or value != 0
    ]
    return np.asarray(sum(parts[1:], start=parts[0]))


def heading(camera: Camera, draws: Draws) -> Floats:
    """``N`` radians from facing the camera towards the right of the picture."""
    share = draws.uniform("heading", 3)
    yaw = camera.yaw[0] + share[:, 0] * (camera.yaw[1] - camera.yaw[0]) + 180 * (share[:, 1] < camera.behind)
    return np.asarray(np.radians(np.where(share[:, 2] < 0.5, yaw, -yaw)))


def frame(body: Body, camera: Camera, draws: Draws, side: int, occluders: tuple[float, float]) -> Scene:
    """Look at the bodies with drawn cameras and fit each into a picture of ``side`` pixels."""
    elevation, roll, distance, span, shift_x, shift_y = draws.between(
        "camera", (camera.elevation, camera.roll, camera.distance, camera.span, camera.shift, camera.shift)
    ).T
    view = rotation(2, np.radians(roll)) @ rotation(0, np.radians(elevation)) @ rotation(1, heading(camera, draws))
    seen = body.sites @ view.swapaxes(1, 2)
    nearness = distance[:, None] / (distance[:, None] - seen[..., 2])
    seen = seen * np.stack([nearness, -nearness, np.ones_like(nearness)], axis=-1)
    ends = np.stack([body.start, body.end], axis=1)
    radius = body.radius * nearness[:, ends]
    centre = seen[:, ends, :2]
    grow = np.where(radius > 0, radius, -np.inf)[..., None]
    # a joint on the surface (the crown) may stick out by a hair under perspective
    joints = seen[:, body.joints, :2]
    low = np.minimum((centre - grow).min((1, 2)), joints.min(1))
    high = np.maximum((centre + grow).max((1, 2)), joints.max(1))
    scale = span * side / (high - low).max(1)
    slack = np.abs(side - scale[:, None] * (high - low)) / 2
    shift = np.stack([shift_x, shift_y], 1)
    offset = (side - 1) / 2 + shift * slack - scale[:, None] * (low + high) / 2
    place = np.concatenate([offset, np.zeros((len(offset), 1))], 1)[:, None]
    seen = seen * scale[:, None, None] + place
    boxes = np.concatenate([low, high], 1) * scale[:, None] + np.tile(offset, 2)
    return Scene(
        start=seen[:, body.start],
        end=seen[:, body.end],
        radius=radius * scale[:, None, None],
        front=body.front @ view.swapaxes(1, 2) * (1, -1, 1),
        joints=seen[:, body.joints],
        scale=scale,
        boxes=boxes,
        occluders=_occluders(draws, boxes, occluders),
    )


def _occluders(draws: Draws, boxes: Floats, count: tuple[float, float], most: int = 3) -> Floats:
    """Turned rectangles or ellipses over parts of the body: ``N×most×5``."""
    wanted = draws.between("occluder count", (count,))
    x, y, width, height, angle = np.moveaxis(draws.uniform("occluders", 5 * most).reshape(-1, most, 5), 2, 0)
    extent = (boxes[:, 2:] - boxes[:, :2]).max(1)[:, None]
    present = np.arange(most) + 0.5 < wanted
    return np.stack(
        [
            boxes[:, :1] + x * (boxes[:, 2:3] - boxes[:, :1]),
            boxes[:, 1:2] + y * (boxes[:, 3:] - boxes[:, 1:2]),
            np.where(present, (0.04 + 0.10 * width) * extent, 0.0),
            (0.04 + 0.14 * height) * extent,
            angle * np.pi,
        ],
        axis=-1,
    )


@dataclass(frozen=True, eq=False)
class Surface:
    """What a capsule shows at a point: depth, unit normal, place along its axis (0 to 1) and across it (pixels)."""

    depth: Array
    normal: tuple[Array, Array, Array]
    along: Array
    across: Array


def capsule_inside(
    x: Array, y: Array, start: tuple[Array, ...], end: tuple[Array, ...], radii: tuple[Array, ...]
) -> Array:
    """Signed distance to the outline of a tapered capsule at picture points, positive inside; arguments broadcast."""
    run_x, run_y = end[0] - start[0] + 1e-3, end[1] - start[1]
    from_x, from_y = x - start[0], y - start[1]
    t = np.clip((from_x * run_x + from_y * run_y) / (run_x * run_x + run_y * run_y), 0, 1)
    away_x, away_y = from_x - t * run_x, from_y - t * run_y
    inside = radii[0] + (radii[1] - radii[0]) * t - np.sqrt(away_x * away_x + away_y * away_y)
    # a foreshortened taper may lie wholly within the disc of its start
    return np.asarray(np.maximum(inside, radii[0] - np.sqrt(from_x * from_x + from_y * from_y)))


def capsule_surface(
    x: Array, y: Array, start: tuple[Array, ...], end: tuple[Array, ...], radii: tuple[Array, ...]
) -> Surface:
    """Surface of a tapered capsule under parallel projection, at picture points; all arguments broadcast.

    With ``s`` along and ``h`` across the projected axis of length ``L`` and depth difference ``dz``, the depth
    ``dz t + sqrt(r² - h² - (s - L t)²)`` is largest at ``t = (s + q dz / sqrt(L² + dz²)) / L``, ``q² = r² - h²``.
    """
    # the small step gives a ball, whose two ends are one, a direction
    run_x, run_y, rise = end[0] - start[0] + 1e-3, end[1] - start[1], end[2] - start[2]
    length = np.sqrt(run_x * run_x + run_y * run_y)
    unit_x, unit_y = run_x / length, run_y / length
    from_x, from_y = x - start[0], y - start[1]
    s = from_x * unit_x + from_y * unit_y
    h = from_y * unit_x - from_x * unit_y
    taper = radii[1] - radii[0]
    t = np.clip(s / length, 0, 1)
    r = radii[0] + taper * t
    h2 = h * h
    q = np.sqrt(np.maximum(r * r - h2, 0))
    t = np.clip((s + q * rise / np.sqrt(length * length + rise * rise)) / length, 0, 1)
    r = radii[0] + taper * t
    u = s - length * t
    flat = u * u + h2
    bulge = np.sqrt(np.maximum(r * r - flat, 0))
    norm = 1 / (np.sqrt(flat + bulge * bulge) + 1e-3)
    normal = ((u * unit_x - h * unit_y) * norm, (u * unit_y + h * unit_x) * norm, bulge * norm)
    return Surface(start[2] + rise * t + bulge, normal, t, h)


def visibility(scene: Scene, body: Body, side: int) -> npt.NDArray[np.uint8]:
    """``N×K``: 0 outside the picture, 1 behind the own body or an occluder, 2 visible."""
    hidden = np.zeros(scene.joints.shape[:2], np.bool_)
    for begin in range(0, len(hidden), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        hidden[rows] = _self_hidden(scene, body, rows)
    x, y = scene.joints[..., 0], scene.joints[..., 1]
    for m in range(scene.occluders.shape[1]):
        hidden |= occluder_distance(x, y, scene.occluders[:, m].T[..., None]) > 0
    outside = (x < -0.5) | (y < -0.5) | (x >= side - 0.5) | (y >= side - 0.5)
    return np.where(outside, 0, np.where(hidden, 1, 2)).astype(np.uint8)


def occluder_distance(x: Array, y: Array, occluder: Array) -> Array:
    """Distance inside an occluder (positive inside): a turned box with the five rows of ``occluder``."""
    cosine, sine = np.cos(occluder[4]), np.sin(occluder[4])
    dx, dy = x - occluder[0], y - occluder[1]
    u = np.abs(dx * cosine + dy * sine) - occluder[2]
    v = np.abs(dy * cosine - dx * sine) - occluder[3]
    return np.where(occluder[2] > 0, -np.maximum(u, v), -np.inf)


def _self_hidden(scene: Scene, body: Body, rows: slice) -> npt.NDArray[np.bool_]:
    start, end, radius = scene.start[rows], scene.end[rows], scene.radius[rows]
    joints = scene.joints[rows]
    reach = radius.max(-1)
    low = np.minimum(start, end) - reach[..., None]
    high = np.maximum(start, end) + reach[..., None]
    needed = joints[..., 2] + body.margin * scene.scale[rows, None]
    candidate = ~body.exempt & (high[:, None, :, 2] > needed[..., None])
    for axis in (0, 1):
        at = joints[..., axis, None]
        candidate &= (low[:, None, :, axis] < at) & (high[:, None, :, axis] > at)
    n, k, p = np.nonzero(candidate)
    a, b, r = start[n, p].T, end[n, p].T, radius[n, p].T
    at_x, at_y, _ = joints[n, k].T
    inside = capsule_inside(at_x, at_y, tuple(a), tuple(b), tuple(r))
    surface = capsule_surface(at_x, at_y, tuple(a), tuple(b), tuple(r))
    hides = (inside > 0) & (surface.depth > needed[n, k]) & (r.min(0) > 0)
    hidden = np.zeros(joints.shape[:2], np.bool_)
    hidden[n[hides], k[hides]] = True
    return hidden
