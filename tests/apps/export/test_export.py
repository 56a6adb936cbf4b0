import io
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests import tiny

from poseshift.apps.export import INT8, Export, export, format_of, quantise_of
from poseshift.apps.export.graph import whole
from poseshift.apps.export.words import facts, lines
from poseshift.apps.exported import Exported
from poseshift.apps.predict import predict
from poseshift.engine.run import Run, open_run
from poseshift.errors import CheckpointError, ExportError, UsageError


@pytest.fixture
def made(run: Run) -> Export:
    return export(run, flip_test=True)


def test_it_predicts_what_the_run_predicts(made: Export, run: Run, tmp_path: Path) -> None:
    """Whole images of several shapes, and boxes that leave the image, through files as a user gives them."""
    assert made.path == run.path / "export/model.onnx"
    photos = [*tiny.photos(tmp_path / "wide", 2, size=(70, 30)), *tiny.photos(tmp_path / "tall", 1, size=(24, 50))]
    boxes = {
        "images": [{"id": 7, "file_name": "wide/photo01.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, "bbox": [10, 5, 20, 12]}, {"id": 2, "image_id": 7}],
    }
    boxes["annotations"][1]["bbox"] = [-60, 10, 80.5, 40]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    for given in (None, tmp_path / "boxes.json"):
        there, mine = (
            predict(one, photos, boxes=given, **flip)[1] for one, flip in ((run, {"flip_test": True}), (made.path, {}))
        )
        assert len(mine.keypoints) == (3 if given is None else 2)
        np.testing.assert_allclose(mine.keypoints, there.keypoints, atol=1e-3, rtol=0)
        np.testing.assert_allclose(mine.scores, there.scores, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(mine.crop_side, there.crop_side)
        assert mine.calibrated
        assert there.calibrated


def test_batches_of_any_size_say_the_same(made: Export) -> None:
    model = Exported(made.path)
    crops = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    together, scores = model(crops)
    for row in range(5):
        alone, score = model(crops[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-3)
        np.testing.assert_allclose(score[0], scores[row], atol=1e-6)


def test_regions_may_be_left_out(made: Export) -> None:
    """Then keypoints are in pixels of the crop; a region twice as large about another corner moves them with it."""
    model = Exported(made.path)
    crops = np.random.default_rng(1).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    plain, _ = model(crops)
    np.testing.assert_array_equal(model(crops, whole(32, 3).numpy())[0], plain)
    moved, _ = model(crops, np.array([[9.5, 19.5, 73.5, 83.5]] * 3, np.float32))
    np.testing.assert_allclose(moved, (plain + 0.5) * 2 + [9.5, 19.5], atol=1e-4)


def tampered(graph: Any) -> Any:
    """The graph with a heatmap layer that draws a little more everywhere."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(graph)
    (bias,) = (one for one in wrong.graph.initializer if one.name == "net.final.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    return wrong


def test_a_model_that_says_something_else_is_never_written(
    run: Run, graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poseshift.apps.export.onnx_graph.to_onnx", lambda deployed: tampered(graph))
    old = tmp_path / "there.onnx"
    old.write_text("an earlier one")
    for file in (old, tmp_path / "deep" / "new.onnx"):
        with pytest.raises(ExportError, match=r"differs from torch by .* px .* nothing was written"):
            export(run, flip_test=True, out=file)
    assert old.read_text() == "an earlier one"
    assert list(tmp_path.iterdir()) == [old]


def test_a_file_is_replaced_only_whole(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    file = tmp_path / "model.onnx"
    file.write_text("an earlier one")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(CheckpointError, match="No space left"):
            export(run, flip_test=True, out=file)
    assert file.read_text() == "an earlier one"
    assert list(tmp_path.iterdir()) == [file]
    assert export(run, flip_test=True, out=file).size == file.stat().st_size > 1000


def test_int8_is_smaller_and_says_what_it_changes(run: Run, made: Export) -> None:
    small = export(run, flip_test=True, quantise=INT8)
    assert small.path == run.path / "export/model-int8.onnx"
    assert small.loss is not None
    assert small.loss.images == 6  # of the target's twelve, the other six showed the ranges
    assert 50 < small.loss.within <= 100
    kinds = [node.op_type for node in onnx.load(small.path).graph.node]
    assert "QuantizeLinear" in kinds
    model = Exported(small.path)
    assert json.loads(model.metadata["quantised"]) == "int8"
    keypoints, scores = model(np.zeros((2, 32, 32, 3), np.uint8))
    assert keypoints.shape == (2, 14, 2)
    assert ((scores >= 0) & (scores <= 1)).all()
    text = "\n".join(lines(small))
    assert "before it was quantised, compared with torch on 12 images of the target" in text
    assert f"{small.loss.within:.1f} % of the keypoints stay" in text
    assert facts(small)["int8"]["images"] == 6
    assert facts(made)["int8"] is None


def test_the_torch_format(run: Run, tmp_path: Path) -> None:
    made = export(run, format="torch", out=tmp_path / "model.pt2")
    extra = {"poseshift.json": ""}
    back = torch.export.load(io.BytesIO(made.path.read_bytes()), extra_files=extra).module()
    assert json.loads(json.loads(extra["poseshift.json"])["input_size"]) == 32
    keypoints, scores = back(torch.zeros((3, 32, 32, 3), dtype=torch.uint8), whole(32, 3))
    assert (keypoints.shape, scores.shape) == ((3, 14, 2), (3, 14))
    assert not any("poseshift predict" in line for line in lines(made))


def test_another_checkpoint_of_raw_scores(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is not that of raw scores, and so the comparison refuses it."""
    with pytest.raises(ExportError, match="in scores"):
        export(run, flip_test=True, raw_scores=True)
    with pytest.raises(CheckpointError, match="no such checkpoint; this run has steps"):
        export(run, which=77)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "format 'tflite' is unknown; expected one of onnx, torch"),
        ({"quantise": "int4"}, "quantise 'int4' is unknown; expected int8"),
        ({"format": "torch", "quantise": "int8"}, "not with format 'torch'"),
        ({"out": "model.pt2"}, "format onnx is written to a file that ends in .onnx"),
        ({"out": "model.onnx", "format": "torch"}, "format torch is written to a file that ends in .pt2"),
    ],
)
def test_options_that_do_not_fit(run: Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(run, **options)


def test_names_of_the_command_line() -> None:
    assert (format_of("torch"), quantise_of("int8"), quantise_of(None)) == ("torch", "int8", None)
    with pytest.raises(UsageError, match="'coreml'"):
        format_of("coreml")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(run: Run, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}, .*pip install 'poseshift\[onnx\]'"):
        export(run)


def test_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.onnx"
    assert tiny.call(monkeypatch, "export", run.path, "--flip-test", "--out", out) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"exported: {out} (")
    assert "compared with torch on 12 images of the target, figures-middle: keypoints within" in text
    assert "\nscores are calibrated\nlicence of the initial weights: no initial weights\n" in text
    assert text.endswith(f"next: poseshift predict {out} IMAGES --out predictions.json\n")
    assert tiny.call(monkeypatch, "export", run.path, "--flip-test", "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agreement"]["shift"] <= 1e-3
    assert told["metadata"]["names"][-1] == "head_top"
    assert tiny.call(monkeypatch, "export", run.path, "--format", "mp3") == 2
    assert tiny.call(monkeypatch, "export", tmp_path) == 3


def test_a_run_whose_data_is_gone_is_exported_all_the_same(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(run.path, folder)
    text = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(
        text.replace("figures:source", "coco:gone.json;").replace("figures:middle", "coco:gone.json;")
    )
    with caplog.at_level(logging.INFO):
        made = export(open_run(folder), flip_test=True)
    assert made.images == "procedural figures"
    assert "the target cannot be read, so other images are taken" in caplog.text
    assert "the source cannot be read" in caplog.text
