"""How far a checkpoint may be trusted: calibrated scores and collapse, in ``RUN/trust/``, without target labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from poseshift import config
from poseshift.config import RunConfig
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import calibration, checkpoint, collapse, devices, observation, setup
from poseshift.engine.calibration import Calibration, Held, OnSource
from poseshift.engine.checkpoint import Checkpoint
from poseshift.engine.collapse import Measure, Reference
from poseshift.engine.data import Data
from poseshift.engine.label_free import TOLERANCE
from poseshift.engine.observation import Seen
from poseshift.engine.parents import INIT
from poseshift.engine.run import Pointer, Run, open_run
from poseshift.engine.scoring import rows_for_scoring
from poseshift.errors import DataError, PoseshiftError
from poseshift.metrics import distances
from poseshift.models.pose_net import PoseNet
from poseshift.types import VISIBLE

log = logging.getLogger(__name__)

FOLDER, REFERENCE = "trust", "reference.json"
SHOWN = 4
"""Images kept as examples of each collapse that is found."""


class Examiner:
    """Examines the checkpoints of one run.

    Args:
        data: Of the run. ``monitor``, which has target labels, is not looked at.
        settings: Of the run.
        run: Where results are written.
        write: Takes a line for ``metrics.jsonl``.
    """

    def __init__(
        self, data: Data, settings: RunConfig, run: Run, write: Callable[[dict[str, Any]], None] = lambda line: None
    ) -> None:
        self.data, self.config, self.run, self.write = data, settings, run, write

    def examine(self, predictor: nn.Module | None, student: nn.Module | None, *, step: int) -> None:
        """Calibrates the nets of a step, measures collapse, writes both into the run folder, warns of what is found.

        Args:
            predictor: In evaluation mode; what is no pose net is not examined.
            student: Likewise.
            step: Of the checkpoint.
        """
        if not isinstance(predictor, PoseNet) or not isinstance(student, PoseNet):
            return
        target = self._look(predictor, student, self.target) if self.target is not None else None
        usual = self.reference
        measures = collapse.measure(target.keypoints, usual, size=target.size) if target and usual else ()
        found = self._calibration(predictor, student, target)
        result: dict[str, Any] = {
            "step": step,
            "nets": "predictor alone" if predictor is student else "predictor and student",
            "calibration": None if found is None else asdict(found),
            "collapse": {one.name: {"value": one.value, "found": one.found} for one in measures},
            "examples": {one.name: self._examples(one, target) for one in measures if one.found and target},
        }
        file = self.run.path / FOLDER / f"step-{step}.json"
        checkpoint.write_text(file, json.dumps(result, indent=1, allow_nan=False) + "\n")
        if measures:
            self.write({"step": step, "collapse": {m.name: m.value for m in measures if m.value is not None}})
        for one in measures:
            if one.found:
                log.warning("step %d: collapsed predictions on the target: %s", step, sentence(one.name, one.value))

    @cached_property
    def reference(self) -> Reference | None:
        """What source poses show, kept in the run folder; of a run without a source, what its start run has kept."""
        source = self.data.source
        if source is None:
            known = self._start.get("reference")
            return None if known is None else collapse.reference_of(known, origin=f"{self.run.path}: its start")
        labels = source.annotations.visible
        found = collapse.reference(source.keypoints, labels, self.data.skeleton.flip_pairs, size=source.size)
        text = json.dumps(None if found is None else found.to_json(), allow_nan=False)
        checkpoint.write_text(self.run.path / FOLDER / REFERENCE, text + "\n")
        return found

    @cached_property
    def target(self) -> Crops | None:
        """The target's images without labels, also where the method itself does not need them; None without any."""
        named = self.config.target
        if self.data.target is not None or named is None:
            return self.data.target
        read = sources.read(
            named.data, split=named.split, limit=named.limit, labelled=False, label_boxes=named.label_boxes
        )
        try:
            annotations = setup.unlabelled(read, named)
        except PoseshiftError as error:
            log.info("scores are not calibrated for the target: %s", error)
            return None
        cut = CropConfig(boxes=self.data.cut["target"], padding=named.padding)
        return Crops(annotations, cut, size=self.config.input_size, margin=self._margin)

    @property
    def _margin(self) -> int:
        return round(self.config.margin * self.config.input_size)

    def _look(self, predictor: PoseNet, student: PoseNet, crops: Crops) -> Seen | None:
        """What the nets say of a fixed choice of crops; None where nothing of it can be used."""
        rows = rows_for_scoring(crops, self.config.agreement_images, self.config.seed)
        views, device = self.config.augment.student, next(predictor.parameters()).device
        seen = observation.look(predictor, student, crops, rows, views, seed=self.config.seed, device=device)
        return seen if len(seen.rows) else None

    def _calibration(self, predictor: PoseNet, student: PoseNet, target: Seen | None) -> Calibration | None:
        seen = (None, None) if target is None else (target.scores, target.agreed)
        if self._held is not None:
            crops, held = self._held
            if (said := self._look(predictor, student, crops)) is None:
                return None
            counted = crops.annotations.visible[said.rows] == VISIBLE
            near = distances(said.keypoints, crops.keypoints[said.rows]) <= TOLERANCE * said.size
            if not counted.any():
                return None
            source = OnSource(scores=said.scores[counted], right=near[counted], agreed=said.agreed[counted], held=held)
            return calibration.fit(source, *seen)
        if (known := self._start.get("calibration")) is None or target is None:
            return None
        parent = calibration.parsed(known, origin=f"{self.run.path}: its start")
        return calibration.moved(parent, target.scores, target.agreed, held="start")

    @cached_property
    def _start(self) -> dict[str, Any]:
        """What the run that this one started from knows of itself; empty where it was not examined."""
        return Run(self.run.path / "parents" / INIT).trust("start") or {}

    @cached_property
    def _held(self) -> tuple[Crops, Held] | None:
        """Labelled source images to calibrate on, with the margin that augmented views need."""
        settings, held = self.config, self.data.validation
        if held is not None and settings.validation is not None:
            cut = CropConfig(boxes=held.boxes, padding=settings.validation.padding)
            return Crops(held.annotations, cut, size=settings.input_size, margin=self._margin), "validation"
        return None if self.data.source is None else (self.data.source, "source")

    def _examples(self, one: Measure, target: Seen) -> list[dict[str, Any]]:
        crops = self.target
        shown = one.rows[:SHOWN] if crops is not None else ()
        return [
            {
                "row": int(target.rows[number]),
                "image": crops.annotations[int(target.rows[number])].key,
                "keypoints": np.round(target.keypoints[number].astype(np.float64), 1).tolist(),
            }
            for number in shown
            if crops is not None
        ]


def calibration_of(run: Run, which: Pointer | int = "best") -> Calibration | None:
    """How a checkpoint's scores become probabilities; None where it was not calibrated.

    Raises:
        CheckpointError: There is no such checkpoint, or its file does not read.
    """
    return calibration_at(run, run.checkpoint(which).step)


def calibration_at(run: Run, step: int) -> Calibration | None:
    """The calibration of a step, whose checkpoint may be gone. Raises :class:`CheckpointError`."""
    examined = run.trust(f"step-{step}")
    if examined is None or examined.get("calibration") is None:
        return None
    return calibration.parsed(examined["calibration"], origin=str(run.path / FOLDER / f"step-{step}.json"))


def calibrate(
    run: Run | str | Path, *, which: Pointer | int = "best", overrides: Sequence[str] = (), device: str = "auto"
) -> Calibration:
    """Examines a checkpoint of a finished run anew: calibrates its scores without target labels, looks for collapse.

    Training does so at every checkpoint; this is for runs of earlier versions, or whose data moved.

    Args:
        run: A run, or its path.
        which: Checkpoint: ``best``, ``last``, or a step.
        overrides: Of its configuration, ``source.data=FORMAT:PATH`` and the like.
        device: ``auto``, ``cpu``, ``cuda``, …

    Returns:
        The calibration, which is now in the run folder.

    Raises:
        UsageError: The run makes no pose net.
        ConfigError: An override does not fit.
        DataError: The data cannot be read, or nothing labelled is there to calibrate on.
        CheckpointError: The checkpoint cannot be read, or the folder not written.
    """
    run = run if isinstance(run, Run) else open_run(run)
    chosen = run.checkpoint(which)
    settings: RunConfig = config.parse(config.override(run.config.model_dump(mode="json"), overrides), origin="--set")
    predictor = run.predictor(which)
    data = setup.data_of(settings, begun=run)
    predictor, student = _nets(run, settings, data, predictor, chosen)
    place = devices.choose(device)
    Examiner(data, settings, run).examine(predictor.to(place).eval(), student.to(place).eval(), step=chosen.step)
    run.note(**noted(run))
    if (found := calibration_of(run, which)) is None:
        raise DataError(
            f"{run.path}: no labelled source keypoint to calibrate on, and the run that it started from was not "
            "calibrated; calibrate that one, then adapt anew"
        )
    return found


def _nets(run: Run, settings: RunConfig, data: Data, predictor: PoseNet, chosen: Checkpoint) -> tuple[PoseNet, PoseNet]:
    """Predictor and student as in training; the predictor twice where the state is of another version."""
    try:
        method = setup.method_of(settings, run, data)
        method.load_state_dict(chosen.tensors("method"))
    except (RuntimeError, PoseshiftError) as error:
        log.info("the predictor stands in for the student, which cannot be restored: %s", str(error).split("\n")[0])
        return predictor, predictor
    if isinstance(method.predictor, PoseNet) and isinstance(method.student, PoseNet):
        return method.predictor, method.student
    return predictor, predictor


def noted(run: Run) -> dict[str, Any]:
    """What the manifest says of the checkpoint that ``best`` points to; nothing where it was not examined."""
    examined = run.trust(f"step-{run.checkpoint('best').step}")
    if examined is None:
        return {}
    found = examined["calibration"]
    said = {
        "step": examined["step"],
        "calibrated_on": None if found is None else found["held"],
        "expected": None if found is None else found["expected"],
        "collapse": [name for name, one in examined["collapse"].items() if one["found"]],
    }
    return {"trust": said}


def sentence(name: str, value: float | None) -> str:
    """A collapse that was found, in words: what it is, and its number."""
    said = "not known" if value is None else f"{value:.0f} %"
    return f"{collapse.WORDS[name]} ({collapse.UNITS[name]} {said})"
