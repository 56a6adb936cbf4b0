"""A student and the teacher that is its exponential moving average."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poseshift.batches import View
from poseshift.models import one_pass as passes
from poseshift.models.batch_norms import MixedNorms
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import affine, ema

TeacherNorm = Literal["batch", "ema"]
MixedTeacherNorm = Literal[TeacherNorm, "mixed"]


class MeanTeacher(nn.Module):
    """Student and teacher.

    ``norm`` says what the teacher's BatchNorm does. ``batch`` is published: it normalises by the batch of weak target
    views, its running statistics come from those passes alone (so they are pure target statistics at evaluation) and
    the moving average leaves them alone. ``ema``: it normalises by its running statistics, which are averaged from the
    student's. ``mixed``: it normalises by the batch's statistics and the source's, ``share`` of the former, see
    :class:`MixedNorms`; the student must learn from the source in a pass of its own (:meth:`learnt_from`).
    """

    other_side: Tensor

    def __init__(
        self,
        net: PoseNet,
        *,
        decay: float,
        norm: MixedTeacherNorm,
        pairs: tuple[tuple[int, int], ...] = (),
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("other_side", affine.other_side(net.final.out_channels, pairs), persistent=False)
        self.student, self.teacher = net, copy.deepcopy(net)
        self.teacher.requires_grad_(False)
        self.decay, self.norm = decay, norm
        self.mixed = MixedNorms(self.student, self.teacher, share=share) if norm == "mixed" else None

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
        with self.mixed.of_source() if self.mixed else nullcontext():
            first = self.student(source)
        return [first, self.student(target)]

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
        with self.mixed.of_batches() if self.mixed else nullcontext():
            maps = [self.to_canonical(look(x), view) for x, view in zip(images, views, strict=True)]
        return maps[0] if len(maps) == 1 else torch.stack(maps).mean(0)

    def _once(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        if self.mixed is None:
            maps: Tensor = self.teacher(images).heatmaps
            return maps
        # as written: what torch.compile made of backbone and head knows nothing of the mixing
        mixed: Tensor = self.teacher.final(self.teacher.head.forward(self.teacher.backbone.forward(images)))
        return mixed

    def _mirrored_too(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        mirrored = self._once(images.flip(-1))
        return (self._once(images) + mirrored.flip(-1)[:, self.other_side]) / 2

    def update(self) -> None:
        """Eq. 4, after the optimiser's step."""
        ema.update(self.teacher, self.student, self.decay, buffers=self.norm == "ema")
        if self.mixed is not None:
            self.mixed.update(self.decay)
