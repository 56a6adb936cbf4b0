import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny

from poseshift.data.skeletons import SKELETONS
from poseshift.engine import evaluate as module
from poseshift.engine.evaluate import evaluate, folder_name, protocol_of
from poseshift.engine.run import Run
from poseshift.errors import DataError, UsageError

LSP = SKELETONS["lsp"]
SAID = [(6 + 1.4 * k, 25 - 1.3 * k) for k in range(14)]
"""Inside of the border cells, where no parabola can be laid."""
SIDE, CORNER = 52.0, (-0.5, -6.5)


def to_image(x: float, y: float) -> tuple[float, float]:
    """A pixel of the 32 px input in the picture of 52×40, seen whole: a square of 52 about its middle."""
    return (x + 0.5) * SIDE / 32 - 0.5, (y + 0.5) * SIDE / 32 + 19.5 - SIDE / 2


@pytest.fixture
def run(finished: Run, copy_of: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(Run, "predictor", lambda self, which: tiny.Says(SAID))
    return copy_of(finished)


def labels(
    folder: Path, *, count: int = 40, name: str = "people.json"
) -> tuple[str, np.ndarray, np.ndarray, list[str]]:
    """Labels that are off by a known fraction of the side; returns the spec, the fractions, visibility, categories."""
    generator = np.random.default_rng(0)
    photos = tiny.photos(folder / "photos", count)
    off = generator.uniform(0, 0.1, (count, 14))
    off[np.abs(off - 0.05) < 1e-3] = 0.03
    visible = generator.integers(0, 3, (count, 14))
    visible[:, 5] = 0
    kinds = ["dog" if i % 3 else "sheep" for i in range(count)]
    document = tiny.coco(folder / name, photos, LSP.keypoints, boxes=False)
    document["categories"] = [
        {"id": i + 1, "name": kind, "keypoints": list(LSP.keypoints)} for i, kind in enumerate(("dog", "sheep"))
    ]
    for i, row in enumerate(document["annotations"]):
        row["category_id"], row["keypoints"] = 1 + (kinds[i] == "sheep"), []
        for k in range(14):
            x, y = to_image(*SAID[k])
            angle = float(generator.uniform(0, 2 * np.pi))
            row["keypoints"] += [
                x + off[i, k] * SIDE * np.cos(angle), y + off[i, k] * SIDE * np.sin(angle), int(visible[i, k])
            ]  # fmt: skip
    (folder / name).write_text(json.dumps(document))
    return f"coco:{folder / name}", off, visible, kinds


def slow_pck(off: np.ndarray, counted: np.ndarray, keypoints: list[int]) -> float | None:
    """Percent of what counts that is near, by keypoint, then the mean over the keypoints that count at all."""
    shares = []
    for k in keypoints:
        near = total = 0
        for i in range(len(off)):
            if counted[i, k]:
                total += 1
                near += off[i, k] <= 0.05
        if total:
            shares.append(near / total)
    return 100 * sum(shares) / len(shares) if shares else None


def test_exact_counts_known_errors(run: Run, tmp_path: Path) -> None:
    spec, off, visible, kinds = labels(tmp_path)
    found = evaluate(run, spec)
    for name, least in (("visible", 2), ("labelled", 1)):
        table, counted = found[name], visible >= least
        assert table["pck@0.05"] == pytest.approx(slow_pck(off, counted, list(LSP.mean_keypoints)), abs=0.01)
        for group, members in LSP.groups.items():
            assert table["groups"][group] == pytest.approx(slow_pck(off, counted, list(members)), abs=0.01), group
        for k, keypoint in enumerate(LSP.keypoints):
            expected = slow_pck(off, counted, [k])
            assert table["keypoints"][keypoint] == (None if expected is None else pytest.approx(expected, abs=0.01))
        assert table["count"] == int(counted.sum())
        low, high = table["interval"]
        assert low < table["pck@0.05"] < high
        assert high - low < 20
    assert found["visible"]["keypoints"]["left_ankle"] is None, "never labelled"
    assert set(found["categories"]) == {"dog", "sheep"}
    for kind, table in found["categories"].items():
        rows = np.array([one == kind for one in kinds])
        expected = slow_pck(off[rows], visible[rows] == 2, list(LSP.mean_keypoints))
        assert table["pck@0.05"] == pytest.approx(expected, abs=0.01)


def test_what_is_written(run: Run, tmp_path: Path) -> None:
    spec, *_ = labels(tmp_path)
    found = evaluate(run, spec, which="last")
    folder = run.path / "evaluation" / folder_name(spec, None)
    assert json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail) == found
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "predictions.npz"}
    assert (found["data"], found["split"], found["protocol"], found["pointer"]) == (spec, None, "exact", "last")
    assert (found["checkpoint"], found["method"], found["instances"]) == (6, "source_only", 40)
    packed = np.load(folder / "predictions.npz")
    expected = np.array([to_image(*point) for point in SAID])
    np.testing.assert_allclose(packed["keypoints"], np.broadcast_to(expected, (40, 14, 2)), atol=0.05)
    np.testing.assert_allclose(packed["crop_side"], SIDE)
    assert packed["scores"].shape == (40, 14)
    evaluate(run, spec, protocol="reference")
    assert (folder / "metrics-reference.json").is_file()
    assert json.loads((folder / "metrics.json").read_text()) == found, "one protocol leaves the other's file alone"


def cell(position: float) -> int:
    return int(position / 4 + 0.5)


def slow_reference(points: np.ndarray, visible: np.ndarray, k: int, shift: float) -> float:
    """Batches of 32; on 8×8 maps a hit is the same cell; cells with x or y of 0 or 1 do not count."""
    column, row = (int(np.floor((value + 0.5) / 4)) for value in SAID[k])
    total = weight = 0.0
    for first in range(0, len(points), 32):
        near = count = 0
        batch = range(first, min(first + 32, len(points)))
        for i in batch:
            x, y = (
                (value + shift - corner) * 32 / SIDE - 0.5 for value, corner in zip(points[i, k], CORNER, strict=True)
            )
            if visible[i, k] < 2 or min(cell(x), cell(y)) <= 1 or max(cell(x), cell(y)) > 7:
                continue
            count += 1
            near += (cell(x), cell(y)) == (column, row)
        if count:
            total, weight = total + near / count * len(batch), weight + len(batch)
    return 100 * total / weight


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_reference_is_the_fields_code_with_the_datas_shift(
    shift: float, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LSP's labels count from 1 there, so its truth is moved by one pixel, and by none elsewhere."""
    spec, _, visible, _ = labels(tmp_path)
    read = module.labelled
    monkeypatch.setattr(module, "labelled", lambda *given: replace(read(*given), reference_shift=shift))
    flat = [row["keypoints"] for row in json.loads((tmp_path / spec.split("/")[-1]).read_text())["annotations"]]
    points = np.array(flat).reshape(40, 14, 3)[..., :2]
    found = evaluate(run, spec, protocol="reference")
    other = evaluate(run, spec)
    compared = 0
    for k in (4, 6, 7, 8, 9):
        expected = slow_reference(points, visible, k, shift)
        assert found["visible"]["keypoints"][LSP.keypoints[k]] == pytest.approx(expected, abs=0.01)
        compared += expected not in (0.0, 100.0)
    assert compared >= 3
    assert found["visible"]["keypoints"] != other["visible"]["keypoints"]
    wrong = [slow_reference(points, visible, k, 1 - shift) for k in (4, 6, 7, 8, 9)]
    said = [found["visible"]["keypoints"][LSP.keypoints[k]] for k in (4, 6, 7, 8, 9)]
    assert wrong != pytest.approx(said, abs=0.01), "the shift matters, so this test can fail"


def test_progress_and_the_flip_test(run: Run, tmp_path: Path) -> None:
    spec, *_ = labels(tmp_path, count=3)
    told: list[int] = []
    plain = evaluate(run, spec, advance=told.append)
    flipped = evaluate(run, spec, flip_test=True)
    assert told == [3]
    assert (plain["flip_test"], flipped["flip_test"]) == (False, True)
    packed = np.load(run.path / "evaluation" / folder_name(spec, None) / "predictions.npz")
    expected = np.array([to_image(*point) for point in SAID])
    assert np.abs(packed["keypoints"][0] - expected).max() > 2, "a net that says the same of a mirrored image is torn"


@pytest.mark.parametrize(
    ("data", "split", "words"),
    [
        ("images:{folder}/photos", None, "no keypoints to evaluate against; give labelled data"),
        ("coco:{folder}/nothing.json", None, "found none"),
        ("figures:middle,count=4", "holdout", "unknown split 'holdout'"),
        ("pascal:{folder}", None, "unknown format 'pascal'"),
    ],
)
def test_data_that_cannot_be_evaluated(data: str, split: str | None, words: str, finished: Run, tmp_path: Path) -> None:
    tiny.photos(tmp_path / "photos", 1)
    with pytest.raises((DataError, UsageError), match=words):
        evaluate(finished, data.format(folder=tmp_path), split=split)


def test_an_evaluation_must_see_every_image(run: Run, tmp_path: Path) -> None:
    spec, *_ = labels(tmp_path, count=3)
    photo = tmp_path / "photos" / "photo01.jpg"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size * 9 // 10])
    with pytest.raises(DataError, match=r"1 images do not decode, first \['photos/photo01.jpg'\]"):
        evaluate(run, spec)
    assert not (run.path / "evaluation").exists()


def test_names() -> None:
    assert protocol_of("reference") == "reference"
    with pytest.raises(UsageError, match="protocol 'pck' is unknown; expected one of exact, reference"):
        protocol_of("pck")
    assert folder_name("lsp:data/lsp", "test") == "lsp-data-lsp-test"
    assert folder_name("coco:a b/ü.json@x", None) == "coco-a-b-.json-x-all"
    assert len(folder_name("coco:" + "x" * 500, None)) < 100


def test_instances_are_cut_as_the_run_cut_them(
    run: Run, tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """``auto`` means what it meant in training, also where the labelled file brings boxes or lacks them."""
    photos = tiny.photos(tmp_path / "photos", 2)
    for name, boxes in (("boxed", True), ("bare", False)):
        tiny.coco(tmp_path / f"{name}.json", photos, LSP.keypoints, boxes=boxes)
    boxed, bare = (module.labelled(run, f"coco:{tmp_path / name}.json", None) for name in ("boxed", "bare"))
    own = module.default_crop(run, boxed)
    assert (own.boxes, own.padding) == ("whole", 1.25)
    role = "target" if run.config.target else "source"
    settings = (run.path / "run.yaml").read_text(encoding="utf-8")
    (run.path / "run.yaml").write_text(settings.replace("boxes: whole", "boxes: auto"), encoding="utf-8")
    again = Run(run.path)
    cuts = {"whole": ("whole", "auto", 1), "given": ("auto", "whole", 1), None: ("auto", "auto", 0)}
    for cut, (of_boxed, of_bare, warnings) in cuts.items():
        again.note(cut={role: cut} if cut else {})
        caplog.clear()
        assert (module.default_crop(again, boxed).boxes, module.default_crop(again, bare).boxes) == (of_boxed, of_bare)
        assert len(caplog.messages) == warnings
    again.note(cut={role: "whole"})
    result = evaluate(again, f"coco:{tmp_path / 'boxed.json'}")
    assert result["boxes"] == "whole"
    assert "cut whole, as the training images were; by itself it would be cut given" in caplog.text
    assert evaluate(again, f"coco:{tmp_path / 'boxed.json'}", crop=module.crop_by(again, "given"))["boxes"] == "given"
    with pytest.raises(UsageError, match="boxes 'box' is unknown; expected one of given, from_keypoints, whole"):
        module.crop_by(again, "box")


def test_calibration_error_before_and_after(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All scores are the same, so the error is their distance from the share that is right."""
    spec, off, visible, _ = labels(tmp_path)
    right = 100 * float((off <= 0.05)[visible == 2].mean())
    known = {
        "slope": 0.0,
        "intercept": 0.3,
        "shift": 0.1,
        "held": "source",
        "right_source": 0.5,
        "agreement_source": 0.9,
        "agreement_target": 0.6,
        "expected": 0.2,
    }
    monkeypatch.setattr(Run, "trust", lambda self, name: {"calibration": known})
    found = evaluate(run, spec)
    said = found["calibration"]
    assert said["right"] == pytest.approx(right, abs=0.01)
    assert said["mean_score"] == pytest.approx(100 / (1 + np.exp(-0.4)), abs=0.01)
    assert said["ece"] == pytest.approx(abs(right - said["mean_score"]), abs=0.01)
    folder = run.path / "evaluation" / folder_name(spec, None)
    with np.load(folder / "predictions.npz") as kept:
        np.testing.assert_allclose(kept["calibrated"], 1 / (1 + np.exp(-0.4)), atol=1e-5)
        raw = kept["scores"][visible == 2]
    assert said["ece_raw"] == pytest.approx(100 * raw.mean() - right, abs=3)
    monkeypatch.setattr(Run, "trust", lambda self, name: None)
    without = evaluate(run, spec, protocol="reference")["calibration"]
    assert without == {**said, "ece": None, "mean_score": None}
    with np.load(folder / "predictions.npz") as kept:
        assert "calibrated" not in kept
