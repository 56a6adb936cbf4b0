"""The charts of the page: looks of both domains, orientations of the source, its mean pose with the spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.looks import Look
from poseshift.apps.report.figures import histogram_chart
from poseshift.apps.report.pictures import sides_of
from poseshift.types import FloatArray

SOURCE, AUGMENTED, TARGET = 2, 1, 3
"""Numbers of the page's colours."""
SIDE = 200


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with its title and a few words beside it."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A keypoint's mean place and standard deviations in the crop, as an ellipse on a square of 200."""

    x: float
    y: float
    rx: float
    ry: float
    side: str
    name: str


def looks(found: Examination) -> list[Chart]:
    """One chart for each look: source, source as augmented, target."""
    return [_look(look) for look in found.looks]


def _look(look: Look) -> Chart:
    values = [
        ("source", look.source, SOURCE),
        ("source, augmented", look.augmented, AUGMENTED),
        ("target", look.target, TARGET),
    ]
    low, high = _range([array for _, array, _ in values])
    note = f"median {_short(look.source)} → {_short(look.target)}"
    return Chart(title=look.name, note=note, svg=histogram_chart(values, low=low, high=high, title=look.name))


def _short(values: FloatArray) -> str:
    return f"{np.round(np.median(values), 3) + 0.0:.2g}"


def _range(arrays: list[FloatArray]) -> tuple[float, float]:
    """Ends of the axis: all but the outermost hundredth at each end, never without width."""
    ends = [np.percentile(array, [1, 99]) for array in arrays]
    low, high = min(float(end[0]) for end in ends), max(float(end[1]) for end in ends)
    margin = max(0.05 * (high - low), 1e-3)
    return low - margin, high + margin


def orientation(found: Examination) -> list[Chart]:
    """Orientations of the source in the plane; nothing where they are not known."""
    poses = found.poses
    if poses.turn is None:
        return []
    svg = histogram_chart([("source", poses.angles, SOURCE)], low=-180, high=180, title="orientation in degrees")
    return [Chart(title="orientation, degrees", note=f"deviation {poses.turn:.0f}°", svg=svg)]


def mean_pose(found: Examination) -> tuple[list[Mark], list[tuple[float, float, float, float]]]:
    """Keypoints with their spread, and bones between their means, on a square of 200."""
    skeleton, poses = found.source.annotations.skeleton, found.poses
    sides, mean, spread = sides_of(skeleton), poses.mean * SIDE, poses.spread * SIDE
    known = np.isfinite(mean[:, 0]) & np.isfinite(mean[:, 1])
    marks = [
        Mark(
            x=float(mean[k, 0]),
            y=float(mean[k, 1]),
            rx=float(spread[k, 0]),
            ry=float(spread[k, 1]),
            side=sides[k],
            name=skeleton.keypoints[k],
        )
        for k in np.flatnonzero(known).tolist()
    ]
    bones = [(*mean[a].tolist(), *mean[b].tolist()) for a, b in skeleton.edges if known[a] and known[b]]
    return marks, bones
