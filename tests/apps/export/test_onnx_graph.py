import json
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests import tiny

from poseshift.apps.export import onnx_graph
from poseshift.apps.export.graph import Deployed
from poseshift.errors import ExportError
from poseshift.version import __version__


def test_inputs_and_outputs(graph: Any) -> None:
    ports = {
        one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim]
        for one in [*graph.graph.input, *graph.graph.output]
    }
    assert ports == {
        "image": ["batch", 32, 32, 3],
        "regions": ["batch", 4],
        "keypoints": ["batch", 14, 2],
        "scores": ["batch", 14],
    }
    assert graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert all(node.domain == "" for node in graph.graph.node)  # standard operators alone


def test_completed_leaves_the_graph_as_it_was(graph: Any) -> None:
    before = graph.SerializeToString()
    content = onnx_graph.completed(graph, {"names": json.dumps(["é"])}, size=32)
    assert graph.SerializeToString() == before
    model = onnx.load_model_from_string(content)
    assert (model.producer_name, model.producer_version) == ("poseshift", __version__)
    assert [(one.key, json.loads(one.value)) for one in model.metadata_props] == [("names", ["é"])]
    (regions,) = (one for one in model.graph.initializer if one.name == "regions")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(regions), [[-0.5, -0.5, 31.5, 31.5]])


def test_tools_are_silent_while_they_work(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("onnxscript")
    with caplog.at_level(logging.INFO):
        with onnx_graph.attempt("this"):
            log.info("folded")
            warnings.warn("an axis", stacklevel=1)
        log.info("heard")
    assert caplog.messages == ["heard"]
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", stacklevel=1)


def test_what_tools_raise_becomes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with (
        pytest.raises(ExportError, match=r"^this failed \(KeyError: 'aten::odd'\); another version"),
        onnx_graph.attempt("this"),
    ):
        raise KeyError("aten::odd")
    logging.getLogger("onnxscript").warning("heard")
    assert caplog.messages == ["heard"]


class Odd(Deployed):
    """Does what cannot be traced: it asks for the value of a pixel."""

    def forward(self, image: torch.Tensor, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(image if image[0, 0, 0, 0] > 7 else image.flip(1), regions)


def test_a_net_that_cannot_be_traced_is_an_error() -> None:
    odd = Odd(tiny.Says([(1.0, 2.0)]), size=32, flip_index=None, calibration=None)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"^torch\.export failed \(") as caught:
        onnx_graph.traced(odd)
    assert len(str(caught.value).splitlines()) == 1
