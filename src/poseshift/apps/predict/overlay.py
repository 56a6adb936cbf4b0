"""A video with the predicted skeletons drawn into it, each frame at the time at which the source shows it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from poseshift.apps.predict.inputs import Inputs
from poseshift.apps.predict.pipeline import Seen, ahead
from poseshift.data.skeletons import told_apart
from poseshift.data.video_index import av_module
from poseshift.errors import DataError, UsageError
from poseshift.types import ByteArray, FloatArray, Skeleton

TICKS = 90_000
"""A second: the frame times of every usual rate are whole numbers of it."""
ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""The first that this build of FFmpeg has."""
OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast", "bf": "0"}}
"""Without frames out of order the container knows how long each of unequal frames lasts."""
COLOURS = {"left": (64, 156, 255), "right": (255, 122, 61), "": (92, 214, 120)}
DEPTH = 4
"""Frames that wait to be drawn."""
FAINTEST = 0.2
"""Opacity of a keypoint whose score is 0."""


class Painter:
    """Draws skeletons: one colour for the left, one for the right, one for the middle; the surer, the more opaque."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.edges = skeleton.edges
        self.sides = [next((word for word in words if word in COLOURS), "") for words in told_apart(skeleton.keypoints)]

    def draw(self, picture: ByteArray, keypoints: FloatArray, scores: FloatArray, sides: FloatArray) -> ByteArray:
        """``picture`` with ``n`` skeletons.

        Args:
            picture: ``H×W×3`` RGB, uint8.
            keypoints: ``n×K×2`` in its pixels.
            scores: ``n×K`` in [0, 1].
            sides: ``n`` sides of the squares that the net saw, for the width of lines.
        """
        canvas = Image.fromarray(picture)
        brush = ImageDraw.Draw(canvas, "RGBA")
        for points, values, side in zip(keypoints + 0.5, scores, sides, strict=True):  # Pillow counts from the corner
            width = max(1.5, min(float(side), *canvas.size) / 120)
            for one, other in self.edges:
                colour = COLOURS[self.sides[one] if self.sides[one] == self.sides[other] else ""]
                ends = [*map(float, points[one]), *map(float, points[other])]
                brush.line(ends, fill=(*colour, _opacity(min(values[one], values[other]))), width=round(width))
            for point, value, name in zip(points, values, self.sides, strict=True):
                x, y = map(float, point)
                disc = (x - width, y - width, x + width, y + width)
                brush.ellipse(disc, fill=(*COLOURS[name], _opacity(value)), outline=(0, 0, 0, _opacity(value)))
        return np.asarray(canvas)


def _opacity(score: float) -> int:
    return round(255 * (FAINTEST + (1 - FAINTEST) * min(max(float(score), 0.0), 1.0)))


class Film:
    """An mp4 that is being written.

    Args:
        file: Where.
        seconds: ``N``: when each frame is shown.

    Raises:
        UsageError: PyAV is missing, or has no encoder.
        DataError: The file cannot be written.
    """

    def __init__(self, file: Path, seconds: npt.NDArray[np.float64]) -> None:
        av = av_module()
        self.file, self.ticks = file, np.round(seconds * TICKS).astype(np.int64)
        gaps = np.diff(self.ticks)
        self.lasts = [*gaps.tolist(), int(gaps[-1]) if len(gaps) else TICKS // 25]
        self.encoder = next((name for name in ENCODERS if name in av.codecs_available), None)
        if self.encoder is None:
            raise UsageError(f"--overlay: this PyAV has none of the encoders {', '.join(ENCODERS)}; install its wheel")
        self._container = av.open(f"file:{file}", "w", format="mp4")
        self._stream: Any = None

    def add(self, number: int, picture: ByteArray) -> None:
        """Encodes frame ``number``; frames come in ascending order, and may be left out.

        Raises:
            DataError: The disk is full, or the size of the pictures changes on the way.
        """
        av = av_module()
        even = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._begin(even.shape[1], even.shape[0])
        if (self._stream.width, self._stream.height) != (even.shape[1], even.shape[0]):
            raise DataError(
                f"--overlay: frame {number} is {even.shape[1]}×{even.shape[0]}, those before it "
                f"{self._stream.width}×{self._stream.height}; predict without --overlay"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts, frame.time_base = int(self.ticks[number]), Fraction(1, TICKS)
        frame.duration = self.lasts[number]
        self._container.mux(self._stream.encode(frame))

    def _begin(self, width: int, height: int) -> Any:
        stream = self._container.add_stream(self.encoder, options=OPTIONS.get(str(self.encoder), {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        ticks = TICKS if self.encoder != "mpeg4" else 60_000  # that codec counts with 16 bits
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.codec_context.flags |= av_module().codec.context.Flags.frame_duration
        return stream

    def close(self, *, whole: bool) -> None:
        """Ends the file; what is not ``whole`` is only closed."""
        try:
            if whole and self._stream is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


def drawn(file: Path, seen: Iterable[Seen], inputs: Inputs, skeleton: Skeleton) -> Generator[Seen]:
    """Hands on what was seen of one video, while a thread draws it and writes ``file``, which is whole at the end.

    Raises:
        UsageError: PyAV is missing, or has no encoder.
        DataError: The file cannot be written.
    """
    film, painter = Film(file, inputs.videos[0].seconds), Painter(skeleton)

    def add(one: Seen) -> Seen:
        if one.picture is None:  # it does not decode; the frame before it stays
            return one
        sides = one.regions[:, 2] - one.regions[:, 0]
        film.add(one.look.image, painter.draw(one.picture, one.keypoints, one.scores, sides))
        return replace(one, picture=None)

    whole = False
    try:
        with closing(ahead(add, seen, workers=1, depth=DEPTH)) as done:
            yield from done
        whole = True
    finally:
        film.close(whole=whole)
