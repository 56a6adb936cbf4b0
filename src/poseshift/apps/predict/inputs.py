"""What is predicted: image files, folders, globs and videos, in any mix, as one list of images."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.data import video_index
from poseshift.data.decoding import Decoded
from poseshift.data.images import SUFFIXES, ImageFiles
from poseshift.data.open_video import ForwardVideo
from poseshift.data.video_index import VideoIndex, index_video
from poseshift.data.videos import VideoFrames
from poseshift.errors import DataError
from poseshift.types import ByteArray, IntArray

log = logging.getLogger(__name__)

DECODER_THREADS = 2
"""Of one video's decoder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Load:
    """Makes a picture, in any thread.

    Attributes:
        decode: Given how many times smaller it may come; see :func:`poseshift.data.decoding.decoded`.
        size: ``(width, height)`` before it is decoded; None where that is not known, and it never comes smaller.
    """

    decode: Callable[[int], Decoded]
    size: Callable[[], tuple[int, int]] | None = None

    def __call__(self) -> ByteArray:
        """``H×W×3`` RGB uint8. Raises :class:`DataError` where it does not decode."""
        return self.decode(1).pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Images of files and frames of videos, numbered through in the order in which they were named.

    Attributes:
        files: Every file.
        videos: The frames of those of them that are videos, with their times.
    """

    files: tuple[Path, ...]
    videos: dict[int, VideoIndex]

    @cached_property
    def _images(self) -> ImageFiles:
        return ImageFiles(root=Path(), paths=tuple(map(str, self.files)), allow_outside=True)

    @cached_property
    def _frames(self) -> VideoFrames:
        return VideoFrames.whole({self.files[file]: index for file, index in self.videos.items()})

    @cached_property
    def _ends(self) -> IntArray:
        counts = [len(self.videos[file]) if file in self.videos else 1 for file in range(len(self.files))]
        return np.cumsum(counts, dtype=np.int64)

    @cached_property
    def _first_frames(self) -> dict[int, int]:
        """Of each video, the number of its first frame among all frames."""
        lengths = [0, *(len(index) for index in self.videos.values())]
        return dict(zip(self.videos, np.cumsum(lengths).tolist(), strict=False))

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, file in enumerate(self.files):
            found.setdefault(file.name, []).append(number)
        return found

    @property
    def word(self) -> str:
        """What the images are called in a message."""
        return "images" if not self.videos else "frames" if len(self.videos) == len(self.files) else "images and frames"

    @property
    def video(self) -> Path | None:
        """The file where the inputs are one video and nothing else."""
        return self.files[0] if len(self.files) == 1 and self.videos else None

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> tuple[int, int | None]:
        """The number of the file that image ``index`` lies in, and the number of its frame if that is a video."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        file = int(np.searchsorted(self._ends, index, side="right"))
        if file not in self.videos:
            return file, None
        return file, index - int(self._ends[file]) + len(self.videos[file])

    def moments(self, images: IntArray) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
        """Of ``N`` images the number of their file, that of their frame and its time, seconds from the first frame on.

        An image file has frame -1 and time NaN.
        """
        files = np.searchsorted(self._ends, images, side="right").astype(np.int64)
        frames, seconds = np.full(len(images), -1, np.int64), np.full(len(images), np.nan)
        for file, index in self.videos.items():
            here = files == file
            frames[here] = images[here] - (int(self._ends[file]) - len(index))
            seconds[here] = index.seconds[frames[here]]
        return files, frames, seconds

    def key(self, index: int) -> str:
        """The file as it was named; for a frame ``film.mp4#000012``."""
        file, frame = self.place(index)
        return str(self.files[file]) if frame is None else self._frames.key(self._first_frames[file] + frame)

    def read(self, index: int) -> ByteArray:
        """Image ``index``, ``H×W×3`` RGB uint8, upright. Raises :class:`DataError` where it does not decode."""
        return self.reduced(index, 1).pixels

    def reduced(self, index: int, most: int) -> Decoded:
        """As :meth:`read`, smaller as of :func:`poseshift.data.decoding.decoded`; a frame never is."""
        file, frame = self.place(index)
        if frame is None:
            return self._images.reduced(file, most)
        return Decoded(self._frames.read(self._first_frames[file] + frame), 1)

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)``; the first frame stands for its video. Raises :class:`DataError` as :meth:`read`."""
        file, frame = self.place(index)
        return self._images.size(file) if frame is None else self._frames.size(self._first_frames[file] + frame)

    @contextmanager
    def forward(self) -> Iterator[Callable[[int], Load]]:
        """What takes images in ascending order, from one thread: the frames of a video are decoded in passing.

        The work that needs no order, such as decoding an image file, is left to what it returns. It raises
        :class:`DataError` where a frame does not decode.
        """
        opened: list[tuple[int, ForwardVideo]] = []

        def take(index: int) -> Load:
            file, frame = self.place(index)
            if frame is None:
                return Load(decode=partial(self._images.reduced, file), size=partial(self._images.size, file))
            if not opened or opened[-1][0] != file:
                while opened:
                    opened.pop()[1].close()
                opened.append((file, ForwardVideo(self.files[file], self.videos[file], threads=DECODER_THREADS)))
            return Load(decode=partial(_as_it_is, opened[-1][1].take(frame)))

        try:
            yield take
        finally:
            for _, video in opened:
                video.close()

    def find(self, name: str, frame: int | None) -> int | None:
        """The image that a file's name and a frame's number mean; None for a stranger, or where several match.

        Args:
            name: A path, or its end; of a frame possibly with its number, as :meth:`key` writes it.
            frame: Of a video; an image has none, or 0.
        """
        file = self._file(name)
        if file is None and frame is None and "#" in name:
            name, _, number = name.rpartition("#")
            file, frame = self._file(name), int(number) if number.isdecimal() else -1
        if file is None:
            return None
        count = len(self.videos[file]) if file in self.videos else 1
        if frame is None:
            frame = -1 if file in self.videos else 0
        return int(self._ends[file]) - count + frame if 0 <= frame < count else None

    def _file(self, name: str) -> int | None:
        """The file whose path ends in ``name``; None where there is none or several."""
        name = name.replace("\\", "/")
        candidates = self._by_name.get(Path(name).name, [])
        tail = "/" + name.removeprefix("./").lstrip("/")
        exact = [number for number in candidates if f"/{self.files[number].as_posix()}".endswith(tail)]
        chosen = exact or candidates
        return chosen[0] if len(chosen) == 1 else None


def _as_it_is(picture: Callable[[], ByteArray], most: int) -> Decoded:
    return Decoded(picture(), 1)


def open_inputs(entries: Iterable[str | Path]) -> Inputs:
    """The images that ``entries`` name; a video that cannot be read is logged and left out.

    Raises:
        UsageError: There is a video, and PyAV is not installed.
        DataError: An entry is not there, or nothing is found.
    """
    files, videos, reason = find_files(list(entries)), {}, ""
    for number, file in enumerate(files):
        if file.suffix.lower() in video_index.SUFFIXES:
            try:
                videos[number] = index_video(file)
            except DataError as error:
                reason = str(error)
                log.warning("left out: %s", reason)
    read = [n for n, file in enumerate(files) if n in videos or file.suffix.lower() not in video_index.SUFFIXES]
    if not read:
        raise DataError(f"none of the {len(files)} videos can be read; the last: {reason}")
    return Inputs(
        files=tuple(files[n] for n in read), videos={at: videos[n] for at, n in enumerate(read) if n in videos}
    )


def find_files(entries: Sequence[str | Path]) -> list[Path]:
    """Files that ``entries`` name: folders searched recursively, globs expanded, both sorted, each file once.

    Raises:
        DataError: An entry is not there, or nothing is found.
    """
    files: list[Path] = []
    for entry in map(Path, entries):
        for place in _expanded(entry):
            files += _inside(place) if place.is_dir() else [place]
    if not files:
        endings = ", ".join(sorted(SUFFIXES | video_index.SUFFIXES))
        raise DataError(f"no images or videos in {', '.join(map(str, entries))}; expected files ending in {endings}")
    return list(dict.fromkeys(files))


def _expanded(entry: Path) -> list[Path]:
    if entry.exists():
        return [entry]
    if not glob.has_magic(str(entry)):
        raise DataError(f"{entry}: no such file or folder; give images, videos, or folders of them")
    found = sorted(Path(name) for name in glob.glob(str(entry), recursive=True))
    if not found:
        raise DataError(f"{entry}: matches no file; check the pattern, and that the shell leaves it in quotes")
    return found


def _inside(folder: Path) -> list[Path]:
    known = SUFFIXES | video_index.SUFFIXES
    inside = (path for path in folder.rglob("*") if path.suffix.lower() in known and path.is_file())
    return sorted(path for path in inside if not path.name.startswith("."))
