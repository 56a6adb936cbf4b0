"""Styles of target images, encoded once: two vectors of channel statistics an image."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from poseshift.batches import TargetBatch
from poseshift.draws import Draws
from poseshift.models.adain import Statistics, StyleNet, statistics

LARGEST = 4096


class StyleBank(nn.Module):
    """A frozen style net and the statistics of up to 4,096 target images.

    They are saved with the run, so a resumed one encodes none again.

    Args:
        net: A trained style net.
        rows: Target instances; beyond the largest, the first ones stand for all.
    """

    mean: Float[Tensor, "N C"]
    std: Float[Tensor, "N C"]

    def __init__(self, net: StyleNet, rows: int) -> None:
        super().__init__()
        self.net = net.requires_grad_(False)
        self.rows = min(rows, LARGEST)
        self.register_buffer("mean", torch.zeros(self.rows, net.channels))
        self.register_buffer("std", torch.ones(self.rows, net.channels))

    @torch.no_grad()
    def fill(self, images: Float[Tensor, "B 3 H W"], ids: Int[Tensor, " B"]) -> None:
        """Stores the styles of normalised images ``B×3×H×W`` of target rows ``ids``, but for rows beyond the bank."""
        kept = ids < self.rows
        found = statistics(self.net.encode(images[kept]).float())
        self.mean[ids[kept]], self.std[ids[kept]] = found.mean.flatten(1), found.std.flatten(1)

    def fill_from(self, targets: Iterator[TargetBatch]) -> None:
        """Stores the styles of plain target images, in the order of their rows, up to the last that the bank holds."""
        seen = torch.zeros(self.rows, dtype=torch.bool, device=self.mean.device)
        done = 0
        while done < self.rows and (batch := next(targets, None)) is not None:
            self.fill(batch.student.images, batch.ids)
            seen[batch.ids[batch.ids < self.rows]] = True
            done += len(batch.ids)
        if seen.any():  # rows whose image did not decode take the style of one that did
            first = int(seen.int().argmax())
            self.mean[~seen], self.std[~seen] = self.mean[first].clone(), self.std[first].clone()

    @torch.no_grad()
    def restyle(
        self,
        content: Float[Tensor, "B 3 H W"],
        ids: Int[Tensor, " B"],
        strength: Float[Tensor, ""] | Float[Tensor, "#B 1 1 1"],
    ) -> Float[Tensor, "B 3 H W"]:
        """Eq. 2 with the styles of target rows ``ids``: normalised images ``B×3×H×W`` in and out."""
        row = ids % self.rows
        style = Statistics(self.mean[row, :, None, None], self.std[row, :, None, None])
        return self.net.stylise(content, style, strength)

    def restyled(
        self, images: Float[Tensor, "B 3 H W"], ids: Int[Tensor, " B"], draws: Draws, *, probability: float
    ) -> Float[Tensor, "B 3 H W"]:
        """The whole batch in the styles of target rows ``ids`` with ``probability``, else as it is.

        The strength is one draw for the batch, η ~ U(0, 1).
        """
        if not draws.coin("style", probability):
            return images
        return self.restyle(images, ids, draws.shared("style/strength").view(1, 1, 1, 1))
