"""``poseshift export``: one file with a run's net and all that stands around it, for machines without torch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from poseshift.apps.export import onnx_graph, parity, pictures, provenance
from poseshift.apps.export.graph import Deployed, whole
from poseshift.apps.export.parity import Agreement, Truth
from poseshift.apps.export.quantise import Loss
from poseshift.apps.export.quantise import loss as quantisation_loss
from poseshift.apps.export.quantise import to_int8 as quantise_to_int8
from poseshift.apps.export.speed import ONNX, Speed, side_by_side
from poseshift.apps.exported import Exported
from poseshift.engine import checkpoint, trust
from poseshift.engine.run import Pointer, Run, open_run
from poseshift.errors import UsageError
from poseshift.types import ByteArray, FloatArray

Format = Literal["onnx", "torch"]
Quantise = Literal["int8"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
INT8: Quantise = "int8"
FOLDER, NAME = "export", "model"
METADATA = "poseshift.json"
"""Inside of a ``.pt2`` file."""
IMAGES = 16
"""That an export is compared with torch on."""
RANGES = 128
"""The same where it is quantised: ranges come from every other one, the loss is measured on the rest."""
TIMED = 9
"""Calls of each model that say how much faster a quantised one is."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A model that was written.

    Attributes:
        path: The file.
        size: Of the file, in bytes.
        agreement: How far it is from torch; of a quantised model, how far the model was before.
        images: What it was compared on.
        metadata: What it says of itself, name to JSON text.
        loss: What quantisation changes; None without it.
        faster: How many times as fast as before the quantised model is, here and with a batch of one; None likewise.
    """

    path: Path
    size: int
    agreement: Agreement
    images: str
    metadata: dict[str, str]
    loss: Loss | None = None
    faster: float | None = None


def export(
    run: Run | str | Path,
    *,
    out: str | Path | None = None,
    format: Format = "onnx",
    which: Pointer | int = "best",
    flip_test: bool = False,
    raw_scores: bool = False,
    quantise: Quantise | None = None,
) -> Export:
    """Writes a run's pose net, with pre- and post-processing inside, after it was compared with torch on images.

    The model takes square crops, uint8, and gives keypoints in image pixels with their scores; see ``docs/export.md``.
    A file of that name is replaced, but only by one that agrees.

    Args:
        run: A run with a pose net, or its path.
        out: The file; by default ``RUN/export/model.onnx``, ``model-int8.onnx`` or ``model.pt2``.
        format: ``onnx``, or ``torch`` for what ``torch.export.load`` reads.
        which: Checkpoint: ``best``, ``last``, or a step.
        flip_test: Average with the mirrored image, inside the model.
        raw_scores: Scores are the heights of the heatmaps' peaks, also where the checkpoint is calibrated.
        quantise: ``int8`` for eight-bit integers on CPUs (``onnx`` only), ranges taken from the run's images.

    Returns:
        Where it is and how well it agrees.

    Raises:
        UsageError: Options that do not fit together, a run without a pose net, or onnx is not installed.
        DataError: The run, or the images that it is compared on, cannot be read; or the disk refuses.
        ExportError: The net cannot be exported, or the model does not say what torch says. Nothing is written then.
    """
    file = None if out is None else Path(out)
    _refuse(format_of(format), quantise_of(quantise), file)
    run = run if isinstance(run, Run) else open_run(run)
    net, chosen = run.predictor(which), run.checkpoint(which)
    calibration = None if raw_scores else trust.calibration_at(run, chosen.step)
    flip_index = run.skeleton.flip_index if flip_test else None
    deployed = Deployed(net, size=run.config.input_size, flip_index=flip_index, calibration=calibration).eval()
    said = provenance.metadata(run, chosen, flip_test=flip_test, calibration=calibration, quantised=quantise)
    crops, images = pictures.crops_of(run, IMAGES if quantise is None else RANGES)
    known = parity.truth(net, crops, flip_index=flip_index, calibration=calibration)
    made = (_onnx if format == "onnx" else _torch)(deployed, said, known, images, quantise)
    file = file or run.path / FOLDER / f"{NAME}{'' if quantise is None else f'-{quantise}'}{SUFFIXES[format]}"
    checkpoint.write_bytes(file, made.content)
    return Export(
        path=file,
        size=len(made.content),
        agreement=made.agreement,
        images=images,
        metadata=said,
        loss=made.loss,
        faster=made.faster,
    )


class _Made(NamedTuple):
    """A model as the bytes of its file, and how it compared."""

    content: bytes
    agreement: Agreement
    loss: Loss | None = None
    faster: float | None = None


def format_of(text: str) -> Format:
    """The format of that name. Raises :class:`UsageError`."""
    for known in SUFFIXES:
        if text == known:
            return known
    raise UsageError(f"format {text!r} is unknown; expected one of {', '.join(SUFFIXES)}")


def quantise_of(text: str | None) -> Quantise | None:
    """The way to quantise of that name. Raises :class:`UsageError`."""
    if text not in (None, INT8):
        raise UsageError(f"quantise {text!r} is unknown; expected {INT8}")
    return None if text is None else INT8


def _refuse(format: Format, quantise: Quantise | None, file: Path | None) -> None:
    if quantise is not None and format != "onnx":
        raise UsageError(f"quantise {quantise!r}: not with format {format!r}; use format onnx")
    if format == "onnx":
        onnx_graph.refuse_missing()
    if file is not None and file.suffix != SUFFIXES[format]:
        raise UsageError(f"{file}: format {format} is written to a file that ends in {SUFFIXES[format]}; rename it")


def _onnx(deployed: Deployed, said: Mapping[str, str], known: Truth, images: str, quantise: Quantise | None) -> _Made:
    graph = onnx_graph.to_onnx(deployed)
    content = onnx_graph.completed(graph, said, size=deployed.size)
    found = parity.compare(Exported(content), known, what=images)
    if quantise is None:
        return _Made(content, found)
    shown, held = known.part(slice(0, None, 2)), known.part(slice(1, None, 2))
    small = onnx_graph.completed(quantise_to_int8(graph, shown.images), said, size=deployed.size)
    models = {ONNX: Exported(content), INT8: Exported(small)}
    timed = side_by_side({name: partial(one, known.images[:1]) for name, one in models.items()}, repeats=TIMED)
    faster = Speed(batch=1, threads=None, seconds=timed).ratio(INT8, ONNX)
    return _Made(small, found, quantisation_loss(models[INT8], held if held.rows else shown), faster)


def _torch(deployed: Deployed, said: Mapping[str, str], known: Truth, images: str, quantise: Quantise | None) -> _Made:
    packed = io.BytesIO()
    torch.export.save(onnx_graph.traced(deployed), packed, extra_files={METADATA: json.dumps(said)})
    packed.seek(0)
    back = torch.export.load(packed).module()

    @torch.no_grad()
    def model(crops: ByteArray, regions: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        squares = whole(deployed.size, len(crops)) if regions is None else torch.from_numpy(regions)
        keypoints, scores = back(torch.from_numpy(crops), squares)
        return keypoints.numpy(), scores.numpy()

    return _Made(packed.getvalue(), parity.compare(model, known, what=images))
