"""The images that an export is tried on: the run's own, and where these are gone, procedural ones."""

from __future__ import annotations

import logging

import numpy as np

from poseshift.config import DataConfig
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import setup
from poseshift.engine.run import Run
from poseshift.errors import PoseshiftError
from poseshift.types import Annotations, ByteArray

log = logging.getLogger(__name__)

PROCEDURAL = "figures:middle,side={side},count={count}"


def crops_of(run: Run, count: int) -> tuple[Crops, str]:
    """Crops of images that the run has seen, without any label of the target, and what to call them.

    The target's, else the source's, else procedural figures: what cannot be read any more is passed over.

    Args:
        run: Says which, and how they are cut.
        count: At most so many, spread over the data.
    """
    for role in ("target", "source"):
        named: DataConfig | None = getattr(run.config, role)
        if named is None:
            continue
        try:
            annotations = _read(named, role)
            cut = CropConfig(boxes=run.manifest.get("cut", {}).get(role, named.boxes), padding=named.padding)
            crops = Crops(_spread(annotations, count), cut, size=run.config.input_size)
            _ = crops[0]
        except PoseshiftError as error:
            log.info("the %s cannot be read, so other images are taken: %s", role, error)
            continue
        return crops, f"images of the {role}, {annotations.name}"
    annotations = sources.read(PROCEDURAL.format(side=run.config.input_size, count=count), labelled=False)
    return Crops(annotations, CropConfig(boxes="whole"), size=run.config.input_size), "procedural figures"


def _read(named: DataConfig, role: str) -> Annotations:
    """The instances as training saw them: those of a target without labels."""
    labelled = role == "source"
    read = sources.read(
        named.data, split=named.split, limit=named.limit, labelled=labelled, label_boxes=named.label_boxes
    )
    return read if labelled else setup.unlabelled(read, named)


def _spread(annotations: Annotations, count: int) -> Annotations:
    rows = np.unique(np.linspace(0, len(annotations) - 1, min(count, len(annotations))).round().astype(np.int64))
    return annotations.select(rows)


def pixels(crops: Crops, rows: list[int]) -> ByteArray:
    """``B×S×S×3`` of rows that decode."""
    return np.stack([crops[row].pixels for row in rows])
