"""What stands behind a prediction: crops in, keypoints and scores out. Nothing here or above it needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from poseshift.types import ByteArray, FloatArray, Skeleton


class Estimator(Protocol):
    """A pose net, however it is run.

    Attributes:
        skeleton: Of the ``K`` keypoints.
        input_size: Side ``S`` of the crops, pixels.
        calibrated: Whether a score is the probability that its keypoint is right, see
            :class:`~poseshift.types.Predictions`.
    """

    skeleton: Skeleton
    input_size: int
    calibrated: bool

    def __call__(self, crops: ByteArray, /) -> tuple[FloatArray, FloatArray]:
        """Keypoints ``B×K×2`` in pixels of the crops and scores ``B×K`` of crops ``B×S×S×3``, RGB uint8, ``B ≥ 1``."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """How an estimator wants to be shown images.

    Attributes:
        padding: Factor on the longer side of a box that is given.
        trained: How training images were cut: ``whole``, by boxes (``given``, ``from_keypoints``); None if not known.
        margin: Pixels beyond ``input_size`` that its crops have on each side.
        batch_size: Crops a call, at most.
        at_once: Calls at once: with two, a device is given the next crops while it computes.
    """

    padding: float = 1.25
    trained: Literal["whole", "given", "from_keypoints"] | None = None
    margin: int = 0
    batch_size: int = 64
    at_once: int = 1
