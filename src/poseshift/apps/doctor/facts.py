"""An examination as plain values for ``--json``: every number that a line of the verdict rests on."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.gap import Gap, Interval
from poseshift.apps.doctor.looks import Look
from poseshift.apps.doctor.poses import Poses
from poseshift.apps.doctor.samples import Sample
from poseshift.apps.doctor.scale import Scale
from poseshift.apps.doctor.verdict import verdict
from poseshift.config import DataConfig

SHOWN = 5
"""Unreadable images that are named."""
PERCENTILES = (5, 50, 95)


def facts(found: Examination) -> dict[str, Any]:
    """The content of ``--json``; what could not be measured is None."""
    return {
        "verdict": [asdict(line) for line in verdict(found)],
        "source": _domain(found.source_data, found.source, found.source_scale),
        "target": _domain(found.target_data, found.target, found.target_scale),
        "keypoints": {
            "table": [_clean(asdict(row)) for row in found.partners.rows],
            "unused_source_keypoints": list(found.partners.unused),
            "target_names_keypoints": found.partners.named,
            "training_refuses": found.partners.refused or None,
            "suggestion": found.partners.suggestion or None,
        },
        "source_poses": _poses(found),
        "looks": {look.name: _look(look) for look in found.looks},
        "gap": _gap(found.gap) if found.gap else None,
        "gap_measured_on": found.measured_on,
    }


def number(value: float | None) -> float | None:
    """Four significant digits; None for what is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def percentiles(values: npt.NDArray[np.floating]) -> dict[str, float | None] | None:
    """The 5th, 50th and 95th percentile of the finite values; None where there is none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    return {f"p{p:02d}": number(float(v)) for p, v in zip(PERCENTILES, np.percentile(finite, PERCENTILES), strict=True)}


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    return {key: number(value) if isinstance(value, float) else value for key, value in row.items()}


def _domain(data: DataConfig, sample: Sample, scale: Scale) -> dict[str, Any]:
    colours = np.stack([sample.pixels(i).reshape(-1, 3).mean(0) for i in range(len(sample))]) / 255
    squares = np.stack([np.square(sample.pixels(i) / 255.0).reshape(-1, 3).mean(0) for i in range(len(sample))])
    mean = colours.mean(0)
    spread = np.sqrt(np.maximum(squares.mean(0) - mean**2, 0))
    return {
        "data": data.data,
        "split": data.split,
        "instances": scale.instances,
        "images": scale.images,
        "sampled": len(sample),
        "unreadable_count": len(sample.unreadable),
        "unreadable": dict(list(sample.unreadable.items())[:SHOWN]),
        "boxes": sample.boxes,
        "padding": data.padding,
        "boxed": number(scale.boxed),
        "crowded": number(scale.crowded),
        "image_width": percentiles(scale.sizes[:, 0]),
        "image_height": percentiles(scale.sizes[:, 1]),
        "box_longer_side": percentiles(scale.boxes.max(1)),
        "box_longer_side_over_image": percentiles(scale.boxes.max(1) / scale.sizes.max(1)),
        "box_aspect": percentiles(scale.aspect),
        "crop_side": percentiles(scale.side),
        "box_over_crop": percentiles(scale.fill),
        "image_share_of_crop": percentiles(scale.shown),
        "twins": number(scale.twins),
        "channel_mean": [number(float(value)) for value in mean],
        "channel_deviation": [number(float(value)) for value in spread],
    }


def _poses(found: Examination) -> dict[str, Any]:
    poses: Poses = found.poses
    rows = zip(found.source.annotations.skeleton.keypoints, poses.labelled, poses.visible, strict=True)
    return {
        "keypoints": {
            name: {
                "labelled": number(float(labelled)),
                "visible": number(float(visible)),
                "mean_in_crop": [number(float(value)) for value in poses.mean[index]],
                "spread_in_crop": [number(float(value)) for value in poses.spread[index]],
            }
            for index, (name, labelled, visible) in enumerate(rows)
        },
        "keypoints_over_crop": percentiles(poses.extent),
        "orientation_degrees": percentiles(poses.angles),
        "orientation_deviation_degrees": number(poses.turn),
        "variety": number(poses.variety),
        "facing": {side: number(share) for side, share in poses.facing.items()} if poses.facing else None,
    }


def _look(look: Look) -> dict[str, Any]:
    return {
        "source": percentiles(look.source),
        "source_augmented": percentiles(look.augmented),
        "target": percentiles(look.target),
        "covered": [number(look.low), number(look.high)],
        "target_below": number(look.below),
        "target_above": number(look.above),
        "augmentation": look.knob,
        "value_that_covers": look.setting,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "auc": _interval(gap.auc),
        "auc_of_source_halves": _interval(gap.null_auc),
        "proxy_a_distance": _interval(gap.a_distance),
        "size": _interval(gap.size),
        "size_of_source_halves": _interval(gap.null_size),
        "size_by_part": {name: number(value) for name, value in gap.parts.items()},
        "groups_kept_together": gap.grouped,
    }


def _interval(found: Interval) -> dict[str, float | None]:
    return {name: number(value) for name, value in found._asdict().items()}
