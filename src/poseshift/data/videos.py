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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.data.images import ImageFiles
from poseshift.data.open_video import OpenVideo
from poseshift.data.video_index import VideoIndex, index_video
from poseshift.errors import DataError
from poseshift.types import ByteArray, IntArray

_OPEN_FILES = 8
_INDEXED_FRAMES = 8_000_000
"""Frames whose times are kept in memory, at eight bytes each."""


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
        self.files: OrderedDict[int, OpenVideo] = OrderedDict()


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

    @classmethod
    def whole(cls, indexed: Mapping[Path, VideoIndex]) -> VideoFrames:
        """Every frame of files that lie anywhere and are indexed already."""
        frames = tuple(np.arange(len(index)) for index in indexed.values())
        found = cls(root=Path(), paths=tuple(map(str, indexed)), frames=frames, allow_outside=True)
        for file, index in enumerate(indexed.values()):
            found._indexes.add(file, index)
        return found

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
                video = opened.files[file] = OpenVideo(self._files.path(file), self.index_of(file))
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
