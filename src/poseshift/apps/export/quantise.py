"""Eight-bit integers for CPUs: static quantisation by onnxruntime, its ranges taken from unlabelled images.

Convolutions and what lies between them are quantised. What makes crops into the net's input, the convolution that
draws the heatmaps, and all that reads them stay as they are: a fraction of a cell is lost in 256 levels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseshift.apps.export.graph import whole
from poseshift.apps.export.onnx_graph import attempt
from poseshift.apps.export.parity import Model, Truth
from poseshift.types import ByteArray

if TYPE_CHECKING:
    from onnx import ModelProto

NEAR = 0.05
"""Of the side of the crop, as in PCK@0.05."""
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What quantisation changes, against the model with floating-point numbers on the same images; no label is read.

    Attributes:
        images: Number of images.
        within: Percent of the keypoints that lie within 0.05 of the crop's side of where they were.
        shift: Pixels of the input that a keypoint moves; the median.
        score: That a score changes; the mean.
    """

    images: int
    within: float
    shift: float
    score: float


def loss(model: Model, known: Truth) -> Loss:
    """How far a quantised model is from what torch says of images."""
    keypoints, scores = model(known.images, None)
    shift = np.linalg.norm(keypoints - known.keypoints, axis=-1)
    return Loss(
        images=len(known.rows),
        within=100 * float((shift <= NEAR * known.images.shape[1]).mean()),
        shift=float(np.median(shift)),
        score=float(np.abs(scores - known.scores).mean()),
    )


def to_int8(model: ModelProto, images: ByteArray) -> ModelProto:
    """The model with eight-bit convolutions.

    Weights have seven bits and a scale for each channel: CPUs without instructions for products of bytes would
    overflow with eight.

    Args:
        model: As :func:`poseshift.apps.export.onnx_graph.to_onnx` gives it.
        images: ``B×S×S×3`` uint8 crops that show the ranges; a batch of one each.

    Raises:
        ExportError: onnxruntime cannot quantise it.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, attempt("quantisation by onnxruntime"):
        plain, fused, small = (Path(folder) / f"{name}.onnx" for name in ("plain", "fused", "small"))
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(fused), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(fused),
            str(small),
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=outside(onnx.load(fused)),
        )
        return onnx.load(small)


class _Reader:
    """Images one by one, as onnxruntime asks for them."""

    def __init__(self, images: ByteArray) -> None:
        regions = whole(images.shape[1]).numpy()
        self._feeds: Iterator[dict[str, Any]] = iter(
            [{"image": images[row : row + 1], "regions": regions} for row in range(len(images))]
        )

    def get_next(self) -> dict[str, Any] | None:
        """The inputs of one image, None after the last."""
        return next(self._feeds, None)


def outside(model: ModelProto) -> list[str]:
    """Names of the nodes that stay as they are: before the first convolution, the last ones, and what follows them.

    The last convolutions are those that no other convolution comes after: two with a flip test.
    """
    nodes = list(model.graph.node)  # each comes after those that it reads
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    reads = [[makers[name] for name in node.input if name in makers] for node in nodes]
    draws = [node.op_type in CONVOLUTIONS for node in nodes]
    before, after = list(draws), [False] * len(nodes)
    for number, makes in enumerate(reads):
        before[number] |= any(before[one] for one in makes)
    for number in reversed(range(len(nodes))):
        for one in reads[number]:
            after[one] |= after[number] or draws[number]
    return [node.name for node, has, gets in zip(nodes, before, after, strict=True) if not (has and gets)]
