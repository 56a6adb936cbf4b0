"""Predictions of the run before adaptation beside those of the run after it, on the same images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file

from poseshift import metrics
from poseshift.apps.report.entries import Entry, parent_of
from poseshift.config import DataConfig
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import devices, evaluate, inference, trust
from poseshift.engine.calibration import Calibration, parsed
from poseshift.engine.parents import INIT
from poseshift.engine.run import Run
from poseshift.errors import DataError
from poseshift.metrics import Hits, Interval
from poseshift.models.pose_net import PoseNet
from poseshift.types import Annotations, FloatArray, Predictions, Skeleton

COMPUTED = 256
"""Images at most to compute predictions of, where no evaluation holds them."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one run predicts.

    Attributes:
        label: Name of the run.
        colour: Number of its CSS colour.
        predictions: In pixels of the images, with raw scores.
        calibrated: ``N×K`` calibrated scores; None where the run has no calibration.
        hits: Which visible keypoints are right; None where the data has no labels.
    """

    label: str
    colour: int
    predictions: Predictions
    calibrated: FloatArray | None
    hits: Hits | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same instances.

    Attributes:
        data: ``FORMAT:PATH``.
        split: Of it.
        annotations: The instances shown; without keypoints where labels may not be looked at.
        skeleton: Of the predictions.
        crop: How they are cut out.
        labelled: Whether labels rank the pictures; else confidence does.
        sampled: Whether the instances are an even sample of more.
        before: None where no earlier run is known.
        after: The report's subject.
        gain: Mean PCK@0.05 after minus before, fraction, with its paired interval; None without labels or ``before``.
    """

    data: str
    split: str | None
    annotations: Annotations
    skeleton: Skeleton
    crop: CropConfig
    labelled: bool
    sampled: bool
    before: Side | None
    after: Side
    gain: Interval | None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where one side's predictions come from: a run, or the weights that its child has copied."""

    label: str
    colour: int
    run: Run
    copied: bool = False


def compare(
    subject: Entry, shown: Sequence[Entry], *, data: str | None, split: str | None, device: str
) -> Comparison | None:
    """The subject beside the run that it was started from, or else the first run given; None where there is no data.

    Raises:
        DataError, UsageError: The data cannot be read, or does not fit the run.
    """
    if not subject.predicts:
        return None
    named = _data(subject, data, split)
    if named is None:
        return None
    (spec, part), labels = named
    annotations, labelled = _annotations(subject.run, spec, part, labels=labels)
    own = evaluate.default_crop(subject.run, annotations)
    found = [
        one
        for one in (_before(subject, shown), _Source(label=subject.label, colour=subject.colour, run=subject.run))
        if one
    ]
    stored = [_stored(one, spec, part, annotations) for one in found]
    rows = np.arange(len(annotations))
    if any(one is None for one in stored) and len(rows) > COMPUTED:
        rows = np.unique(np.linspace(0, len(rows) - 1, COMPUTED).round().astype(np.int64))
    chosen = annotations.select(rows)
    sides = []
    for source, known in zip(found, stored, strict=True):
        said = _select(known, rows) if known else _computed(source, chosen, own, device=device)
        hits = _hits(chosen, said) if labelled else None
        made_by = _calibration(source, _folder(source, spec, part) if known else None)
        scores = None if made_by is None else made_by(said.scores)
        sides.append(Side(label=source.label, colour=source.colour, predictions=said, calibrated=scores, hits=hits))
    before = sides[0] if len(sides) > 1 else None
    return Comparison(
        data=spec,
        split=part,
        annotations=chosen,
        skeleton=subject.run.skeleton,
        crop=own,
        labelled=labelled,
        sampled=len(rows) < len(annotations),
        before=before,
        after=sides[-1],
        gain=_gain(before, sides[-1], chosen),
    )


def _data(subject: Entry, data: str | None, split: str | None) -> tuple[tuple[str, str | None], bool] | None:
    """Data and split to show, and whether its labels may be looked at: those of the unlabelled target may not."""
    if data is not None:
        return (data, split), True
    target: DataConfig | None = subject.run.config.target
    ordered = sorted(subject.evaluations, key=lambda one: target is None or not _same(one.content["data"], target.data))
    for one in ordered:
        return (one.content["data"], one.content["split"]), True
    return ((target.data, target.split), False) if target is not None else None


def _same(one: str, other: str) -> bool:
    return one.partition(",")[0] == other.partition(",")[0]


def _annotations(run: Run, data: str, split: str | None, *, labels: bool) -> tuple[Annotations, bool]:
    """The instances, in the run's skeleton, and whether they have labels."""
    own = run.config.target
    raw = sources.read(data, split=split, labelled=False, label_boxes=own is not None and own.label_boxes)
    if not labels or not len(raw.skeleton):
        return raw.without_labels(), False
    annotations = evaluate.labelled(run, data, split)
    return annotations, bool((annotations.visible > 0).any())


def _before(subject: Entry, shown: Sequence[Entry]) -> _Source | None:
    """The run that the subject was started from: shown, still there, or copied; else the first run of the report."""
    keypoints = subject.run.skeleton.keypoints
    noted = subject.run.manifest.get("parents", {}).get(INIT)
    parent = parent_of(subject.run)
    paths = {entry.run.path.resolve(): entry for entry in shown}
    if parent is not None and parent.path.resolve() in paths:
        entry = paths[parent.path.resolve()]
        return _Source(label=entry.label, colour=entry.colour, run=entry.run)
    others = [e for e in shown if e is not subject and e.predicts and e.run.skeleton.keypoints == keypoints]
    colour = 1 if subject.colour != 1 else 2
    if noted is not None and (subject.run.path / "parents" / INIT / "predictor.safetensors").is_file():
        label = str(noted["run"]).rstrip("/").rpartition("/")[2]
        return _Source(label=f"{label} (start)", colour=colour, run=subject.run, copied=True)
    return _Source(label=others[0].label, colour=others[0].colour, run=others[0].run) if others else None


def _folder(source: _Source, data: str, split: str | None) -> Path:
    return source.run.path / "evaluation" / evaluate.folder_name(data, split)


def _stored(source: _Source, data: str, split: str | None, annotations: Annotations) -> Predictions | None:
    """Predictions that an evaluation of the run has kept; None where there are none that fit the data as it is now."""
    file = _folder(source, data, split) / "predictions.npz"
    if source.copied or not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            found = Predictions(
                keypoints=content["keypoints"], scores=content["scores"], crop_side=content["crop_side"]
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"{file}: no predictions of an evaluation ({error}); remove its folder, then evaluate again"
        ) from error
    expected = (len(annotations), len(source.run.skeleton), 2)
    return found if found.keypoints.shape == expected else None


def _calibration(source: _Source, folder: Path | None) -> Calibration | None:
    """Of the weights that predicted: those of the evaluation in ``folder``, else of ``best``."""
    if folder is not None:
        files = [file for file in sorted(folder.glob("metrics*.json")) if file.is_file()]
        steps = {json.loads(file.read_text(encoding="utf-8")).get("checkpoint") for file in files}
        return trust.calibration_at(source.run, steps.pop()) if len(steps) == 1 else None
    if not source.copied:
        return trust.calibration_of(source.run)
    known = (Run(source.run.path / "parents" / INIT).trust("start") or {}).get("calibration")
    return None if known is None else parsed(known, origin=f"{source.run.path}: its start")


def _select(found: Predictions, rows: npt.NDArray[np.int64]) -> Predictions:
    return Predictions(keypoints=found.keypoints[rows], scores=found.scores[rows], crop_side=found.crop_side[rows])


def _computed(source: _Source, annotations: Annotations, crop: CropConfig, *, device: str) -> Predictions:
    run = source.run
    net = _copied_net(run) if source.copied else run.predictor("best")
    crops = Crops(annotations, crop, size=run.config.input_size)
    return inference.infer(net, crops, device=devices.choose(device)).predictions


def _copied_net(run: Run) -> PoseNet:
    """The net that a run started from, from the weights in its own folder."""
    net = PoseNet(run.config.model.model_copy(update={"weights": None}), len(run.skeleton))
    folder = run.path / "parents" / INIT
    net.load_state_dict(load_file(folder / "predictor.safetensors"))
    net.logit_sigma = Run(folder).config.logit_sigma
    return net.eval()


def _hits(annotations: Annotations, said: Predictions) -> Hits:
    counted = annotations.visible == 2
    return metrics.exact_hits(said.keypoints, annotations.keypoints, counted, said.crop_side)


def _gain(before: Side | None, after: Side, annotations: Annotations) -> Interval | None:
    if before is None or before.hits is None or after.hits is None:
        return None
    weights = metrics.bootstrap_weights(annotations.image_index)
    return metrics.paired_difference([after.hits], [before.hits], weights, annotations.skeleton)


def errors(side: Side, annotations: Annotations) -> npt.NDArray[np.float64]:
    """Mean distance of each instance's visible keypoints, fraction of the crop's side; NaN where none is visible."""
    said = side.predictions
    share = metrics.distances(said.keypoints, annotations.keypoints) / said.crop_side[:, None]
    counted = annotations.visible == 2
    total = np.where(counted, np.nan_to_num(share, nan=1.0), 0).sum(1)
    return np.where(counted.any(1), total / np.maximum(counted.sum(1), 1), np.nan)
