"""A folder of two short videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np


def film(path: Path, levels: list[int], *, size: tuple[int, int] = (64, 48), rate: int = 10) -> None:
    """A video at ``rate`` frames per second whose frame ``n`` is grey of ``levels[n]``."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 5
        for number, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write(root: Path) -> str:
    film(root / "videos/a.mp4", [40 + 8 * n for n in range(12)])
    film(root / "videos/deep/b.mkv", [200 - 8 * n for n in range(8)])
    return f"{root / 'videos'}@every=0.3"
