import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from poseshift.apps.exported import Exported
from poseshift.errors import FormatError, UsageError

METADATA = {
    "poseshift": 1,
    "version": "0.1.0",
    "names": ["left_eye", "right_eye", "nose"],
    "edges": [[0, 2], [1, 2]],
    "flip_pairs": [[0, 1]],
    "skeleton": {"name": "face", "groups": {"eyes": [0, 1]}, "mean_groups": ["eyes"], "sigmas": None},
    "input_size": 8,
    "cut": "given",
    "padding": 1.5,
    "flip_test": False,
    "calibrated": True,
}
SAID = np.arange(6, dtype=np.float32).reshape(1, 3, 2)


ABSENT = object()


def model(**changes: Any) -> bytes:
    """A graph that says the same of every crop, with metadata; ``ABSENT`` leaves an entry out, bytes stand as text."""
    said = {key: value for key, value in (METADATA | changes).items() if value is not ABSENT}
    constants = {
        "axes": np.array([1, 2, 3]),
        "zero": np.zeros(1, np.float32),
        "one": np.array([1]),
        "two": np.array([1, 2]),
        "points": SAID,
        "heights": np.array([[0.25, 0.5, 0.75]], np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pictures"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["pictures", "axes"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "two"], ["deep"]),
        helper.make_node("Unsqueeze", ["nothing", "one"], ["flat"]),
        helper.make_node("Add", ["deep", "points"], ["keypoints"]),
        helper.make_node("Add", ["flat", "heights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "says",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 3]),
            helper.make_tensor_value_info("regions", TensorProto.FLOAT, ["batch", 4]),
        ],
        [
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["batch", 3, 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            *(onnx.numpy_helper.from_array(value, name) for name, value in constants.items()),
            onnx.numpy_helper.from_array(np.zeros((1, 4), np.float32), "regions"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    texts = {key: value.decode() if isinstance(value, bytes) else json.dumps(value) for key, value in said.items()}
    helper.set_model_props(made, texts)
    content: bytes = made.SerializeToString()
    return content


def test_what_it_knows_of_itself_and_says(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(model())
    exported = Exported(file, threads=1)
    assert (exported.input_size, exported.padding, exported.cut) == (8, 1.5, "given")
    assert (exported.calibrated, exported.flip_test) == (True, False)
    assert exported.skeleton.keypoints == ("left_eye", "right_eye", "nose")
    assert exported.skeleton.flip_index == (1, 0, 2)
    assert exported.skeleton.edges == ((0, 2), (1, 2))
    assert exported.skeleton.mean_keypoints == (0, 1)
    assert exported.metadata["names"] == '["left_eye", "right_eye", "nose"]'
    keypoints, scores = exported(np.zeros((2, 8, 8, 3), np.uint8))
    np.testing.assert_array_equal(keypoints, np.repeat(SAID, 2, 0))
    np.testing.assert_array_equal(scores, [[0.25, 0.5, 0.75]] * 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poseshift": ABSENT}, "not written by `poseshift export`"),
        ({"poseshift": 2, "version": "9.0"}, "schema 2, this version reads up to 1; install poseshift 9.0 or newer"),
        ({"input_size": ABSENT}, "no readable 'input_size'"),
        ({"names": b"[half"}, "no readable 'names'"),
        ({"skeleton": {"name": "face"}}, "its skeleton does not read"),
        ({"flip_pairs": [[0]]}, "its skeleton does not read"),
        ({"edges": [[0, 9]]}, "an index lies outside"),
    ],
)
def test_metadata_that_does_not_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Exported(model(**changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"no model", "no model that onnxruntime can run"), (b"", "no model that onnx")],
)
def test_a_file_that_is_no_model(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        Exported(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "crops", [np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8), np.zeros((1, 8, 8, 3), np.float32)]
)
def test_crops_of_another_shape_or_type(crops: Any) -> None:
    with pytest.raises(UsageError, match=r"expected uint8 \(B, 8, 8, 3\)"):
        Exported(model())(crops)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="use --device cpu"):
        Exported(model(), device="tpu")


def test_without_onnxruntime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="pip install onnxruntime"):
        Exported(model())
