"""An export in words and numbers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from poseshift.apps.export import Export
from poseshift.apps.export.parity import LARGEST_SCORE, LARGEST_SHIFT


def lines(made: Export) -> list[str]:
    """What a user is told of an export."""
    found, lost = made.agreement, made.loss
    said = [
        f"exported: {made.path} ({made.size / 2**20:.1f} MiB)",
        f"compared with torch on {found.images} {made.images}: keypoints within {found.shift:.1g} px (at most "
        f"{LARGEST_SHIFT:g}), scores within {found.score:.1g} (at most {LARGEST_SCORE:g})",
    ]
    if lost is not None:
        said[1] = said[1].replace("compared", "before it was quantised, compared")
        said.append(
            f"int8 on {lost.images} of them: {lost.within:.1f} % of the keypoints stay within 0.05 of the crop's side, "
            f"half of them within {lost.shift:.2g} px; scores change by {lost.score:.2g}"
        )
    if made.faster is not None:
        said.append(f"int8 on this machine, one image at a time: {made.faster:.2f} times as fast as before")
    calibrated = json.loads(made.metadata["calibrated"])
    said.append(f"scores are {'calibrated' if calibrated else 'raw, the heights of heatmap peaks'}")
    said.append(f"licence of the initial weights: {'; '.join(json.loads(made.metadata['licence']))}")
    if made.path.suffix == ".onnx":
        said.append(f"next: poseshift predict {made.path} IMAGES --out predictions.json")
    return said


def facts(made: Export) -> dict[str, Any]:
    """The same for programs."""
    return {
        "path": str(made.path),
        "bytes": made.size,
        "compared_on": made.images,
        "agreement": asdict(made.agreement),
        "int8": None if made.loss is None else {**asdict(made.loss), "faster": made.faster},
        "metadata": {name: json.loads(text) for name, text in made.metadata.items()},
    }
