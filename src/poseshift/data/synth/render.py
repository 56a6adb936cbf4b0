"""Draws the capsules of one picture: per-pixel depth, soft edges from the distance to the outline, lambert shading.

All fragments of all parts go through one flat pass; they are then sorted by pixel and depth and blended front to back,
so crossing limbs hide each other exactly and edges need no supersampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseshift.data.synth.scene import Scene, capsule_inside, capsule_surface

Pixels = npt.NDArray[np.float32]
_LAYERS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Paint:
    """Colours of the ``P`` parts of one picture, RGB from 0 to 1, and its light.

    Attributes:
        near: ``P×3`` colour from the start of a part up to ``cut``.
        far: ``P×3`` colour beyond.
        back: ``P×3`` colour of what looks away from the front by more than ``back_at``.
        cut: ``P``, share of the length.
        back_at: ``P``, cosine in [-1, 1]; -2 for none.
        wave: ``P×5``: frequency along and across (radians per pixel), their phases, contrast of a pattern.
        ink: ``P×3`` second colour of the pattern.
        texture: Amplitude of the fine texture; ``tile`` its ``64×64`` noise; ``fineness`` pixels of the tile per pixel.
        light: Direction of the lamp (x, y down, towards the viewer). ``ambient`` and ``direct``: strengths.
    """

    near: Pixels
    far: Pixels
    back: Pixels
    cut: Pixels
    back_at: Pixels
    wave: Pixels
    ink: Pixels
    texture: float
    tile: Pixels
    fineness: float
    light: tuple[float, float, float]
    ambient: float
    direct: float


def draw(canvas: Pixels, scene: Scene, paint: Paint) -> Pixels:
    """Draw the first instance of ``scene`` over ``canvas`` (``H×W×3``, 0 to 1) and return ``canvas``.

    The alpha of a fragment is the signed distance to the outline plus one half, so an edge that passes through the
    centre of a pixel covers half of it.
    """
    start, end = scene.start[0].astype(np.float32), scene.end[0].astype(np.float32)
    radius, front = scene.radius[0].astype(np.float32), scene.front[0].astype(np.float32)
    part, x, y = _fragments(start, end, radius, canvas.shape[:2])
    if not len(part):
        return canvas
    shapes = np.concatenate([start, end, radius], axis=1)
    inside = capsule_inside(x, y, *_columns(shapes, part))
    kept = np.flatnonzero(inside > -0.5)
    part, x, y = part[kept], x[kept], y[kept]
    alpha = np.minimum(inside[kept] + np.float32(0.5), np.float32(1))
    surface = capsule_surface(x, y, *_columns(shapes, part))
    nx, ny, nz = surface.normal
    along, across = surface.along, surface.across
    length = np.hypot(end[:, 0] - start[:, 0], end[:, 1] - start[:, 1])[part]
    facing = np.einsum("fc,fc->f", np.stack([nx, ny, nz], 1), front[part])
    colour = _colour(paint, part, along, along * length, across, facing)
    shade = paint.ambient * (0.72 + 0.28 * nz) + paint.direct * np.maximum(
        nx * paint.light[0] + ny * paint.light[1] + nz * paint.light[2], 0
    )
    if paint.texture > 0:
        u, v = (x * paint.fineness).astype(np.int64) & 63, (y * paint.fineness).astype(np.int64) & 63
        shade *= np.maximum(1 + 2 * paint.texture * paint.tile[v, u], 0.3)
    colour *= shade.astype(np.float32)[:, None]
    pixel = y.astype(np.int64) * canvas.shape[1] + x.astype(np.int64)
    _blend(canvas, pixel, surface.depth, alpha, colour)
    return canvas


def _fragments(
    start: Pixels, end: Pixels, radius: Pixels, size: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], Pixels, Pixels]:
    """Part, x and y of every pixel in the bounding rectangle of every part."""
    height, width = size
    reach = radius.max(1, keepdims=True) + 1
    low = np.clip(np.floor(np.minimum(start, end)[:, :2] - reach), 0, (width, height)).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(start, end)[:, :2] + reach) + 1, 0, (width, height)).astype(np.int64)
    extent = np.where(radius.max(1, keepdims=True) > 0, np.maximum(high - low, 0), 0)
    area = extent[:, 0] * extent[:, 1]
    part = np.repeat(np.arange(len(area)), area)
    local = np.arange(len(part)) - np.repeat(np.cumsum(area) - area, area)
    row, column = np.divmod(local, extent[part, 0])
    corner = low.astype(np.float32)[part]
    return part, corner[:, 0] + column.astype(np.float32), corner[:, 1] + row.astype(np.float32)


def _columns(shapes: Pixels, part: npt.NDArray[np.int64]) -> tuple[tuple[Pixels, ...], ...]:
    """Start, end and radii of the part of each fragment, as arguments of the capsule functions."""
    columns = tuple(np.ascontiguousarray(shapes.T)[:, part])
    return columns[:3], columns[3:6], columns[6:]


def _colour(
    paint: Paint, part: npt.NDArray[np.int64], along: Pixels, run: Pixels, across: Pixels, facing: Pixels
) -> Pixels:
    """Unlit colour of each fragment, ``F×3``."""
    beyond = along > paint.cut[part]
    behind = facing < paint.back_at[part]
    colours = np.concatenate([paint.near, paint.far, paint.back])
    colour = colours[part + len(paint.near) * np.where(behind, 2, beyond)]
    wave = paint.wave[part].T
    if wave[4].any():
        weight = wave[4] * np.clip(0.5 + 3 * np.sin(wave[0] * run + wave[2]) * np.sin(wave[1] * across + wave[3]), 0, 1)
        weight[beyond | behind] = 0
        colour += weight[:, None] * (paint.ink[part] - colour)
    return np.asarray(colour)


def _blend(canvas: Pixels, pixel: npt.NDArray[np.int64], depth: Pixels, alpha: Pixels, colour: Pixels) -> None:
    """Blend fragments over the canvas, nearest first, at most ``_LAYERS`` deep."""
    nearness = (depth - depth.min()) * np.float32(256)
    order = np.argsort(pixel * (1 << 24) - nearness.astype(np.int64))
    pixel, alpha, colour = pixel[order], alpha[order], colour[order]
    first = np.flatnonzero(np.concatenate([[True], pixel[1:] != pixel[:-1]]))
    count = np.diff(np.append(first, len(pixel)))
    flat = canvas.reshape(-1, 3)
    place = pixel[first]
    through = np.ones(len(first), np.float32)
    mixed = np.zeros((len(first), 3), np.float32)
    for layer in range(_LAYERS):
        live = np.flatnonzero((count > layer) & (through > 0.004))
        if not len(live):
            break
        at = first[live] + layer
        weight = through[live] * alpha[at]
        mixed[live] += weight[:, None] * colour[at]
        through[live] -= weight
    flat[place] = mixed + through[:, None] * flat[place]
