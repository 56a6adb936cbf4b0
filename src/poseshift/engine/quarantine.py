"""The run's list of files that did not decode: ``quarantine.txt``, one line ``key<TAB>reason<TAB>stream`` each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from poseshift.data.crops import Crops
from poseshift.data.images import Quarantine
from poseshift.engine import checkpoint, processes
from poseshift.errors import DataError
from poseshift.types import Images

FILE = "quarantine.txt"
REASON = "does not decode"


class Quarantined:
    """What was skipped of each stream.

    It is kept over an interruption, so the limit holds for the whole run; a file that was mended since is forgotten.

    Attributes:
        fresh: Streams and rows that this process, one of several, has found since it last told the others.

    Args:
        run: The run folder; of several processes the first writes there.
        streams: The crops of each stream.
    """

    def __init__(self, run: Path, streams: Mapping[str, Crops]) -> None:
        self.file, self.streams = run / FILE, streams
        self.fresh: list[tuple[str, list[int]]] = []
        self.found = {name: Quarantine(len(crops)) for name, crops in streams.items()}
        listed = [(stream, key) for key, _, stream in (line.split("\t") for line in lines(run))]
        for name, crops in streams.items():
            keys = {key for stream, key in listed if stream == name}
            for key in still_broken(crops.annotations.images, keys):
                self.found[name].add(key, REASON)

    def add(self, stream: str, rows: list[int]) -> None:
        """Notes that images of ``rows`` do not decode. Raises :class:`DataError` when they are too many."""
        if processes.size() > 1:
            self.fresh.append((stream, rows))
        self._note(stream, rows)

    def exchange(self) -> None:
        """All processes note what any has found, so that the limit is one of the run. Raises :class:`DataError`."""
        found, self.fresh = processes.gathered(self.fresh), []
        for stream, rows in (one for theirs in found for one in theirs):
            self._note(stream, rows)

    def _note(self, stream: str, rows: list[int]) -> None:
        annotations = self.streams[stream].annotations
        try:
            for row in rows:
                self.found[stream].add(annotations[row].key, REASON)
        finally:
            if processes.main():
                self._write()

    def _write(self) -> None:
        found = [f"{line}\t{name}\n" for name, one in self.found.items() for line in one.lines()]
        checkpoint.write_text(self.file, "".join(found))


def still_broken(images: Images, keys: set[str]) -> Iterator[str]:
    """Those of ``keys`` whose image does not decode."""
    for index in range(len(images)) if keys else ():
        if (key := images.key(index)) in keys:
            try:
                images.read(index)
            except DataError:
                yield key


def lines(run: Path) -> list[str]:
    """The lines of a run's list, none where all files decoded."""
    file = run / FILE
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line] if file.is_file() else []
