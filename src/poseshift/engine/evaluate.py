"""Predictor × annotations → metrics, written to ``RUN/evaluation/<data>-<split>/``."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch

from poseshift import metrics
from poseshift.data import sources
from poseshift.data.boxes import BoxMode
from poseshift.data.crops import CropConfig, Crops, as_cut
from poseshift.engine import checkpoint, inference, processes, trust
from poseshift.engine.calibration import Calibration
from poseshift.engine.inference import Inferred
from poseshift.engine.run import Pointer, Run, open_run
from poseshift.errors import DataError, UsageError
from poseshift.metrics import Hits
from poseshift.ops import heatmaps
from poseshift.types import VISIBLE, Annotations

Protocol = Literal["exact", "reference"]


def evaluate(
    run: Run | str | Path,
    data: str,
    *,
    split: str | None = None,
    protocol: Protocol = "exact",
    which: Pointer | int = "best",
    crop: CropConfig | None = None,
    flip_test: bool = False,
    device: str = "auto",
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Scores a run's pose net on labelled data and keeps the result in the run folder.

    Under ``torchrun`` the processes share the images out; the result is that of one.

    Args:
        run: A run, or its path.
        data: ``FORMAT:PATH``.
        split: Of that format.
        protocol: ``exact`` or ``reference``, see :mod:`poseshift.metrics`.
        which: Checkpoint: ``best``, ``last``, or a step.
        crop: How instances are cut out; by default as the run's target (or else source) was, see :func:`default_crop`.
        flip_test: Average with the mirrored image.
        device: ``auto``, ``cpu``, ``cuda``, …
        advance: Called with the number of instances done.

    Returns:
        The content of ``metrics.json``: PCK@0.05 in percent by keypoint and group over ``visible`` and over
        ``labelled`` keypoints, with a 95 % interval of the mean over resampled images; and ``calibration``, see
        :func:`trustworthiness`.

    Raises:
        UsageError, DataError: The run, the data or the options do not fit.
    """
    processes.meet()
    with processes.together():
        opened = run if isinstance(run, Run) else open_run(run)
        return _evaluated(
            opened, data, split=split, protocol=protocol, which=which, crop=crop, flip_test=flip_test, device=device,
            advance=advance,
        )  # fmt: skip


def _evaluated(
    run: Run,
    data: str,
    *,
    split: str | None,
    protocol: Protocol,
    which: Pointer | int,
    crop: CropConfig | None,
    flip_test: bool,
    device: str,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    annotations = labelled(run, data, split)
    crops = Crops(annotations, crop or default_crop(run, annotations), size=run.config.input_size)
    net = run.predictor(which)
    flip = annotations.skeleton.flip_index if flip_test else None
    found = inference.infer(net, crops, device=processes.device(device), flip_index=flip, advance=advance)
    refuse_failures(found, annotations)
    calibrated = trust.calibration_of(run, which)
    result = {
        "data": data,
        "split": split,
        "protocol": protocol,
        "checkpoint": run.checkpoint(which).step,
        "pointer": str(which),
        "method": run.config.method.name,
        "instances": len(annotations),
        "flip_test": flip_test,
        "boxes": crops.boxes,
        "note": annotations.note,
        **score(crops, found, stride=net.stride, protocol=protocol),
        "calibration": trustworthiness(crops, found, calibrated),
    }
    if processes.main():
        _write(run, result, found, calibrated)
    return result


def protocol_of(text: str) -> Protocol:
    """The protocol of that name. Raises :class:`UsageError`."""
    for known in get_args(Protocol):
        if text == known:
            return cast("Protocol", known)
    raise UsageError(f"protocol {text!r} is unknown; expected one of {', '.join(get_args(Protocol))}")


def labelled(run: Run, data: str, split: str | None) -> Annotations:
    """The labelled annotations of ``data`` in the run's skeleton. Raises :class:`DataError` without labels."""
    annotations = sources.read(data, split=split)
    if not len(annotations.skeleton):
        raise DataError(f"{data}: no keypoints to evaluate against; give labelled data, such as coco:FILE.json")
    mapping = run.config.target.mapping if run.config.target else {}
    return sources.of_target(annotations, run.skeleton, mapping, origin=data)


def default_crop(run: Run, annotations: Annotations) -> CropConfig:
    """How the run itself cut instances: as its target where it has one, else as its source; the same for ``auto``.

    Labels may bring boxes that training did not see (they are computed from labels, or stand in the labelled file
    alone): such instances are then cut as the net knows them, and a warning says so.
    """
    role = "target" if run.config.target else "source"
    own = run.config.target or run.config.source
    crop = CropConfig() if own is None else CropConfig(boxes=own.boxes, padding=own.padding)
    return as_cut(annotations, crop, run.manifest.get("cut", {}).get(role))


def crop_by(run: Run, boxes: str) -> CropConfig:
    """The run's own crops but for their boxes. Raises :class:`UsageError` for an unknown mode."""
    for known in get_args(BoxMode):
        if boxes == known:
            own = run.config.target or run.config.source or CropConfig()
            return CropConfig(boxes=cast("BoxMode", known), padding=own.padding)
    raise UsageError(f"boxes {boxes!r} is unknown; expected one of {', '.join(get_args(BoxMode))}")


def hits_of(crops: Crops, found: Inferred, *, stride: float, protocol: Protocol, occluded: bool) -> Hits:
    """Which keypoints are right; ``occluded`` keypoints count too where asked for."""
    annotations = crops.annotations
    counted = annotations.visible >= (1 if occluded else VISIBLE)
    if protocol == "exact":
        return metrics.exact_hits(
            found.predictions.keypoints, annotations.keypoints, counted, found.predictions.crop_side
        )
    keypoints = crops.to_canonical(annotations.keypoints + np.float32(annotations.reference_shift))
    maps, weight = heatmaps.encode(
        torch.from_numpy(keypoints),
        torch.from_numpy(counted.astype(np.uint8)),
        found.map_size,
        stride=stride,
        sigma=2,
        convention="published_human",
    )
    cells = heatmaps.peaks(maps)[0] * weight.unsqueeze(-1)
    return metrics.reference_hits(found.cells, cells.numpy(), found.map_size)


def score(crops: Crops, found: Inferred, *, stride: float, protocol: Protocol) -> dict[str, Any]:
    """PCK@0.05 in percent over ``visible`` and over ``labelled`` keypoints, and of each category."""
    annotations = crops.annotations
    weights = metrics.bootstrap_weights(annotations.image_index)
    kinds = {"visible": False, "labelled": True}
    hits = {
        name: hits_of(crops, found, stride=stride, protocol=protocol, occluded=kind) for name, kind in kinds.items()
    }
    result: dict[str, Any] = {name: _table(one, weights, annotations, protocol) for name, one in hits.items()}
    names = sorted(set(annotations.categories.tolist()))
    if len(names) > 1:
        result["categories"] = {}
        for name in names:
            rows = annotations.categories == name
            part = Hits(right=hits["visible"].right[rows], counted=hits["visible"].counted[rows])
            chosen = annotations.select(rows)
            result["categories"][name] = _table(part, metrics.bootstrap_weights(chosen.image_index), chosen, protocol)
    return result


def trustworthiness(crops: Crops, found: Inferred, calibrated: Calibration | None) -> dict[str, Any]:
    """How far scores are what they say of visible keypoints, in percent, by the ``exact`` protocol.

    Returns:
        ``ece_raw``: expected calibration error of raw scores; ``ece``: of calibrated ones; ``mean_score``: their mean,
        the share right that is expected without labels; ``right``: the share that is right, of all keypoints as one.
        What is not known (a run without calibration, no visible keypoint) is None.
    """
    hits = hits_of(crops, found, stride=1, protocol="exact", occluded=False)
    raw, counted = found.predictions.scores, hits.counted
    said = None if calibrated is None else calibrated(raw)
    return {
        "ece_raw": _percent(metrics.expected_calibration_error(raw, hits)),
        "ece": None if said is None else _percent(metrics.expected_calibration_error(said, hits)),
        "mean_score": None if said is None or not counted.any() else _percent(float(said[counted].mean())),
        "right": _percent(float(hits.right.sum() / counted.sum()) if counted.any() else float("nan")),
    }


def _table(hits: Hits, weights: metrics.DoubleArray, annotations: Annotations, protocol: Protocol) -> dict[str, Any]:
    skeleton = annotations.skeleton
    values = metrics.pck(hits) if protocol == "exact" else metrics.pck_by_batch(hits)
    spread = metrics.interval(hits, weights, skeleton)
    groups = metrics.group_means(values, skeleton)
    return {
        "pck@0.05": _percent(groups["mean"]),
        "interval": [_percent(spread.low), _percent(spread.high)],
        "groups": {name: _percent(value) for name, value in groups.items() if name != "mean"},
        "keypoints": {name: _percent(float(v)) for name, v in zip(skeleton.keypoints, values, strict=True)},
        "count": int(hits.counted.sum()),
    }


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * value, 3)


def refuse_failures(found: Inferred, annotations: Annotations) -> None:
    """Raises :class:`DataError` where an instance was not seen."""
    if found.failed:
        first = [annotations[row].key for row in found.failed[:3]]
        raise DataError(
            f"{len(found.failed)} images do not decode, first {first}; an evaluation must see all, replace them"
        )


def folder_name(data: str, split: str | None) -> str:
    """A folder name for one data set and split."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", data.replace(":", "-")).strip("-")
    return f"{name[-80:]}-{split or 'all'}"


def _write(run: Run, result: dict[str, Any], found: Inferred, calibrated: Calibration | None) -> None:
    folder = run.path / "evaluation" / folder_name(result["data"], result["split"])
    name = "metrics.json" if result["protocol"] == "exact" else f"metrics-{result['protocol']}.json"
    checkpoint.write_text(folder / name, json.dumps(result, indent=1) + "\n")
    packed, said = io.BytesIO(), found.predictions
    columns = {"keypoints": said.keypoints, "scores": said.scores, "crop_side": said.crop_side}
    if calibrated is not None:
        columns["calibrated"] = calibrated(said.scores)
    np.savez_compressed(packed, **columns)  # type: ignore[arg-type]
    checkpoint.write_bytes(folder / "predictions.npz", packed.getvalue())
