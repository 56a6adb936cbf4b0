"""The deployed graph as ONNX: traced by ``torch.export``, with batches of any size; needs the extra ``onnx``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from poseshift.apps.export.graph import Deployed, whole
from poseshift.errors import ExportError, UsageError
from poseshift.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

OPSET = 20
BATCH = "batch"
TRACED = 2
"""Images that the graph is traced with: of one, a dimension counts as fixed."""


def refuse_missing() -> None:
    """Raises :class:`UsageError` where onnx, or what torch and this package need beside it, is not installed."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(name)
        except ImportError as error:
            raise UsageError(
                f"export to ONNX needs {name}, which is not installed; pip install 'poseshift[onnx]'"
            ) from error


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Runs a tool of torch or ONNX: what it tells its own developers is kept from the user.

    Raises:
        ExportError: Whatever it raises, in one line.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        except Exception as error:  # what these tools raise has no other base
            reason = next(iter(str(error).strip().splitlines()), "")[:200]
            raise ExportError(
                f"{what} failed ({type(error).__name__}: {reason}); another version of torch or onnxscript may have "
                "what this net needs, else choose another backbone"
            ) from error
        finally:
            logging.disable(before)


def traced(deployed: Deployed) -> ExportedProgram:
    """The graph for batches of any size, as torch has it. Raises :class:`ExportError` where torch cannot trace it."""
    with attempt("torch.export"):
        return torch.export.export(deployed, _example(deployed), dynamic_shapes=_shapes())


def to_onnx(deployed: Deployed) -> ModelProto:
    """The graph: inputs ``image`` and ``regions``, outputs ``keypoints`` and ``scores``.

    Raises:
        UsageError: onnx is not installed.
        ExportError: torch cannot trace it, or has no ONNX for one of its operators.
    """
    refuse_missing()
    with attempt("torch.onnx.export"):
        program: Any = torch.onnx.export(
            deployed,
            _example(deployed),
            dynamo=True,
            input_names=["image", "regions"],
            output_names=["keypoints", "scores"],
            dynamic_shapes=_shapes(),
            opset_version=OPSET,
            verbose=False,
        )
        model: ModelProto = program.model_proto
        return model


def _shapes() -> dict[str, dict[int, Any]]:
    """Which axes are of any size."""
    batch = {0: torch.export.Dim(BATCH, min=1)}
    return {"image": batch, "regions": batch}


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
