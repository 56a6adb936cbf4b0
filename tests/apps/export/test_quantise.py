from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseshift.apps.export.parity import Truth
from poseshift.apps.export.quantise import loss, outside
from poseshift.types import ByteArray, FloatArray


def net(*nodes: tuple[str, str, str]) -> Any:
    """A graph of nodes ``(kind, reads, gives)``, each called what it gives."""
    made = [helper.make_node(kind, reads.split(), [gives], name=gives) for kind, reads, gives in nodes]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", nodes[-1][2])]
    return helper.make_model(helper.make_graph(made, "net", ends[:1], ends[1:]))


def test_what_lies_around_the_convolutions_stays() -> None:
    model = net(
        ("Div", "x", "scaled"),
        ("Conv", "scaled", "first"),
        ("Relu", "first", "active"),
        ("ConvTranspose", "active", "up"),
        ("Add", "up active", "sum"),
        ("Conv", "sum", "final"),
        ("Softmax", "final", "maps"),
    )
    assert outside(model) == ["scaled", "final", "maps"]


def test_a_flip_test_has_two_last_convolutions() -> None:
    model = net(
        ("Conv", "x", "one"),
        ("Conv", "one", "last"),
        ("Flip", "x", "mirror"),
        ("Conv", "mirror", "other"),
        ("Conv", "other", "last2"),
        ("Add", "last last2", "mean"),
    )
    assert outside(model) == ["last", "mirror", "last2", "mean"]


def test_of_a_real_graph(graph: Any) -> None:
    kept = set(outside(graph))
    convolutions = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    assert len(set(convolutions) & kept) == 2  # of each pass over the image, the one that draws the heatmaps
    assert not {node.op_type for node in graph.graph.node if node.name not in kept} & {
        "ArgMax",
        "Log",
        "GatherElements",
    }
    onnx.checker.check_model(graph)


def test_loss_counts_what_moves_far() -> None:
    keypoints = np.zeros((2, 5, 2), np.float32)
    known = Truth(
        rows=[0, 1],
        images=np.zeros((2, 100, 100, 3), np.uint8),
        regions=np.zeros((2, 4), np.float32),
        keypoints=keypoints,
        scores=np.full((2, 5), 0.5, np.float32),
    )

    def model(crops: ByteArray, regions: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        moved = keypoints + np.array([0.6, 0.8], np.float32)
        moved[0, 0] = (3.1, 4.1)
        return moved, known.scores - np.float32(0.25)

    found = loss(model, known)
    assert (found.images, found.within) == (2, 90.0)
    assert found.shift == pytest.approx(1.0, abs=1e-6)
    assert found.score == pytest.approx(0.25)
