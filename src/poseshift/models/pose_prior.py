"""How far a 2-D pose is from those that a skeleton was seen in: a learned distance, differentiable in the keypoints."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

LEAST = 3
"""Keypoints that a pose needs: two alone are one and the same pose, once place and size are gone."""

SPREAD = 1e-3
"""Least size of a pose, in the units of its keypoints: all on one spot have none."""


class PosePriorConfig(BaseModel):
    """What the prior's net is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(256, ge=8, description="Units of each hidden layer.")
    layers: int = Field(4, ge=1, description="Hidden layers.")


def normalise(
    keypoints: Float[Tensor, "*B K 2"], known: Bool[Tensor, "*#B K"]
) -> tuple[Float[Tensor, "*B K 2"], Bool[Tensor, "*#B K"]]:
    """Poses ``B×K×2`` without place and size: of the known keypoints the mean is 0 and the mean square distance 1.

    Args:
        keypoints: In any unit; what is not known may be anything, also NaN.
        known: ``B×K``.

    Returns:
        The poses, 0 where a keypoint is not known, and ``known`` itself, but all False where too few are.
    """
    known = known & (known.sum(-1, keepdim=True) >= LEAST)
    shares = known.unsqueeze(-1).to(keypoints.dtype)
    count = shares.sum(-2, keepdim=True).clamp(min=1)
    points = torch.where(known.unsqueeze(-1), keypoints, torch.zeros_like(keypoints))
    centred = (points - points.sum(-2, keepdim=True) / count) * shares
    size = (centred.square().sum((-2, -1), keepdim=True) / count).clamp(min=SPREAD**2).sqrt()
    return centred / size, known


class PosePrior(nn.Module):
    """A multilayer perceptron: a pose and which of its keypoints are known, to its distance to plausible poses, ≥ 0.

    In the spirit of Pose-NDF (Tiwari et al., ECCV 2022), on keypoints in place of joint rotations. Poses come in the
    canonical frame (:mod:`poseshift.batches`): upright as the data is, left and right as they are called.

    Args:
        config: Sizes.
        keypoints: ``K`` of the skeleton.
    """

    def __init__(self, config: PosePriorConfig, keypoints: int) -> None:
        super().__init__()
        sizes = [3 * keypoints, *[config.width] * config.layers]
        hidden: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            hidden += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1), nn.Softplus())

    def forward(self, keypoints: Float[Tensor, "B K 2"], known: Bool[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Distances ``B`` of poses ``B×K×2`` in any unit, in sizes of the pose; 0 where fewer than 3 are known."""
        poses, known = normalise(keypoints.float(), known)
        found: Tensor = self.layers(torch.cat((poses.flatten(1), known.to(poses.dtype)), 1)).squeeze(1)
        return found.float() * known.any(-1)


class PoseBank(nn.Module):
    """The last ``rows`` plausible poses that were added, normalised."""

    poses: Float[Tensor, "M K 2"]
    known: Bool[Tensor, "M K"]
    added: Int[Tensor, ""]

    def __init__(self, rows: int, keypoints: int) -> None:
        super().__init__()
        self.register_buffer("poses", torch.zeros(rows, keypoints, 2))
        self.register_buffer("known", torch.zeros(rows, keypoints, dtype=torch.bool))
        self.register_buffer("added", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def add(self, poses: Float[Tensor, "B K 2"], known: Bool[Tensor, "B K"]) -> None:
        """Adds poses as :func:`normalise` gives them, in the place of the oldest where there is no room."""
        places = (self.added + torch.arange(len(poses), device=poses.device)) % len(self.poses)
        self.poses[places], self.known[places] = poses, known
        self.added += len(poses)

    @torch.no_grad()
    def nearest(self, poses: Float[Tensor, "B K 2"], known: Bool[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Distance of normalised poses ``B×K×2`` to the nearest in which at least the same keypoints are known.

        Of each pose of the bank the other keypoints are left out, and it is normalised again. Two such poses are
        ``√(|a|² + |b|² - 2·a·b)`` apart, which takes products of matrices alone. 0 where there is no such pose.
        """
        with torch.autocast(poses.device.type, enabled=False):
            shares = known.float()
            count = shares.sum(1, keepdim=True).clamp(min=1)
            squares = shares @ self.poses.square().sum(-1).T / count
            means = torch.einsum("bk,mkx->bmx", shares, self.poses) / count.unsqueeze(-1)
            variance = (squares - means.square().sum(-1)).clamp(min=0)
            size = variance.clamp(min=SPREAD**2).sqrt()
            product = poses.flatten(1) @ self.poses.flatten(1).T / count / size
            own = poses.square().sum((-2, -1)).unsqueeze(1) / count
            apart = own + variance / size.square() - 2 * product
            lacking = shares @ (~self.known).float().T > 0
            found = apart.clamp(min=0).masked_fill(lacking, torch.inf).amin(1).sqrt()
        return torch.where(found.isfinite() & known.any(1), found, torch.zeros_like(found))
