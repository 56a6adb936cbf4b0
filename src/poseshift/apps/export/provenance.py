"""What an exported model says of itself: texts beside the weights, each readable without this package."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from poseshift.apps.exported import KEY, SCHEMA
from poseshift.engine.calibration import Calibration
from poseshift.engine.checkpoint import Checkpoint
from poseshift.engine.parents import licences_of
from poseshift.engine.run import Run
from poseshift.version import __version__


def metadata(
    run: Run,
    chosen: Checkpoint,
    *,
    flip_test: bool,
    calibration: Calibration | None,
    quantised: str | None,
) -> dict[str, str]:
    """The metadata of a model.

    Args:
        run: What it was made of.
        chosen: The checkpoint.
        flip_test: Whether it averages with the mirrored image.
        calibration: Of its scores; None where they are raw.
        quantised: ``int8``, or None.

    Returns:
        Name to JSON text.
    """
    manifest, skeleton = run.manifest, run.skeleton
    role = "target" if run.config.target else "source"
    own = run.config.target or run.config.source
    rest = {name: value for name, value in asdict(skeleton).items() if name in ("name", "groups", "mean_groups")}
    said: dict[str, Any] = {
        KEY: SCHEMA,
        "version": __version__,
        "task": "keypoints of square crops",
        "names": skeleton.keypoints,
        "edges": skeleton.edges,
        "flip_pairs": skeleton.flip_pairs,
        "skeleton": {**rest, "sigmas": skeleton.sigmas},
        "input_size": run.config.input_size,
        "stride": run.config.model.stride,
        "cut": manifest.get("cut", {}).get(role),
        "padding": 1.25 if own is None else own.padding,
        "flip_test": flip_test,
        "calibrated": calibration is not None,
        "calibration": None if calibration is None else asdict(calibration),
        "quantised": quantised,
        "licence": licences_of(run),
        "run": run.path.resolve().name,
        "step": chosen.step,
        "sha256": chosen.digests.get("predictor.safetensors"),
        "method": run.config.method.name,
        "backbone": run.config.model.backbone,
        "selection": manifest.get("selection"),
        "uses_target_labels": manifest.get("uses_target_labels"),
        "data": manifest.get("data"),
        "parents": {name: {**one, "run": Path(one["run"]).name} for name, one in manifest.get("parents", {}).items()},
        "trained_by": {key: manifest.get(key) for key in ("version", "commit", "torch", "start", "end")},
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in said.items()}
