"""The data of a run: crops of each role, and what they predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from poseshift.batches import Batch
from poseshift.data import sources
from poseshift.data.boxes import BoxMode
from poseshift.data.crops import Crops
from poseshift.data.skeletons import KeypointMap
from poseshift.types import Skeleton


@dataclass(frozen=True, kw_only=True)
class Data:
    """The crops of a run, and what they predict.

    ``matched`` where the source's keypoints are not the run's; ``cut`` says how ``source`` and ``target`` are cut, also
    where the method needs only one of them.
    """

    source: Crops | None
    target: Crops | None
    validation: Crops | None
    monitor: Crops | None
    skeleton: Skeleton
    cut: Mapping[str, BoxMode]
    matched: KeypointMap | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """A hash of each data set, for the manifest."""
        named = {"source": self.source, "target": self.target, "validation": self.validation, "monitor": self.monitor}
        return {name: sources.fingerprint(crops.annotations) for name, crops in named.items() if crops is not None}

    def images_of(self, ids: Mapping[str, Tensor], *, count: int = 4) -> list[str]:
        """Names of the first images of each stream, given the ``ids`` of a batch."""
        streams = {"source": self.source, "target": self.target}
        return [
            crops.annotations[int(row)].key
            for name, crops in streams.items()
            if crops is not None and name in ids
            for row in ids[name][:count]
        ]

    @property
    def entries(self) -> dict[str, Any]:
        """What the manifest says of the data; ``matching`` is None where the source's keypoints are the run's."""
        matching = None if self.matched is None else {"rows": self.matched.rows, "unused": self.matched.unused}
        return {"data": self.fingerprints, "notes": self.notes, "cut": self.cut, "matching": matching}

    @property
    def notes(self) -> dict[str, str]:
        """What each reader wants a report to say."""
        named = {"source": self.source, "target": self.target}
        return {
            name: f"boxes: {crops.boxes}. {crops.annotations.note}".strip()
            for name, crops in named.items()
            if crops is not None
        }


def ids_of(batch: Batch) -> dict[str, Tensor]:
    """Row numbers of each stream that a batch holds."""
    return {name: getattr(batch, name).ids for name in ("source", "target") if batch.has(name)}
