"""The source's poses, normalised, in the run folder: what a plausible pose is, also for a run without a source.

A pose is normalised by its mean point and its size, the root of the mean squared distance of its keypoints from that
point. The distance of a pose from the known ones is the root of the mean squared distance of its keypoints from those
of the nearest, in sizes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poseshift.data.crops import Crops
from poseshift.engine import checkpoint
from poseshift.errors import CheckpointError
from poseshift.types import ByteArray, FloatArray

FILE = "source-poses.npy"
COUNT = 2000
SMALLEST = 0.05
"""Least size of a pose, fraction of the input's side: keypoints on one spot have no shape to blow up."""


def normalise(points: Tensor, *, side: int) -> Tensor:
    """Poses ``B×K×2`` about their mean point, in sizes; NaN coordinates are not counted and stay.

    Args:
        points: In pixels of the input.
        side: Of the input.
    """
    centred = points - points.nanmean(1, keepdim=True)
    size = centred.square().sum(-1).nanmean(1).sqrt().clamp(min=SMALLEST * side)
    return centred / size[:, None, None]


def distance(found: Tensor, known: Tensor) -> Tensor:
    """Distance of each pose ``B×K×2`` from the nearest of ``M×K×2``: ``B``, in sizes.

    Keypoints that the known poses lack (NaN) are not counted.
    """
    there = ~known.isnan().any(-1).any(0)
    one, other = found[:, there].flatten(1), known[:, there].flatten(1)
    return torch.cdist(one, other).amin(1) / there.sum().sqrt()


def of_labels(keypoints: FloatArray, visible: ByteArray, *, size: int) -> FloatArray:
    """Up to 2,000 normalised poses ``M×K×2`` of labels, spread over their rows.

    Keypoints that fewer than half of the rows have are NaN throughout; of the others each pose that is taken has all.

    Args:
        keypoints: ``N×K×2`` in pixels of the input.
        visible: ``N×K``; 0 is not labelled.
        size: Side of the input.
    """
    labelled = visible > 0
    common = labelled.mean(0) >= 0.5 if len(labelled) else np.zeros(visible.shape[1], bool)
    whole = np.flatnonzero(labelled[:, common].all(1)) if common.any() else np.empty(0, np.int64)
    chosen = whole[np.linspace(0, len(whole) - 1, min(COUNT, len(whole))).round().astype(np.int64)]
    points = np.where(common[None, :, None], keypoints[chosen], np.float32(np.nan))
    return normalise(torch.from_numpy(points.astype(np.float32)), side=size).numpy()


def of_run(folder: Path, source: Crops | None) -> FloatArray | None:
    """The poses of a run folder, written there from its source's labels where they are not yet.

    Args:
        folder: Of the run.
        source: Its source; None where it sees none, and knows the poses that came with the weights of its ``init``.

    Returns:
        ``M×K×2``, or None where nobody has any.

    Raises:
        CheckpointError: The disk refuses, or the file is damaged.
    """
    if source is not None and not (folder / FILE).is_file():
        found = of_labels(source.keypoints, source.annotations.visible, size=source.size)
        if len(found):
            packed = io.BytesIO()
            np.save(packed, found, allow_pickle=False)
            checkpoint.write_bytes(folder / FILE, packed.getvalue())
    file = file_of(folder)
    if file is None:
        return None
    try:
        known: FloatArray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{file}: no poses of a source ({error}); restore it from a copy, or remove it to score without them"
        ) from error
    return known


def file_of(folder: Path) -> Path | None:
    """The poses in a run folder: its own, else those that came with the weights of its ``init``; None without any."""
    places = (folder / FILE, folder / "parents" / "init" / FILE)
    return next((file for file in places if file.is_file()), None)
