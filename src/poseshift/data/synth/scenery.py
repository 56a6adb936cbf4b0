"""Backgrounds, things in front of the body, and what a bad camera does to a picture."""

from __future__ import annotations

import math
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from poseshift.data.synth.domains import Look, Range
from poseshift.data.synth.render import Pixels
from poseshift.data.synth.scene import occluder_distance
from poseshift.data.synth.uniforms import Floats
from poseshift.types import ByteArray

_OCTAVES = (5, 11, 24, 48)
_DULL = 0.65
"""Saturation of the scenery as a share of the clothes'."""


@lru_cache(maxsize=64)
def _grid(side: int) -> tuple[Pixels, Pixels]:
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return x, y


def _enlarge(coarse: Pixels, side: int) -> Pixels:
    """``side×side×C`` by linear interpolation of ``h×w×C``."""
    # Pillow and not a matrix product: BLAS threads of several loader workers would fight for the cores
    size = (side, side)
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(coarse[..., c])).resize(size, Image.Resampling.BILINEAR))
        for c in range(coarse.shape[2])
    ]
    return np.stack(planes, axis=-1)


def pick(rng: np.random.Generator, bounds: Range) -> float:
    """One number uniform in a range."""
    return float(bounds[0] + (bounds[1] - bounds[0]) * rng.random())


def any_colour(rng: np.random.Generator, look: Look, vivid: float = 1.0) -> Pixels:
    """A colour of hue at random, with the look's brightness and ``vivid`` times its saturation."""
    hue, value, gray = 6 * rng.random(), pick(rng, look.brightness), vivid * pick(rng, look.saturation)
    shares = (min(max(abs((hue + offset) % 6 - 3) - 1, 0), 1) for offset in (0, 4, 2))
    return np.array([value * (1 - gray * (1 - share)) for share in shares], np.float32)


@lru_cache(maxsize=1)
def _noise() -> Pixels:
    """Fixed standard normal numbers, of which each picture takes a stretch: drawing them anew takes long."""
    return np.random.default_rng(0).standard_normal(1 << 19, dtype=np.float32)


def grain(rng: np.random.Generator, *shape: int) -> Pixels:
    """Standard normal numbers of a shape, from a fixed store where it is large enough."""
    size, store = math.prod(shape), _noise()
    if size > len(store) // 2:
        return rng.standard_normal(shape, dtype=np.float32)
    start = int(rng.integers(len(store) - size))
    return store[start : start + size].reshape(shape)


def background(rng: np.random.Generator, look: Look, side: int, box: Floats) -> Pixels:
    """A picture without the body: ``side×side×3`` in about 0 to 1. ``box``: of the body, for its shadow."""
    palette = np.stack([any_colour(rng, look, _DULL) for _ in range(3)])
    corners = palette[rng.integers(0, 3, (3, 3))] + 0.06 * rng.standard_normal((3, 3, 3))
    canvas = _enlarge(corners.astype(np.float32), side)
    if rng.random() < look.ground:
        _lay_ground(canvas, rng, look)
    canvas = _clutter(canvas, rng, look)
    amplitude = pick(rng, look.scenery)
    if amplitude > 0.02:
        for cells in _OCTAVES:
            if cells < side:
                coarse = grain(rng, cells, cells, 1 + 2 * int(rng.random() < 0.2))
                canvas += _enlarge(coarse * np.float32(0.45 * amplitude * rng.random()), side)
    _cast_shadow(canvas, box, pick(rng, look.shadow))
    return canvas


def _lay_ground(canvas: Pixels, rng: np.random.Generator, look: Look) -> None:
    """Everything below a slanting horizon in another colour, brighter towards the viewer; in place."""
    side = len(canvas)
    level, slope = side * (0.25 + 0.6 * rng.random()), 0.12 * rng.standard_normal()
    blur, soil = 0.5 + 4 * rng.random(), any_colour(rng, look, _DULL)
    rows = slice(max(0, int(level - abs(slope) * side / 2 - blur)), None)
    x, y = (axis[rows] for axis in _grid(side))
    below = np.clip((y - (x[:1] - side / 2) * np.float32(slope) - np.float32(level)) / np.float32(blur) + 0.5, 0, 1)
    bright = soil * (0.8 + 0.4 * y[:, :1, None] / side)
    canvas[rows] += below[..., None] * (bright - canvas[rows])


def _cast_shadow(canvas: Pixels, box: Floats, dark: float) -> None:
    """A soft dark ellipse under the box of a body; in place."""
    side = len(canvas)
    half, tall = 0.45 * (box[2] - box[0]) + 1, 0.06 * side
    low, high = np.clip((box[3] - 1.1 * tall, box[3] + 1.1 * tall + 1), 0, side).astype(int)
    x, y = (axis[low:high] for axis in _grid(side))
    radial = ((x[:1] - np.float32((box[0] + box[2]) / 2)) / np.float32(half)) ** 2
    radial = radial + ((y[:, :1] - np.float32(box[3])) / np.float32(tall)) ** 2
    canvas[low:high] *= (1 - np.float32(dark) * np.clip(np.float32(1.2) - radial, 0, 1))[..., None]


def _clutter(canvas: Pixels, rng: np.random.Generator, look: Look) -> Pixels:
    """Boxes, discs, striped boards and lines, drawn into ``canvas``."""
    side = len(canvas)
    for _ in range(round(pick(rng, look.clutter))):
        _shape(canvas, rng, look)
    x, y = _grid(side)
    for _ in range(round(pick(rng, look.lines))):
        angle, place = rng.random() * np.pi, (rng.random() - 0.5) * side
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        away = np.abs((x[:1] - side / 2) * cosine + ((y[:, :1] - side / 2) * sine - np.float32(place)))
        cover = np.clip((0.003 + 0.015 * rng.random()) * side + 0.5 - away, 0, 1)[..., None]
        canvas += cover * (any_colour(rng, look, _DULL) - canvas)
    return canvas


def _shape(canvas: Pixels, rng: np.random.Generator, look: Look) -> None:
    """One box, disc or striped board."""
    side = len(canvas)
    cx, cy = rng.random(2) * side
    half_x, half_y = (0.03 + 0.25 * rng.random(2) ** 2) * side
    reach = float(np.hypot(half_x, half_y)) + 1
    rows = slice(max(0, int(cy - reach)), int(cy + reach) + 1)
    columns = slice(max(0, int(cx - reach)), int(cx + reach) + 1)
    x, y = (grid[rows, columns] for grid in _grid(side))
    kind, angle = rng.random(), rng.random() * np.pi
    if kind < 0.35:
        inside = (1 - ((x - cx) / half_x) ** 2 - ((y - cy) / half_y) ** 2) * min(half_x, half_y) / 2
    else:
        inside = occluder_distance(x, y, np.array((cx, cy, half_x, half_y, angle * (kind > 0.6)), np.float32))
    paint = any_colour(rng, look, _DULL)
    if rng.random() < 0.4:
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (0.25 + rng.random())) > 0
        paint = np.where(wave[..., None], paint, any_colour(rng, look, _DULL))
    canvas[rows, columns] += np.clip(inside + 0.5, 0, 1)[..., None] * (paint - canvas[rows, columns])


def occlude(canvas: Pixels, rng: np.random.Generator, look: Look, occluders: Floats) -> Pixels:
    """Draw the things that stand in front of the body (``M×5``)."""
    side = len(canvas)
    x, y = _grid(side)
    for occluder in occluders[occluders[:, 2] > 0].astype(np.float32):
        fill = any_colour(rng, look) + _enlarge(0.15 * grain(rng, 12, 12, 1), side)
        cover = np.clip(occluder_distance(x, y, occluder) + 0.5, 0, 1)[..., None]
        canvas = canvas + cover.astype(np.float32) * (fill - canvas)
    return canvas


def _tones(rng: np.random.Generator, look: Look, mean: float) -> list[int]:
    """Table of contrast, colour cast and gamma: 256 values for each channel."""
    level = mean + (np.arange(256) - mean) * pick(rng, look.contrast)
    gain = np.array([pick(rng, look.cast) for _ in range(3)])
    table = np.clip(gain[:, None] * level / 255, 0, 1) ** pick(rng, look.gamma)
    return [int(value) for value in (255 * table + 0.5).ravel()]


def photograph(canvas: Pixels, rng: np.random.Generator, look: Look) -> ByteArray:
    """What the camera makes of it: contrast, gamma, colour cast, blur, noise, JPEG. ``H×W×3`` uint8."""
    side = len(canvas)
    picture = Image.fromarray((np.clip(canvas, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8))
    picture = picture.point(_tones(rng, look, 255 * float(canvas.mean())))
    sigma, detail = pick(rng, look.blur) * side / 96, round(side * pick(rng, look.detail))
    if detail < side:
        small = picture.resize((detail, detail), Image.Resampling.BOX)
        picture = small.resize((side, side), Image.Resampling.BILINEAR)
    if sigma > 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(sigma))
    noise = grain(rng, *canvas.shape) * np.float32(pick(rng, look.noise))
    noise += np.asarray(picture)
    noise += np.float32(0.5)
    pixels = np.clip(noise, 0, 255, out=noise).astype(np.uint8)
    quality = round(pick(rng, look.jpeg))
    if quality >= 100:
        return pixels
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.array(decoded)
