"""Frames of video files as images: any frame by its number, exact for every codec, cheap when read in order.

A file's frames are numbered from 0 in the order in which they are shown, by their presentation times, so variable
frame rates are safe and no frame is guessed from a rate. The list of times comes from the packets alone and is made
once. Reading goes to the last keyframe before a frame and decodes forward; a frame shortly after the one read before
is reached without going back. Files are opened when first needed, again after pickling and in a forked process.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseshift.data.images import ImageFiles
from poseshift.data.video_index import VideoIndex, av_module, decoded, index_video, open_video, refuse_large
from poseshift.errors import DataError
from poseshift.types import ByteArray, IntArray

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

_OPEN_FILES = 8
_NEAR = 8
"""Frames up to which decoding on is taken to be cheaper than going to a keyframe."""
_INDEXED_FRAMES = 8_000_000
"""Frames whose times are kept in memory, at eight bytes each."""


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


class _OpenVideo:
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
            found = "is missing" if frame is None else "is damaged"
            raise DataError(
                f"video {str(self.path)!r}: frame {number} does not decode (it {found}); replace the file or leave "
                "the frame out"
            )
        refuse_large(self.path, frame.width, frame.height)
        converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        rgb = np.asarray(converted.to_ndarray(), np.uint8)
        return np.ascontiguousarray(_upright(frame, rgb))

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
        """Decoded frames with their numbers; frames that the container hides have none and are passed over."""
        if self._container is None:
            return
        for count, frame in enumerate(decoded(self.path, self._container, self._stream)):
            if not self.index.timed:
                yield count, frame
            elif frame.pts is not None:
                number = int(np.searchsorted(self.index.pts, frame.pts))
                if number < len(self.index) and self.index.pts[number] == frame.pts:
                    yield number, frame


class _Indexes:
    """Indexes of files by number, the oldest forgotten when they grow too many."""

    def __init__(self) -> None:
        self.files: dict[int, VideoIndex] = {}
        self.frames = 0

    def add(self, file: int, index: VideoIndex) -> None:
        self.files[file] = index
        self.frames += len(index)
        while len(self.files) > 1 and self.frames > _INDEXED_FRAMES:
            self.frames -= len(self.files.pop(next(iter(self.files))))


class _OpenVideos:
    """The files that one process has open, least recently used first."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.files: OrderedDict[int, _OpenVideo] = OrderedDict()


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrames:
    """Frames of video files under one root.

    Attributes:
        root: Folder that all files lie in.
        paths: One path relative to ``root`` per file.
        frames: For each file the numbers of its frames that are images here, ``int64``.
        allow_outside: Accept absolute paths, ``..`` and symbolic links that leave ``root``.

    Raises:
        DataError: A path is absolute or holds ``..`` (at construction); a link leads out of ``root`` (when read).
    """

    root: Path
    paths: tuple[str, ...]
    frames: tuple[IntArray, ...]
    allow_outside: bool = False

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.frames):
            raise DataError(f"{len(self.paths)} videos with frames of {len(self.frames)}; give one list for each")
        _ = self._files

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        kept = (*self.__dataclass_fields__, "_indexes")
        return {name: value for name, value in self.__dict__.items() if name in kept}

    @cached_property
    def _files(self) -> ImageFiles:
        return ImageFiles(root=self.root, paths=self.paths, allow_outside=self.allow_outside)

    @cached_property
    def _ends(self) -> IntArray:
        return np.cumsum([len(numbers) for numbers in self.frames], dtype=np.int64)

    @cached_property
    def _indexes(self) -> _Indexes:
        return _Indexes()

    def _place(self, index: int) -> tuple[int, int]:
        """File and frame number of image ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        file = int(np.searchsorted(self._ends, index, side="right"))
        return file, int(self.frames[file][index - int(self._ends[file])])

    def moments(self, images: IntArray) -> tuple[IntArray, IntArray]:
        """``N`` numbers of files and ``N`` numbers of frames in them, of ``N`` images."""
        numbers = np.concatenate([*self.frames, np.zeros(0, np.int64)])
        return np.searchsorted(self._ends, images, side="right").astype(np.int64), numbers[images]

    def key(self, index: int) -> str:
        """``"file.mp4#000123"``: the path relative to the root and the frame's number."""
        file, number = self._place(index)
        return f"{self.paths[file]}#{number:06d}"

    def index_of(self, file: int) -> VideoIndex:
        """The index of file number ``file``; made once. Raises :class:`DataError` as :func:`index_video` does."""
        index = self._indexes.files.get(file)
        if index is None:
            index = index_video(self._files.path(file))
            self._indexes.add(file, index)
        return index

    def read(self, index: int) -> ByteArray:
        """Frame ``index`` as ``H×W×3`` RGB, uint8, turned upright by the file's display matrix.

        Raises:
            UsageError: PyAV is not installed.
            DataError: The file is missing, no video, too large or outside the root, or the frame does not decode.
        """
        file, number = self._place(index)
        opened: _OpenVideos = self._opened()
        with opened.lock:
            video = opened.files.get(file)
            if video is None:
                video = opened.files[file] = _OpenVideo(self._files.path(file), self.index_of(file))
                while len(opened.files) > _OPEN_FILES:
                    opened.files.popitem(last=False)[1].close()
            opened.files.move_to_end(file)
            return video.read(number)

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)`` of image ``index`` as :meth:`read` returns it; the file's first image stands for all.

        Raises:
            DataError: As :meth:`read`.
        """
        file, _ = self._place(index)
        sizes: dict[int, tuple[int, int]] = self.__dict__.setdefault("_sizes", {})
        if file not in sizes:
            height, width = self.read(int(self._ends[file]) - len(self.frames[file])).shape[:2]
            sizes[file] = (width, height)
        return sizes[file]

    def _opened(self) -> _OpenVideos:
        """The open files of this process: a forked one shares its parent's place in each file, so it opens anew."""
        opened = self.__dict__.get("_open_videos")
        if opened is None or opened.process != os.getpid():
            opened = self.__dict__["_open_videos"] = _OpenVideos()
        return opened
