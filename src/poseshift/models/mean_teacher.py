"""A student and the teacher that is its exponential moving average."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poseshift.batches import View
from poseshift.models import one_pass as passes
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import affine, ema

TeacherNorm = Literal["batch", "ema"]


class MeanTeacher(nn.Module):
    """Student and teacher.

    ``norm`` says what the teacher's BatchNorm does. ``batch`` is published: it normalises by the batch of weak target
    views, its running statistics come from those passes alone (so they are pure target statistics at evaluation) and
    the moving average leaves them alone. ``ema``: it normalises by its running statistics, which are averaged from the
    student's.
    """

    other_side: Tensor

    def __init__(
        self, net: PoseNet, *, decay: float, norm: TeacherNorm, pairs: tuple[tuple[int, int], ...] = ()
    ) -> None:
        super().__init__()
        self.register_buffer("other_side", affine.other_side(net.final.out_channels, pairs), persistent=False)
        self.student, self.teacher = net, copy.deepcopy(net)
        self.teacher.requires_grad_(False)
        self.decay, self.norm = decay, norm

    def train(self, mode: bool = True) -> MeanTeacher:
        """Sets modes; the teacher normalises by its batch only under ``norm="batch"``."""
        super().train(mode)
        self.teacher.train(mode and self.norm == "batch")
        return self

    def to_canonical(self, maps: Float[Tensor, "B K h w"], view: View) -> Float[Tensor, "B K h w"]:
        """Heatmaps ``B×K×h×w`` of a view in its canonical frame, left and right exchanged where it is mirrored."""
        stride, matrix = self.student.stride, view.matrix
        return affine.unwarp_heatmaps(maps.float(), matrix, stride=stride, other_side=self.other_side)

    def learnt_from(
        self, source: Float[Tensor, "B 3 H W"], target: Float[Tensor, "B 3 H W"], *, one_pass: bool
    ) -> list[PoseOutput]:
        """What the student says of source and target images ``B×3×H×W``, in one pass or in two."""
        if one_pass:
            return passes.outputs(self.student, (source, target))
        return [self.student(source), self.student(target)]

    @torch.no_grad()
    def pseudo_heatmaps(
        self, images: list[Float[Tensor, "B 3 H W"]], views: tuple[View, ...], *, mirrored: bool = False
    ) -> Float[Tensor, "B K h w"]:
        """Teacher heatmaps ``B×K×h×w`` in the canonical frame, averaged over the views.

        Args:
            images: One batch ``B×3×H×W`` for each view, perhaps restyled.
            views: Whose matrices undo the augmentation.
            mirrored: Look at each image in a mirror too, and average.
        """
        look = self._mirrored_too if mirrored else self._once
        maps = [self.to_canonical(look(x), view) for x, view in zip(images, views, strict=True)]
        return maps[0] if len(maps) == 1 else torch.stack(maps).mean(0)

    def _once(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        maps: Tensor = self.teacher(images).heatmaps
        return maps

    def _mirrored_too(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        mirrored: Tensor = self.teacher(images.flip(-1)).heatmaps
        return (self._once(images) + mirrored.flip(-1)[:, self.other_side]) / 2

    def update(self) -> None:
        """Eq. 4, after the optimiser's step."""
        ema.update(self.teacher, self.student, self.decay, buffers=self.norm == "ema")
