"""Whether an exported model says what its run says: no file is handed out before it did, on real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from poseshift.apps.export.pictures import pixels
from poseshift.data.crops import Crops
from poseshift.engine import inference
from poseshift.engine.calibration import Calibration
from poseshift.errors import DataError, ExportError
from poseshift.models.pose_net import PoseNet
from poseshift.types import ByteArray, FloatArray

LARGEST_SHIFT = 1e-3
"""Pixels of the input."""
LARGEST_SCORE = 1e-5

Model = Callable[[ByteArray, FloatArray | None], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the run itself says of its pictures, in the way of ``predict``.

    Attributes:
        rows: Of the crops: those that decode.
        images: ``B×S×S×3`` uint8.
        regions: ``B×4`` in image pixels.
        keypoints: ``B×K×2`` in pixels of the crop.
        scores: ``B×K``.
    """

    rows: list[int]
    images: ByteArray
    regions: FloatArray
    keypoints: FloatArray
    scores: FloatArray

    def part(self, rows: slice) -> Truth:
        """Of some of the images."""
        return Truth(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The largest differences, over all keypoints.

    Attributes:
        images: Number of images.
        shift: Pixels of the input.
        score: Of scores.
    """

    images: int
    shift: float
    score: float


def truth(net: PoseNet, crops: Crops, *, flip_index: tuple[int, ...] | None, calibration: Calibration | None) -> Truth:
    """What eager torch says of the crops, on the CPU. Raises :class:`DataError` where none decodes."""
    found = inference.infer(net, crops, device=torch.device("cpu"), flip_index=flip_index)
    rows = [row for row in range(len(crops)) if row not in found.failed]
    if not rows:
        raise DataError(f"{crops.annotations.name}: none of {len(crops)} images decodes; look at the files")
    raw = found.predictions.scores[rows]
    return Truth(
        rows=rows,
        images=pixels(crops, rows),
        regions=crops.regions[rows],
        keypoints=crops.to_canonical(found.predictions.keypoints)[rows],
        scores=raw if calibration is None else calibration(raw),
    )


def compare(model: Model, known: Truth, *, what: str) -> Agreement:
    """Holds a model to the truth: all images at once in image pixels, and one alone in pixels of the crop.

    Args:
        model: Of crops and regions, see :class:`poseshift.apps.exported.Exported`.
        known: What it must say.
        what: The images, for messages.

    Raises:
        ExportError: It differs by more than :data:`LARGEST_SHIFT` or :data:`LARGEST_SCORE`, or is not finite.
    """
    together, scores = model(known.images, known.regions)
    size = known.images.shape[1]
    scale = (size / (known.regions[:, 2] - known.regions[:, 0]))[:, None, None]
    inside = (together - known.regions[:, None, :2]) * scale - 0.5
    alone, score_alone = model(known.images[:1], None)
    shifts = [np.abs(inside - known.keypoints), np.abs(alone - known.keypoints[:1])]
    gaps = [np.abs(scores - known.scores), np.abs(score_alone - known.scores[:1])]
    found = Agreement(
        images=len(known.rows),
        shift=float(max(one.max() for one in shifts)),
        score=float(max(one.max() for one in gaps)),
    )
    if not (found.shift <= LARGEST_SHIFT and found.score <= LARGEST_SCORE):
        raise ExportError(
            f"the exported model differs from torch by {found.shift:.2g} px (at most {LARGEST_SHIFT:g}) and "
            f"{found.score:.2g} in scores (at most {LARGEST_SCORE:g}) on {found.images} {what}; nothing was written: "
            "report this with the versions of torch, onnxscript and onnxruntime"
        )
    return found
