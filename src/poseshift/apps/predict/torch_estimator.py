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
from poseshift.models.pose_net import PoseNet
from poseshift.ops import heatmaps
from poseshift.types import ByteArray, FloatArray

log = logging.getLogger(__name__)


class TorchEstimator:
    """A pose net in torch, see :class:`~poseshift.apps.predict.estimator.Estimator`.

    Args:
        run: Whose predictor is asked.
        which: Checkpoint: ``best``, ``last``, or a step.
        flip_test: Average with the mirrored image.
        adapt: A key of ``TEST_TIME``: adapt a copy of the net to each batch before it is predicted.
        raw_scores: No calibration.
        device: ``auto``, ``cpu``, ``cuda``, …

    Raises:
        UsageError: The run has no pose net, an unknown device, or a way to adapt that is unknown or finds nothing.
        CheckpointError: The checkpoint cannot be read.
    """

    def __init__(
        self, run: Run, *, which: Pointer | int, flip_test: bool, adapt: str | None, raw_scores: bool, device: str
    ) -> None:
        self.run, self.skeleton, self.input_size = run, run.skeleton, run.config.input_size
        self.device = devices.choose(device)
        self.flip_index = run.skeleton.flip_index if flip_test else None
        predictor = run.predictor(which)
        self.stream = None if adapt is None else Stream(predictor, adapt, run, device=self.device)
        self.net: PoseNet = predictor.to(self.device).eval()
        self.calibration = None if raw_scores else _calibration(run, which, adapted=adapt is not None)
        self.calibrated = self.calibration is not None

    @property
    def looks(self) -> Looks:
        """How it wants to be shown images."""
        settings = self.run.config
        own = settings.target or settings.source or CropConfig()
        return Looks(
            padding=own.padding,
            trained=self.run.manifest.get("cut", {}).get("target" if settings.target else "source"),
            margin=0 if self.stream is None else self.stream.margin,
            batch_size=64 if self.stream is None else BATCH,
            at_once=2 if self.stream is None and self.device.type == "cuda" else 1,
        )

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
