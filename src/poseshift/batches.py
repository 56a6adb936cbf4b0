"""The only data a method sees. A method cannot read what a type does not hold.

Frames
    The *canonical frame* is the plain, un-augmented crop of an instance at the net's input size ``H×W``. A view is an
    augmented image; its ``matrix`` takes homogeneous pixel coordinates of the canonical frame to pixels of the view, in
    the convention of :mod:`poseshift.types`. Undoing an augmentation is the inverse of that matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int, Real
from torch import Tensor

from poseshift.draws import Draws
from poseshift.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class View:
    """Images ``B×3×H×W`` (normalised, float) and the ``B×3×3`` matrices from the canonical frame to them."""

    images: Float[Tensor, "B 3 H W"]
    matrix: Float[Tensor, "B 3 3"]


@dataclass(frozen=True, kw_only=True)
class SourceBatch:
    """Labelled images.

    Attributes:
        view: The augmented images.
        keypoints: ``B×K×2`` in pixels of the view.
        visible: ``B×K``, 0, 1 or 2; 0 also where the augmentation moved a keypoint out of the view.
        ids: ``B`` row numbers in the source annotations.
    """

    view: View
    keypoints: Float[Tensor, "B K 2"]
    visible: Real[Tensor, "B K"]
    ids: Int[Tensor, " B"]


@dataclass(frozen=True, kw_only=True)
class TargetBatch:
    """Unlabelled images: no keypoints, no visibility.

    Attributes:
        student: The strongly augmented view.
        teacher: One or more weakly augmented views.
        ids: ``B`` row numbers in the target annotations.
    """

    student: View
    teacher: tuple[View, ...]
    ids: Int[Tensor, " B"]


class Batch:
    """What one step brings: the fields that a method names in ``needs``, and the step's random numbers."""

    def __init__(self, *, draws: Draws, source: SourceBatch | None = None, target: TargetBatch | None = None) -> None:
        self.draws = draws
        self._source, self._target = source, target

    def has(self, field: str) -> bool:
        """Whether the batch holds ``source`` or ``target``."""
        return (self._source if field == "source" else self._target) is not None

    @property
    def source(self) -> SourceBatch:
        """The labelled batch. Raises :class:`UsageError` where the method did not name it in ``needs``."""
        if self._source is None:
            raise UsageError("this method reads batch.source but does not name 'source' in its `needs`")
        return self._source

    @property
    def target(self) -> TargetBatch:
        """The unlabelled batch. Raises :class:`UsageError` where the method did not name it in ``needs``."""
        if self._target is None:
            raise UsageError("this method reads batch.target but does not name 'target' in its `needs`")
        return self._target
