"""One video file that is open: frames by number, cheap when they are asked for in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseshift.data.video_index import VideoIndex, av_module, decoded, open_video, refuse_large
from poseshift.errors import DataError
from poseshift.types import ByteArray

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

_NEAR = 8
"""Frames up to which decoding on is taken to be cheaper than going to a keyframe."""


def _upright(frame: VideoFrame, picture: ByteArray) -> ByteArray:
    """The picture as the file's display matrix wants it shown, to the nearest quarter turn."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None or data.buffer_size < 36:
        return picture
    # Row vectors: (x, y) of the stored picture is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32, 5).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return picture.transpose(1, 0, 2)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]


class OpenVideo:
    """One open file, standing after the frame that it gave last."""

    def __init__(self, path: Path, index: VideoIndex) -> None:
        from av.video.reformatter import VideoReformatter

        self.path, self.index = path, index
        self._reformatter = VideoReformatter()
        self._container: InputContainer | None = None
        self._numbered: Iterator[tuple[int, VideoFrame]] = iter(())
        self._last = -1  # the number of the frame that came last; -1 before the first
        self._entered = False  # the next frame is the first after a jump
        self._picture: tuple[int, ByteArray] | None = None
        self._rewind()

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        if self._container is not None:
            self._container.close()
            self._container = None
            self._numbered = iter(())

    def read(self, number: int) -> ByteArray:
        """Frame ``number``, upright RGB; the same frame again (several animals in it) is not decoded again."""
        if self._picture is None or self._picture[0] != number:
            self._picture = (number, self._decode(number))
        return self._picture[1].copy()

    def _decode(self, number: int) -> ByteArray:
        if not 0 <= number < len(self.index):
            raise DataError(
                f"video {str(self.path)!r} has no frame {number}, its last is {len(self.index) - 1}; "
                "replace a truncated file, or correct the frame numbers"
            )
        frame = self._find(number)
        if frame is None or frame.is_corrupt:
            self._last = len(self.index)  # where it stands is not to be trusted
            raise _no_frame(self.path, number, "is missing" if frame is None else "is damaged")
        return picture_of(self.path, frame, self._reformatter)

    def _find(self, number: int) -> VideoFrame | None:
        """The decoded frame, from the nearest place to start that gives it."""
        before = int(np.searchsorted(self.index.keys, number, side="right")) - 1
        start = int(self.index.keys[before]) if before >= 0 else 0
        if self._last < number and (start <= self._last or number - self._last <= _NEAR or not self.index.timed):
            found = self._forward(number)
            if found is not None:
                return found
        for key in range(before, max(before - 2, -1), -1):
            self._seek(key)
            found = self._forward(number)
            if found is not None:
                return found
        self._rewind()
        return self._forward(number)

    def _forward(self, number: int) -> VideoFrame | None:
        for found, frame in self._numbered:
            self._last = found
            if self._entered and frame.is_corrupt:
                return None  # what the container calls a keyframe needs pictures before it
            self._entered = False
            if found == number:
                return frame
            if found > number:
                return None
        self._last = len(self.index)
        return None

    def _seek(self, key: int) -> None:
        av = av_module()
        if self._container is None:
            return self._rewind()
        if self._last < 0:
            # A decoder learns from the first packet what no later one repeats (by which encoder the file was made).
            next(self._numbered, None)
        try:
            self._container.seek(int(self.index.pts[self.index.keys[key]]), stream=self._stream)
        except (av.error.FFmpegError, OSError, ValueError):
            self._rewind()  # a stream that cannot go back: decode from the start
        else:
            self._numbered, self._last, self._entered = self._numbers(), -1, True

    def _rewind(self) -> None:
        self.close()
        self._container, self._stream = open_video(self.path)
        self._numbered, self._last, self._entered = self._numbers(), -1, False

    def _numbers(self) -> Iterator[tuple[int, VideoFrame]]:
        if self._container is None:
            return iter(())
        return _numbered(self.path, self.index, self._container, self._stream)


class ForwardVideo:
    """One file whose frames are taken in ascending order; it never goes back, so a damaged part is passed once.

    Args:
        path: The file.
        index: Its frames.
        threads: Of the decoder; 0 lets FFmpeg choose.

    Raises:
        DataError: The file does not open.
    """

    def __init__(self, path: Path, index: VideoIndex, *, threads: int = 1) -> None:
        self.path, self.index = path, index
        self._container, stream = open_video(path)
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "AUTO"
        self._numbered = _numbered(path, index, self._container, stream)
        self._ahead: tuple[int, VideoFrame | None] = (-1, None)
        self._reason = "is missing"

    def close(self) -> None:
        """Closes the file."""
        self._numbered.close()
        self._container.close()

    def take(self, number: int) -> Callable[[], ByteArray]:
        """Decodes frame ``number``, which is not below one that was asked for before.

        Returns:
            What makes it an upright RGB picture, ``H×W×3`` uint8, in any thread and as often as it is called.

        Raises:
            DataError: The frame is missing or damaged.
        """
        while self._ahead[0] < number:
            try:
                self._ahead = next(self._numbered, (len(self.index), None))
            except DataError as error:  # the file cannot be read on
                self._reason, self._ahead = f"lies behind a place where reading ends: {error}", (len(self.index), None)
        found, frame = self._ahead
        if found != number or frame is None:
            raise _no_frame(self.path, number, self._reason)
        if frame.is_corrupt:
            raise _no_frame(self.path, number, "is damaged")
        return partial(picture_of, self.path, frame)


def _no_frame(path: Path, number: int, what: str) -> DataError:
    return DataError(
        f"video {str(path)!r}: frame {number} does not decode (it {what}); replace the file or leave the frame out"
    )


def picture_of(path: Path, frame: VideoFrame, reformatter: VideoReformatter | None = None) -> ByteArray:
    """A decoded frame as upright RGB, ``H×W×3`` uint8. Raises :class:`DataError` for one that is too large."""
    refuse_large(path, frame.width, frame.height)
    if reformatter is None:
        converted = frame.reformat(format="rgb24", threads=1)
    else:
        converted = reformatter.reformat(frame, format="rgb24", threads=1)
    return np.ascontiguousarray(_upright(frame, np.asarray(converted.to_ndarray(), np.uint8)))


def _numbered(
    path: Path, index: VideoIndex, container: InputContainer, stream: VideoStream
) -> Generator[tuple[int, VideoFrame]]:
    """Decoded frames with their numbers; frames that the container hides have none and are passed over."""
    for count, frame in enumerate(decoded(path, container, stream)):
        if not index.timed:
            yield count, frame
        elif frame.pts is not None:
            number = int(np.searchsorted(index.pts, frame.pts))
            if number < len(index) and index.pts[number] == frame.pts:
                yield number, frame
