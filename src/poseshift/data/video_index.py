"""Video files: opening them safely, and the list of their frames from packets alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import MAX_PIXELS
from poseshift.errors import DataError, UsageError
from poseshift.types import IntArray

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp"}
)
CONTAINERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,ivf,flv,asf,ogg"
"""The only demuxers that ever see a user's file: none of them is a playlist that names other files."""


def av_module() -> Any:
    """PyAV. Raises :class:`UsageError`, saying what to install, where it is missing."""
    try:
        import av  # optional, and only for videos
    except ImportError as error:
        raise UsageError("videos need PyAV, which is not installed: pip install 'poseshift[video]'") from error
    return av


def _undecodable(path: Path, error: BaseException) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"video {str(path)!r} does not decode ({reason}); expected a whole video file: replace or remove it"
    )


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """The file and its first video stream, with nothing decoded yet."""
    av = av_module()
    if not path.is_file():
        raise DataError(f"video {str(path)!r} does not exist; check the path")
    try:
        # The name is a local file whatever it looks like ("http:…"), and what it holds may open nothing else.
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError, LookupError, MemoryError) as error:
        raise _undecodable(path, error) from error
    if not container.streams.video:
        container.close()
        raise DataError(f"video {str(path)!r} has no video stream; give a whole file with pictures")
    stream = container.streams.video[0]
    try:
        if getattr(stream, "codec_context", None) is None:
            raise DataError(f"video {str(path)!r} is in a codec that PyAV has no decoder for; convert it, to H.264 say")
        refuse_large(path, stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a size that changes on the way
        stream.codec_context.thread_count = 1  # loader processes are the parallelism
    except DataError:
        container.close()
        raise
    return container, stream


def refuse_large(path: Path, width: int, height: int) -> None:
    """Raise :class:`DataError` where a picture has more pixels than an image may have."""
    if width * height > MAX_PIXELS:
        size = f"{width}×{height}"
        raise DataError(f"video {str(path)!r} has {size} pixels, more than {MAX_PIXELS:,}; scale it down first")


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoIndex:
    """When each frame of a file is shown, and where decoding can start.

    Attributes:
        pts: ``N`` times in the stream's own unit, ascending; frame numbers where ``timed`` is False.
        seconds: ``N`` float64, from the first frame on.
        keys: Numbers of the frames that are keyframes, ascending.
        timed: Whether packets name times; if not, the frames were counted by decoding and are read from the start.
    """

    pts: IntArray
    seconds: npt.NDArray[np.float64]
    keys: IntArray
    timed: bool

    def __len__(self) -> int:
        return len(self.pts)


def index_video(path: Path) -> VideoIndex:
    """The frames of a file, from its packets; only a file without times is decoded.

    Raises:
        UsageError: PyAV is not installed.
        DataError: The file is missing, no video, too large, or holds no frame.
    """
    av = av_module()
    container, stream = open_video(path)
    rows: list[tuple[int | None, bool]] = []
    base, rate = float(stream.time_base or 0), float(stream.average_rate or 0)
    # AVI stores no times; with B-frames those that FFmpeg makes up are in no order.
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    with container:
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    rows.append((packet.pts, packet.is_keyframe))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if not rows:  # what can be read before a broken end is of use
                raise _undecodable(path, error) from error
    if not rows:
        raise DataError(f"video {str(path)!r} holds no frame; replace or remove it")
    times = {pts for pts, _ in rows}
    if guessed or None in times or len(times) < len(rows) or not base > 0:
        return _counted(path, rate)
    pts = np.array([row[0] for row in rows], np.int64)
    order = np.argsort(pts)
    keys = np.flatnonzero(np.array([row[1] for row in rows])[order])
    pts = pts[order]
    return VideoIndex(pts=pts, seconds=(pts - pts[0]) * base, keys=keys, timed=True)


def _counted(path: Path, rate: float) -> VideoIndex:
    container, stream = open_video(path)
    with container:
        count = sum(1 for _ in decoded(path, container, stream))
    if not count:
        raise DataError(f"video {str(path)!r} holds no frame that decodes; replace or remove it")
    numbers = np.arange(count)
    seconds = numbers / (rate or 25.0)
    return VideoIndex(pts=numbers, seconds=seconds, keys=np.zeros(0, np.int64), timed=False)


def decoded(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decoded frames from where the file stands; a broken packet costs its own frames only."""
    av = av_module()
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise _undecodable(path, error) from error
