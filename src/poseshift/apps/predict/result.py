"""What a prediction gives, in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseshift.apps.predict.inputs import Inputs
from poseshift.types import Annotations, Predictions, Skeleton


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Predictions of ``N`` instances, and what writers say beside them.

    Attributes:
        inputs: The images; those of ``instances``.
        instances: Which image each lies in, its box, the id of its image and its category; no keypoints.
        predictions: Of these; NaN where an image does not decode.
        skeleton: Of the predictions.
        individuals: ``N`` names, each at most once in an image; empty where boxes name none.
        failures: Why images did not decode, by their number.
    """

    inputs: Inputs
    instances: Annotations
    predictions: Predictions
    skeleton: Skeleton
    individuals: npt.NDArray[np.str_]
    failures: dict[int, str]

    @property
    def triples(self) -> npt.NDArray[np.float32]:
        """``N×K×3``: x, y and score."""
        return np.concatenate([self.predictions.keypoints, self.predictions.scores[..., None]], axis=2)
