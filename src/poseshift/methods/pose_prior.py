"""A pose prior for the source-free methods: Pose-NDF (Tiwari et al., ECCV 2022) in two dimensions, as POST uses it.

POST (Raychaudhuri et al., ICCV 2023) takes a net that tells how far a pose is from all plausible ones. This run trains
one on the keypoints of the source, so that no other data is needed; it makes no pose net, and sees no image.

Terms
    ``distance``   mean squared error of the net's distance of disturbed poses to that to the nearest plausible one.
    ``plausible``  mean squared error of its distance of the source's own poses to 0.
A pose is disturbed by Gaussian noise, of a strength of its own, on some of its keypoints; by exchanging a left-right
pair; by putting one keypoint on another. Plausible are the last ``bank`` poses of the source. Poses are moved back to
the canonical frame (a mirrored view exchanges left and right); place and size are taken off. Keypoints that are not
labelled, or that a view does not show, are masked; more are hidden at random, so that the net knows parts of poses.

Deviations from the paper: keypoints of the image in place of joint rotations, and one net without a hierarchy of bones,
so that any skeleton will do; the distance to the nearest pose, not to the mean of five; no Eikonal term; plausible and
disturbed poses are seen together, not in stages.

Deviations from the authors' code: POST's was read, Pose-NDF's was not. POST's prior sees directions of bones, named for
one skeleton, which noise turns by von-Mises angles; its source of poses is a file made beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, SourceBatch
from poseshift.draws import Draws
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update
from poseshift.models.pose_prior import PoseBank, PosePrior, PosePriorConfig, normalise
from poseshift.ops import affine, collective


class PosePriorTrainingConfig(MethodConfig):
    """Options of the training of a pose prior."""

    name: Literal["pose_prior"] = "pose_prior"
    net: PosePriorConfig = PosePriorConfig()
    noise: float = Field(0.5, gt=0, description="Largest standard deviation of the noise, in sizes of the pose.")
    noisy_share: float = Field(0.5, gt=0, le=1, description="Probability of a keypoint to get noise.")
    exchanged: float = Field(0.2, ge=0, le=1, description="Probability that a left-right pair is exchanged.")
    misplaced: float = Field(0.2, ge=0, le=1, description="Probability that one keypoint is put on another.")
    hidden: float = Field(0.2, ge=0, lt=1, description="Largest share of keypoints that are hidden from the net.")
    bank: int = Field(4096, ge=1, description="Plausible poses among which the nearest is sought.")
    plausible_weight: float = Field(1.0, ge=0, description="Of the term `plausible`.")

    @property
    def needs(self) -> frozenset[str]:
        """The source alone."""
        return frozenset({"source"})


class PosePriorTraining(Method):
    """Trains a pose prior; makes no pose net."""

    other_side: Int[Tensor, " K"]
    Config = PosePriorTrainingConfig
    makes = "pose prior"
    moving_buffers = frozenset({"bank"})

    def __init__(self, config: PosePriorTrainingConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config = config
        self.prior = PosePrior(config.net, context.keypoints)
        self.bank = PoseBank(config.bank, context.keypoints)
        index = affine.other_side(context.keypoints, context.pairs)
        self.register_buffer("other_side", index, persistent=False)

    def parts(self) -> dict[str, nn.Module]:
        return {"prior": self.prior}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        keypoints, known = canonical_poses(batch.source, self.other_side)
        self.bank.add(*(collective.gather(tensor) for tensor in normalise(keypoints, known)))
        clean, shown = normalise(keypoints, known & self._shown(batch.draws, known))
        disturbed, _ = normalise(self._disturbed(clean, shown, batch.draws), shown)
        wanted = self.bank.nearest(disturbed, shown)
        terms = {
            "distance": Term((self.prior(disturbed, shown) - wanted).square().mean()),
            "plausible": Term(self.prior(clean, shown).square().mean(), self.config.plausible_weight),
        }
        yield Update(terms=terms, on=("prior",))

    def _shown(self, draws: Draws, known: Bool[Tensor, "B K"]) -> Bool[Tensor, "B K"]:
        """Of each pose all keypoints but a share of its own, from none to ``hidden``."""
        share = draws.per_sample("prior/share", 1) * self.config.hidden
        shown: Tensor = draws.per_sample("prior/hidden", known.shape[1]) >= share
        return shown

    def _disturbed(
        self, poses: Float[Tensor, "B K 2"], known: Bool[Tensor, "B K"], draws: Draws
    ) -> Float[Tensor, "B K 2"]:
        count, keypoints = known.shape
        uniform = draws.per_sample("prior/noise", 2 * keypoints).view(count, keypoints, 2)
        strength = self.config.noise * draws.per_sample("prior/strength", 1)
        noisy = draws.per_sample("prior/noisy", keypoints) < self.config.noisy_share
        noise = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
        chances = draws.per_sample("prior/chances", 2)
        picks = draws.per_sample("prior/picks", 3)
        # one keypoint and its partner on the other side change places
        rows = torch.arange(count, device=poses.device)
        one = (picks[:, 0] * keypoints).long()
        partner = self.other_side[one]
        both = known[rows, one] & known[rows, partner] & (chances[:, 0] < self.config.exchanged)
        swapped = poses.clone()
        swapped[rows, one], swapped[rows, partner] = poses[rows, partner], poses[rows, one]
        moved = torch.where(both[:, None, None], swapped, poses)
        # one keypoint falls on another
        off, on = (picks[:, 1] * keypoints).long(), (picks[:, 2] * keypoints).long()
        fallen = known[rows, off] & known[rows, on] & (chances[:, 1] < self.config.misplaced)
        placed = moved.clone()
        placed[rows, off] = moved[rows, on]
        moved = torch.where(fallen[:, None, None], placed, moved)
        disturbed: Tensor = moved + noise * (strength * noisy).unsqueeze(-1)
        return disturbed

    @property
    def predictor(self) -> None:
        return None

    @property
    def pose_prior(self) -> PosePrior:
        return self.prior


def canonical_poses(
    source: SourceBatch, other_side: Int[Tensor, " K"]
) -> tuple[Float[Tensor, "B K 2"], Bool[Tensor, "B K"]]:
    """Labelled keypoints moved back to the canonical frame, ``B×K×2``, and which of them are known, ``B×K``."""
    matrix, known = source.view.matrix, source.visible > 0
    keypoints = affine.apply(affine.invert(matrix), source.keypoints)
    flipped = affine.mirrored(matrix)
    keypoints = torch.where(flipped[:, None, None], keypoints[:, other_side], keypoints)
    return keypoints, torch.where(flipped[:, None], known[:, other_side], known)
