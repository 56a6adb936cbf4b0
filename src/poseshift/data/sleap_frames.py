"""The images of SLEAP's label files: frames of videos, lists of image files, and images embedded in HDF5."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from poseshift.data.archives import decode_image
from poseshift.data.images import MAX_PIXELS, ImageFiles, leaves_root
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import ByteArray, IntArray

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc,gif,image2"
"""Demuxers that see a user's file; playlists, which name other files, are not among them."""
_OPEN_VIDEOS = 4
_UNPACKED = 64 << 20
_DEFLATE = 1100
"""More than HDF5's filters can pack; what claims to be larger was never written."""


def _h5py() -> Any:
    try:
        return import_module("h5py")
    except ImportError as error:
        raise UsageError("sleap: needs h5py, which is not installed; pip install 'poseshift[sleap]'") from error


@contextmanager
def opened(file: Path, allow_outside: bool) -> Iterator[Any]:
    """The HDF5 file, refused where one of its links leads to another file."""
    h5py = _h5py()
    with h5py.File(file, "r") as content:
        if not allow_outside:
            found: list[str] = []
            content.visititems_links(
                lambda name, link: found.append(name) if isinstance(link, h5py.ExternalLink) else None
            )
            if found:
                raise DataError(
                    f"{str(file)!r}: {found[0]!r} is a link to another file; copy its content into the file, "
                    "or allow it by name with allow_outside"
                )
        yield content


def checked(content: Any, name: str) -> Any:
    """A dataset whose content lies in this file and is not far larger than what the file holds of it."""
    dataset = content[name]
    if not isinstance(dataset, _h5py().Dataset):
        raise ValueError(f"{name!r} is a group, expected a dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name!r} keeps its content in another file")
    claimed = dataset.size * dataset.dtype.itemsize
    if claimed > _UNPACKED and claimed > _DEFLATE * dataset.id.get_storage_size():
        raise ValueError(f"{name!r} claims {claimed:,} bytes, of which the file holds few")
    return dataset


class _Video:
    """One opened video; frames are addressed by their number in the order of their time stamps."""

    def __init__(self, path: Path) -> None:
        import av

        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        self._container: Any = av.open(str(path), options=options)
        stream = self._container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise ValueError(f"{stream.width}×{stream.height} pixels are more than {MAX_PIXELS:,}")
        self.size = (int(stream.width), int(stream.height))
        stream.thread_count = 1
        packets = (packet for packet in self._container.demux(stream) if packet.size and not packet.is_discard)
        stamps = (packet.dts if packet.pts is None else packet.pts for packet in packets)
        self._stamps = sorted({stamp for stamp in stamps if stamp is not None})
        self._stream = stream
        self._frames: Iterator[Any] = iter(())
        self._next = -1

    def frame(self, number: int) -> ByteArray:
        if not 0 <= number < len(self._stamps):
            raise ValueError(f"frame {number} of {len(self._stamps)}")
        stamp = self._stamps[number]
        if self._next < 0 or not 0 <= number - self._next < 16:
            self._container.seek(stamp, stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
        self._next = -1
        for frame in self._frames:
            found = frame.dts if frame.pts is None else frame.pts
            if found == stamp:
                self._next = number + 1
                return np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
            if found is not None and found > stamp:
                raise ValueError(f"frame {number} is damaged")
        raise ValueError(f"frame {number} is damaged or cut off")

    def close(self) -> None:
        self._container.close()


def _find(root: Path, recorded: str, allow_outside: bool) -> str:
    """Where a recorded file is, relative to ``root``: as recorded if allowed, else its base name in ``root``."""
    text = recorded.replace("\\", "/")
    name = PurePosixPath(text).name
    tried = [text] if text and (allow_outside or not leaves_root(text)) else []
    for path in (*tried, name):
        if path and (root / path).is_file():
            return path
    looked = " and ".join(dict.fromkeys(repr(str(root / path)) for path in (*tried, name)))
    raise DataError(
        f"sleap: images come from {recorded!r}; looked for {looked} and found no file; put {name!r} beside the label "
        "file" + ("" if allow_outside else ", or allow its recorded place by name with allow_outside")
    )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the frames of one video of a label file come from.

    Attributes:
        name: What to call it: base name of the video, unique within the label file.
        kind: ``video`` (one file), ``images`` (one file per frame) or ``embedded`` (a dataset of an HDF5 file).
        files: The files, relative to a root.
        dataset: Name of the dataset, where embedded.
        bgr: Embedded images decode to BGR, as those that OpenCV encoded before format 1.4.
    """

    name: str
    kind: Literal["video", "images", "embedded"]
    files: ImageFiles
    dataset: str = ""
    bgr: bool = False

    @classmethod
    def locate(cls, file: Path, backend: Mapping[str, Any], allow_outside: bool, version: float) -> Source:
        """Find the files that ``backend`` (the description in the label file) names.

        Raises:
            DataError: They are not there; says where they were looked for.
        """
        name, root = str(backend["name"]), file.parent
        recorded = backend.get("filename") or ""
        listed = backend.get("filenames") or recorded
        if isinstance(listed, list) and listed:
            paths = tuple(_find(root, str(path), allow_outside) for path in listed)
            return cls(name=name, kind="images", files=ImageFiles(root=root, paths=paths, allow_outside=allow_outside))
        recorded = str(recorded)
        path = file.name if recorded == "." else _find(root, recorded, allow_outside)
        files = ImageFiles(root=root, paths=(path,), allow_outside=allow_outside or recorded == ".")
        if not backend.get("dataset"):
            return cls(name=name, kind="video", files=files)
        dataset = str(backend["dataset"])
        dataset = dataset if dataset.endswith("/video") or recorded != "." else f"{dataset}/video"
        try:
            with opened(files.path(0), allow_outside) as content:
                stored = checked(content, dataset)
                order = stored.attrs.get("channel_order", "BGR" if version < 1.4 and stored.ndim < 4 else "RGB")
        except DataError:
            raise
        except Exception as error:  # h5py raises almost anything on a broken file
            raise FormatError(
                f"{str(files.path(0))!r}: images {dataset!r} cannot be read ({error}); export again"
            ) from error
        return cls(name=name, kind="embedded", files=files, dataset=dataset, bgr=str(order) in ("BGR", "b'BGR'"))

    def positions(self, frames: IntArray) -> IntArray:
        """Where each of the frames is: its number in a video or list, its row in a dataset."""
        if self.kind == "video":
            return frames
        path, numbers = self.files.path(0), None
        if self.kind == "embedded":
            try:
                with _h5py().File(path, "r") as content:
                    group = content[self.dataset].parent
                    numbers = checked(group, "frame_numbers")[()] if "frame_numbers" in group else None
                    count = int(content[self.dataset].shape[0])
                rows = (
                    {int(number): row for row, number in enumerate(numbers.reshape(-1))}
                    if numbers is not None
                    else None
                )
            except Exception as error:  # h5py raises almost anything on a broken file
                raise FormatError(f"{str(path)!r}: images {self.dataset!r} cannot be read ({error})") from error
        else:
            count, rows = len(self.files), None
        found = frames if rows is None else np.array([rows.get(int(frame), -1) for frame in frames], np.int64)
        if (bad := np.flatnonzero((found < 0) | (found >= count))).size:
            raise DataError(
                f"{str(path)!r}: frame {int(frames[bad[0]])} of {self.name!r} is labelled but is none of its {count} "
                "images; export the file again with all labelled frames"
            )
        return found

    def embedded(self, row: int, name: str) -> ByteArray:
        """An embedded image: encoded, or an array of pixels."""
        with _h5py().File(self.files.path(0), "r") as content:
            dataset = checked(content, self.dataset)
            pixels = dataset[row]
            first = str(content[self.dataset].attrs.get("input_format", "")) == "channels_first"
        if np.ndim(pixels) == 1 and pixels.dtype.itemsize == 1:
            image = decode_image(pixels.tobytes(), name)
            return np.ascontiguousarray(image[..., ::-1]) if self.bgr else image
        if np.ndim(pixels) != 3 or pixels.dtype != np.uint8 or pixels.size > 4 * MAX_PIXELS:
            raise ValueError(f"an image of shape {np.shape(pixels)} and type {getattr(pixels, 'dtype', None)}")
        pixels = pixels.transpose(1, 2, 0) if first or (pixels.shape[0] in (1, 3) and pixels.shape[2] > 3) else pixels
        if pixels.shape[2] not in (1, 3):
            raise ValueError(f"an image of shape {pixels.shape}")
        return np.ascontiguousarray(np.repeat(pixels, 4 - pixels.shape[2] if pixels.shape[2] == 1 else 1, axis=2))


@dataclass(frozen=True, kw_only=True, eq=False)
class SleapImages:
    """The labelled frames of a label file, read when asked for.

    Attributes:
        sources: The videos in use by their number.
        video: Number of the video of each image.
        frame: Number of the frame within the video.
        position: Where the source keeps that frame.
    """

    sources: Mapping[int, Source]
    video: IntArray
    frame: IntArray
    position: IntArray
    _open: dict[tuple[int, int], _Video] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def key(self, index: int) -> str:
        """``video/frame``, such as ``clip.mp4/000123``."""
        return f"{self.sources[int(self.video[index])].name}/{int(self.frame[index]):06d}"

    def _reader(self, video: int) -> _Video:
        key = (os.getpid(), video)  # a file that was opened before a fork shares its position with the parent
        if key not in self._open:
            if len(self._open) >= _OPEN_VIDEOS:
                self._open.pop(next(iter(self._open)))
            self._open[key] = _Video(self.sources[video].files.path(0))
        return self._open[key]

    def read(self, index: int) -> ByteArray:
        """Image ``index``. Raises :class:`DataError` where the video, the frame or the embedded image is damaged."""
        video, position = int(self.video[index]), int(self.position[index])
        source = self.sources[video]
        try:
            if source.kind == "images":
                return source.files.read(position)
            if source.kind == "embedded":
                return source.embedded(position, self.key(index))
            return self._reader(video).frame(position)
        except (DataError, UsageError):
            raise
        except ImportError as error:
            raise UsageError(
                "sleap: videos need PyAV, which is not installed; pip install 'poseshift[video]'"
            ) from error
        except Exception as error:  # PyAV and h5py raise almost anything on a broken file
            self._open.pop((os.getpid(), video), None)
            where = str(source.files.path(0 if source.kind != "images" else position))
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"image {self.key(index)!r} cannot be read from {where!r} ({reason}); replace the file"
            ) from error

    def encoded(self, index: int) -> bytes | None:
        """The file of image ``index``; None where a video or the label file holds it."""
        source = self.sources[int(self.video[index])]
        return source.files.encoded(int(self.position[index])) if source.kind == "images" else None

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)``; of embedded images by decoding them."""
        video, position = int(self.video[index]), int(self.position[index])
        if self.sources[video].kind == "images":
            return self.sources[video].files.size(position)
        height, width = self.read(index).shape[:2] if (os.getpid(), video) not in self._open else self._known(video)
        return width, height

    def _known(self, video: int) -> tuple[int, int]:
        width, height = self._reader(video).size
        return height, width
