"""Videos and images that tests write, whose pictures tell which they are."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poseshift.data.skeletons import SKELETONS
from poseshift.types import ByteArray, FloatArray

LSP = SKELETONS["lsp"]
VARIABLE = [0, 1, 4, 5, 9, 30, 31, 32, 60, 61, 90, 120]


def picture(number: int, height: int = 48, width: int = 64) -> ByteArray:
    """A grey level that tells the frame, and a dark quarter that tells which way is up."""
    image = np.full((height, width, 3), 40 + 15 * number, np.uint8)
    image[: height // 2, : width // 2] = 20
    return image


def film(path: Path, times: Sequence[int] = VARIABLE, *, gop: int = 5, **turn: Any) -> Path:
    """A video whose frame ``n`` is shown at ``times[n] / 100`` seconds."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, 0
        if turn:
            stream.set_display_rotation(**turn)
        for number, moment in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number % 14))
            frame.pts, frame.time_base = moment, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Greys:
    """An estimator without torch: keypoint ``k`` lies at ``(k, 2k)`` of a crop, scores are how bright it is."""

    skeleton, input_size, calibrated = LSP, 16, False

    def __init__(self) -> None:
        self.asked: list[ByteArray] = []

    def __call__(self, crops: ByteArray, /) -> tuple[FloatArray, FloatArray]:
        assert crops.shape[1:] == (16, 16, 3)
        assert crops.dtype == np.uint8
        self.asked.append(crops.copy())
        points = np.tile(np.array([(k, 2 * k) for k in range(14)], np.float32), (len(crops), 1, 1))
        grey = crops[:, 9:12, 9:12].mean(axis=(1, 2, 3), dtype=np.float64) / 255
        return points, np.repeat(grey[:, None], 14, axis=1).astype(np.float32)


def number_of(score: float) -> int:
    """Which :func:`picture` a score of :class:`Greys` was given for."""
    return round((score * 255 - 40) / 15)
