"""poseshift: domain adaptive 2D pose estimation, from labelled synthetic images to unlabelled real ones."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from poseshift.version import __version__

if TYPE_CHECKING:
    from poseshift.apps.ablate import ablate as ablate
    from poseshift.apps.adapt import adapt as adapt
    from poseshift.apps.compare import compare as compare
    from poseshift.apps.export import export as export
    from poseshift.apps.predict import predict as predict
    from poseshift.apps.report import report as report
    from poseshift.apps.sweep import sweep as sweep
    from poseshift.batches import Batch as Batch
    from poseshift.batches import SourceBatch as SourceBatch
    from poseshift.batches import TargetBatch as TargetBatch
    from poseshift.batches import View as View
    from poseshift.config import RunConfig as RunConfig
    from poseshift.engine.evaluate import evaluate as evaluate
    from poseshift.engine.run import Run as Run
    from poseshift.engine.run import open_run as open_run
    from poseshift.engine.train import train as train
    from poseshift.engine.trust import calibrate as calibrate
    from poseshift.errors import PoseshiftError as PoseshiftError
    from poseshift.types import Annotations as Annotations
    from poseshift.types import Predictions as Predictions
    from poseshift.types import Record as Record
    from poseshift.types import Skeleton as Skeleton

_FACE = {
    "adapt": "poseshift.apps.adapt",
    "ablate": "poseshift.apps.ablate",
    "compare": "poseshift.apps.compare",
    "sweep": "poseshift.apps.sweep",
    "export": "poseshift.apps.export",
    "predict": "poseshift.apps.predict",
    "report": "poseshift.apps.report",
    "train": "poseshift.engine.train",
    "evaluate": "poseshift.engine.evaluate",
    "calibrate": "poseshift.engine.trust",
    "open_run": "poseshift.engine.run",
    "Run": "poseshift.engine.run",
    "RunConfig": "poseshift.config",
    "PoseshiftError": "poseshift.errors",
    **dict.fromkeys(("Batch", "SourceBatch", "TargetBatch", "View"), "poseshift.batches"),
    **dict.fromkeys(("Annotations", "Predictions", "Record", "Skeleton"), "poseshift.types"),
}

__all__ = ["__version__", *_FACE]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that ``import poseshift`` costs no torch."""
    if name not in _FACE:
        raise AttributeError(f"module 'poseshift' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_FACE[name]), name)
