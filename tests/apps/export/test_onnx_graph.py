import json
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import pytest

from poseshift.apps.export import onnx_graph
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


def test_silence_ends(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("onnxscript")
    with caplog.at_level(logging.INFO):
        with onnx_graph.silence():
            log.info("folded")
            warnings.warn("an axis", stacklevel=1)
        log.info("heard")
    assert caplog.messages == ["heard"]
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", stacklevel=1)
