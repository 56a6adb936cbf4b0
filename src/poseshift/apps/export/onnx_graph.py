"""The deployed graph as ONNX: traced by ``torch.export``, with batches of any size; needs the extra ``onnx``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from poseshift.apps.export.graph import Deployed, whole
from poseshift.errors import UsageError
from poseshift.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
BATCH = "batch"
TRACED = 2
"""Images that the graph is traced with: of one, a dimension counts as fixed."""


def onnx_module() -> ModuleType:
    """onnx. Raises :class:`UsageError` where it, or what torch needs beside it, is not installed."""
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise UsageError(
            f"export to ONNX needs {error.name}, which is not installed; pip install 'poseshift[onnx]'"
        ) from error
    del onnxruntime, onnxscript
    found: ModuleType = onnx
    return found


@contextmanager
def silence() -> Iterator[None]:
    """Keeps what the tools of ONNX tell their own developers from the user."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def traced(deployed: Deployed) -> Any:
    """The ``torch.export`` program of the graph, for batches of any size."""
    batch = {0: torch.export.Dim(BATCH, min=1)}
    return torch.export.export(deployed, _example(deployed), dynamic_shapes={"image": batch, "regions": batch})


def to_onnx(deployed: Deployed) -> ModelProto:
    """The graph: inputs ``image`` and ``regions``, outputs ``keypoints`` and ``scores``.

    Raises:
        UsageError: onnx is not installed.
    """
    onnx_module()
    batch = {0: torch.export.Dim(BATCH, min=1)}
    with silence():
        program = torch.onnx.export(
            deployed,
            _example(deployed),
            dynamo=True,
            input_names=["image", "regions"],
            output_names=["keypoints", "scores"],
            dynamic_shapes={"image": batch, "regions": batch},
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return program.model_proto


def _example(deployed: Deployed) -> tuple[torch.Tensor, torch.Tensor]:
    size = deployed.size
    return torch.zeros((TRACED, size, size, 3), dtype=torch.uint8), whole(size, TRACED)


def completed(model: ModelProto, metadata: Mapping[str, str], *, size: int) -> bytes:
    """The file: with its metadata, and with ``regions`` as an input that may be left out.

    Args:
        model: Is left as it was.
        metadata: Goes into ``metadata_props``.
        size: Side of the input: without regions, keypoints come out in pixels of the crop.
    """
    import onnx

    final = onnx.ModelProto()
    final.CopyFrom(model)
    final.graph.initializer.append(onnx.numpy_helper.from_array(whole(size).numpy(), "regions"))
    final.producer_name = "poseshift"
    final.producer_version = __version__
    onnx.helper.set_model_props(final, dict(metadata))
    onnx.checker.check_model(final)
    content: bytes = final.SerializeToString()
    return content
