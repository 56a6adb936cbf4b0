"""A finished run as an estimator: its checkpoint in torch, adapting to what it sees where that is asked for."""

from __future__ import annotations

import logging

import numpy as np
import torch

from poseshift.apps.predict.estimator import Looks
from poseshift.data import augment
from poseshift.data.crops import CropConfig
from poseshift.engine import devices, trust
from poseshift.engine.calibration import Calibration
from poseshift.engine.inference import heatmaps_of
from poseshift.engine.run import Pointer, Run
from poseshift.engine.stream import BATCH, Stream
from poseshift.models import folding
from poseshift.models.pose_net import PoseNet
from poseshift.ops import heatmaps
from poseshift.types import ByteArray, FloatArray, Skeleton

log = logging.getLogger(__name__)


class TorchEstimator:
    """A pose net in torch, see :class:`~poseshift.apps.predict.estimator.Estimator`.

    Args:
        net: Stays as it is, but for one that adapts, which is moved to the device.
        skeleton: Of its keypoints.
        input_size: Side of its input, pixels.
        device: Where to compute.
        looks: How it wants to be shown images.
        flip_index: Mirrored keypoint of each keypoint, for a flip test.
        stream: Of a net that adapts to each batch before it is predicted.
        calibration: Of its scores.
    """

    def __init__(
        self,
        net: PoseNet,
        skeleton: Skeleton,
        *,
        input_size: int,
        device: torch.device,
        looks: Looks,
        flip_index: tuple[int, ...] | None = None,
        stream: Stream | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        fixed = net if stream is not None else folding.folded(net, input_size)
        self.net, self.skeleton, self.input_size = fixed.to(device).eval(), skeleton, input_size
        self.device, self.looks, self.flip_index, self.stream = device, looks, flip_index, stream
        self.calibration, self.calibrated = calibration, calibration is not None

    @torch.no_grad()
    def __call__(self, crops: ByteArray, /) -> tuple[FloatArray, FloatArray]:
        """Keypoints ``B×K×2`` in pixels of the canonical frame and scores ``B×K`` of crops ``B×S×S×3``.

        Raises:
            TrainingError: Adapting gave numbers that are not finite.
        """
        shown = torch.from_numpy(np.ascontiguousarray(crops))
        if self.device.type == "cuda":
            shown = shown.pin_memory()
        pictures = shown.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        if self.stream is not None:
            self.stream.see(pictures)
        maps = heatmaps_of(self.net, augment.plain(pictures, size=self.input_size).images, self.flip_index)
        points, values = heatmaps.decode(maps, stride=self.net.stride)
        scores: FloatArray = values.cpu().numpy()
        return points.cpu().numpy(), scores if self.calibration is None else self.calibration(scores)

    def finish(self) -> None:
        """Logs what it adapted to, if anything."""
        if self.stream is not None:
            self.stream.say()


def opened(
    run: Run, *, which: Pointer | int, flip_test: bool, adapt: str | None, raw_scores: bool, device: str
) -> TorchEstimator:
    """A checkpoint of a finished run; arguments as those of :func:`poseshift.apps.predict.predict`.

    Raises:
        UsageError: The run has no pose net, an unknown device, or a way to adapt that is unknown or finds nothing.
        CheckpointError: The checkpoint cannot be read.
    """
    settings, chosen = run.config, devices.choose(device)
    net = run.predictor(which)
    stream = None if adapt is None else Stream(net, adapt, run, device=chosen)
    own = settings.target or settings.source or CropConfig()
    looks = Looks(
        padding=own.padding,
        trained=run.manifest.get("cut", {}).get("target" if settings.target else "source"),
        margin=0 if stream is None else stream.margin,
        batch_size=64 if stream is None else BATCH,
        at_once=2 if stream is None and chosen.type == "cuda" else 1,
    )
    return TorchEstimator(
        net,
        run.skeleton,
        input_size=settings.input_size,
        device=chosen,
        looks=looks,
        flip_index=run.skeleton.flip_index if flip_test else None,
        stream=stream,
        calibration=None if raw_scores else _calibration(run, which, adapted=adapt is not None),
    )


def _calibration(run: Run, which: Pointer | int, *, adapted: bool) -> Calibration | None:
    """The calibration of a checkpoint; None, and a warning, where it has none or was adapted, which ends it."""
    if adapted:
        log.warning("scores are raw, the heights of heatmap peaks: the calibration is of the net before it was adapted")
        return None
    known = trust.calibration_of(run, which)
    if known is None:
        log.warning(
            "scores are raw, the heights of heatmap peaks: this checkpoint is not calibrated; "
            "`poseshift calibrate %s` does that without target labels",
            run.path,
        )
    return known
