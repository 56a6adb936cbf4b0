import csv
import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import tiny
from tests.apps.predict.films import film

from poseshift.apps.predict import predict
from poseshift.apps.predict.inputs import find_files
from poseshift.data.skeletons import SKELETONS
from poseshift.engine.run import Run
from poseshift.errors import DataError, TrainingError, UsageError
from poseshift.methods import TEST_TIME

LSP = SKELETONS["lsp"]
SAID = [(6 + 1.4 * k, 25 - 1.3 * k) for k in range(14)]


@pytest.fixture
def run(finished: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(Run, "predictor", lambda self, which: tiny.Says(SAID))
    return finished


def expected(x0: float, y0: float, side: float) -> np.ndarray:
    """Where the net's answer lies in an image, of which it saw the square of ``side`` from (x0, y0)."""
    return np.array([((x + 0.5) * side / 32 + x0, (y + 0.5) * side / 32 + y0) for x, y in SAID])


def test_whole_images_of_any_shape(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wide = tiny.photos(tmp_path / "wide", 1, size=(70, 30))
    tall = tiny.photos(tmp_path / "tall", 1, size=(24, 50))
    with caplog.at_level(logging.WARNING):
        instances, found = predict(run, [*wide, *tall])
    assert "each of the 2 images is taken whole" in caplog.text
    np.testing.assert_allclose(found.keypoints[0], expected(-0.5, 14.5 - 35, 70), atol=0.01)
    np.testing.assert_allclose(found.keypoints[1], expected(11.5 - 25, -0.5, 50), atol=0.01)
    assert found.crop_side.tolist() == [70, 50]
    assert [record.key for record in instances] == [str(wide[0]), str(tall[0])]
    assert instances.keypoints.shape == (2, 0, 2)


def test_boxes_one_of_them_outside_and_coco_results(run: Run, tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path / "photos", 2, size=(70, 30))
    boxes = {
        "images": [{"id": 7, "file_name": "photo01.jpg"}, {"id": "0012", "file_name": "photos/photo00.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 12]},
            {"id": 2, "image_id": 7, "bbox": [-60, 40, 30.5, 40]},
            {"id": 3, "image_id": "0012", "category_id": 3, "bbox": [0, 0, 8, 9]},
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    out = tmp_path / "deep" / "predictions.json"
    instances, found = predict(run, [tmp_path / "photos"], out=out, boxes=tmp_path / "boxes.json")
    squares = [(20, 11, 20), (-44.75, 60, 40), (4, 4.5, 9)]  # middle and longer side of each box
    for row, (x, y, side) in enumerate(squares):
        grown = 1.25 * side
        np.testing.assert_allclose(found.keypoints[row], expected(x - grown / 2, y - grown / 2, grown), atol=0.01)
    results = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert [(one["image_id"], one["category_id"]) for one in results] == [(7, 3), (7, 1), ("0012", 3)]
    assert [one["file_name"] for one in results] == [str(photos[1]), str(photos[1]), str(photos[0])]
    for row, one in enumerate(results):
        triples = np.array(one["keypoints"]).reshape(14, 3)
        np.testing.assert_allclose(triples[:, :2], found.keypoints[row], atol=0.001)
        np.testing.assert_allclose(triples[:, 2], found.scores[row], atol=0.001)
        assert ((triples[:, 2] >= 0) & (triples[:, 2] <= 1)).all()
        assert one["score"] == pytest.approx(found.scores[row].mean(), abs=1e-4)
    assert len(instances) == 3
    assert not list(out.parent.glob(".*"))


def test_csv(run: Run, tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path / "photos", 2)
    _, found = predict(run, photos, out=tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head == ["file", *(f"{name}_{part}" for name in LSP.keypoints for part in ("x", "y", "score"))]
    assert [row[0] for row in rows] == [str(photo) for photo in photos]
    for row, values in enumerate(rows):
        table = np.array(values[1:], np.float64).reshape(14, 3)
        np.testing.assert_allclose(table[:, :2], found.keypoints[row], atol=0.001)


def test_the_flip_test_uses_the_mirrored_names(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A net whose points are their own mirror image says the same with and without the flip test."""
    symmetric = [(0.0, 0.0)] * 14
    for k, partner in enumerate(LSP.flip_index):
        symmetric[k] = (15.5, 10 + k) if k == partner else (8.0 if k < partner else 23.0, 6.0 + min(k, partner))
    monkeypatch.setattr(Run, "predictor", lambda self, which: tiny.Says(symmetric))
    photos = tiny.photos(tmp_path / "photos", 1)
    _, plain = predict(run, photos)
    _, flipped = predict(run, photos, flip_test=True)
    np.testing.assert_allclose(flipped.keypoints, plain.keypoints, atol=0.01)
    monkeypatch.setattr(Run, "predictor", lambda self, which: tiny.Says(SAID))
    _, torn = predict(run, photos, flip_test=True)
    assert np.abs(torn.keypoints - predict(run, photos)[1].keypoints).max() > 1


def files_of(run: Run) -> dict[str, tuple[bytes, int]]:
    """Every file of a run folder, and when it was written."""
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("how", TEST_TIME)
def test_adapting_changes_predictions_and_not_the_run(how: str, finished: Run, tmp_path: Path) -> None:
    photos, before = tiny.photos(tmp_path / "photos", 19), files_of(finished)
    _, plain = predict(finished, photos)
    found = [predict(finished, photos, adapt=how, out=tmp_path / f"{n}.csv")[1] for n in range(2)]
    assert np.abs(found[0].scores - plain.scores).max() > 1e-3
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()
    assert files_of(finished) == before
    np.testing.assert_array_equal(predict(finished, photos)[1].keypoints, plain.keypoints)
    _, first = predict(finished, photos[:16], adapt=how)
    np.testing.assert_allclose(first.keypoints, found[0].keypoints[:16], atol=1e-3)  # those after it do not matter


def test_adapting_to_boxes_and_to_images_some_of_which_do_not_decode(
    finished: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tiny.photos(tmp_path / "photos", 5)
    photos[1].write_bytes(photos[1].read_bytes()[: photos[1].stat().st_size * 9 // 10])
    boxes = {"images": [{"id": n, "file_name": p.name} for n, p in enumerate(photos)]}
    boxes["annotations"] = [{"id": n, "image_id": n % 5, "bbox": [n, n, 20, 12]} for n in range(10)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    with caplog.at_level(logging.INFO):
        _, found = predict(finished, photos, boxes=tmp_path / "boxes.json", adapt="statistics")
    assert found.count == 8
    assert "adapted BatchNorm statistics to 8 images in 1 batches" in caplog.messages


def test_adapting_by_command(
    finished: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny.photos(tmp_path / "photos", 3)
    words = ("predict", finished.path, tmp_path / "photos", "--out", tmp_path / "p.csv", "--adapt")
    assert tiny.call(monkeypatch, *words, "statistics") == 0
    assert "3 images are few to adapt to" in caplog.text
    (tmp_path / "p.csv").unlink()
    assert tiny.call(monkeypatch, *words, "tent") == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "poseshift: adapt: 'tent' is unknown; expected one of statistics, entropy, consistency"
    assert not (tmp_path / "p.csv").exists()
    monkeypatch.setenv("COLUMNS", "300")
    assert tiny.call(monkeypatch, "predict", "--help") == 0
    assert f"[{'|'.join(TEST_TIME)}]" in capsys.readouterr().out


def test_images_that_do_not_decode_are_reported_and_left_out(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tiny.photos(tmp_path / "photos", 5)
    photos[1].write_bytes(photos[1].read_bytes()[: photos[1].stat().st_size * 9 // 10])
    photos[2].write_bytes(b"no image")
    photos[4].write_bytes(b"")
    out = tmp_path / "predictions.json"
    instances, found = predict(run, photos, out=out)
    assert "left out" in caplog.text
    assert "photo02.jpg" in caplog.text
    assert "photo04.jpg" in caplog.text
    assert f"1 images do not decode and have no prediction: {photos[1]}" in caplog.text
    results = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert [one["file_name"] for one in results] == [str(photos[0]), str(photos[3])]
    assert [one["image_id"] for one in results] == [1, 4]
    assert found.count == 2
    assert (len(instances), np.isnan(found.keypoints).any(axis=(1, 2)).tolist()) == (3, [False, True, False])
    text = (predict(run, photos, out=tmp_path / "a.csv"), (tmp_path / "a.csv").read_text())[1]
    assert "nan,nan,0.000" in text


def test_nothing_that_decodes_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of the 1 images decodes; the last: .*a\.jpg"):
        predict(run, [tmp_path / "a.jpg"], out=tmp_path / "p.json")
    (photo,) = tiny.photos(tmp_path / "photos", 1)
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size * 9 // 10])
    with pytest.raises(DataError, match=r"none of the 1 images decodes; the last: .*photo00\.jpg"):
        predict(run, [photo], out=tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


def test_folders_are_searched_and_files_taken_once(tmp_path: Path) -> None:
    inner = tmp_path / "in" / "deeper"
    inner.mkdir(parents=True)
    for name in ("b.PNG", "a.jpg", ".hidden.jpg", "notes.txt"):
        Image.new("RGB", (4, 3)).save(inner / name, format="PNG")
    (tmp_path / "in" / "folder.jpg").mkdir()
    files = [inner / "a.jpg", inner / "b.PNG"]
    assert find_files([tmp_path / "in"]) == files
    assert find_files([inner / "b.PNG", tmp_path / "in"]) == files[::-1]
    with pytest.raises(DataError, match="no such file or folder"):
        find_files([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images or videos in .*expected files ending in \.3gp"):
        find_files([tmp_path / "empty"])


@pytest.mark.parametrize("name", ["predictions.txt", "predictions"])
def test_an_ending_that_cannot_be_written_is_refused_before_any_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give a name that ends in \.json, \.csv, \.h5 or \.parquet"):
        predict(tmp_path / "no run", [tmp_path / "no image"], out=tmp_path / name)


def test_a_cut_that_training_did_not_see_is_said(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = tiny.photos(tmp_path / "photos", 1)
    boxes = {"images": [{"id": 1, "file_name": "photo00.jpg"}], "annotations": [{"id": 1, "image_id": 1}]}
    boxes["annotations"][0]["bbox"] = [1, 1, 20, 20]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    before = run.manifest["cut"]
    for cut, whole, boxed in (("whole", "as one instance", "training saw whole images"), ("given", "give --boxes", "")):
        run.note(cut={"source": cut, "target": cut})
        for given, words in ((None, whole), (tmp_path / "boxes.json", boxed)):
            caplog.clear()
            predict(run, photos, boxes=given)
            assert words in caplog.text
            assert bool(words) == bool(caplog.messages)
    run.note(cut=before)


CALIBRATED = {
    "slope": 0.5,
    "intercept": -1.0,
    "shift": -0.7,
    "held": "source",
    "right_source": 0.5,
    "agreement_source": 0.9,
    "agreement_target": 0.6,
    "expected": 0.2,
}


def test_scores_are_calibrated_unless_raw_ones_are_asked_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos, out = tiny.photos(tmp_path / "photos", 2), tmp_path / "p.json"
    monkeypatch.setattr(Run, "trust", lambda self, name: {"calibration": CALIBRATED})
    with caplog.at_level(logging.WARNING):
        _, raw = predict(run, photos, raw_scores=True, out=out)
        assert {one["calibrated"] for one in json.loads(out.read_text())} == {False}
        _, found = predict(run, photos, out=out)
    assert (raw.calibrated, found.calibrated) == (False, True)
    assert "scores are raw" not in caplog.text
    chance = 1 / (1 + np.exp(-(0.5 * np.log(raw.scores / (1 - raw.scores)) - 1.7)))
    np.testing.assert_allclose(found.scores, chance, atol=1e-4)
    np.testing.assert_array_equal(found.keypoints, raw.keypoints)
    results = json.loads(out.read_text())
    assert {one["calibrated"] for one in results} == {True}
    np.testing.assert_allclose(np.reshape(results[0]["keypoints"], (14, 3))[:, 2], found.scores[0], atol=1e-3)


def test_a_run_without_calibration_gives_raw_scores_and_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tiny.photos(tmp_path / "photos", 1)
    monkeypatch.setattr(Run, "trust", lambda self, name: None)
    with caplog.at_level(logging.WARNING):
        _, found = predict(run, photos)
    assert not found.calibrated
    assert "scores are raw, the heights of heatmap peaks: this checkpoint is not calibrated" in caplog.text
    assert f"`poseshift calibrate {run.path}`" in caplog.text


def test_what_does_not_decode_scores_nothing_calibrated_or_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tiny.photos(tmp_path / "photos", 3)
    photos[1].write_bytes(photos[1].read_bytes()[: photos[1].stat().st_size * 9 // 10])
    monkeypatch.setattr(Run, "trust", lambda self, name: {"calibration": CALIBRATED})
    _, found = predict(run, photos)
    assert found.count == 2
    assert (found.scores[1] == 0).all()
    assert (found.scores[[0, 2]] > 0).all()


def test_a_film_by_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file as it was filmed, on its side, to DeepLabCut's table and a film that is upright."""
    video = film(tmp_path / "in/film.mp4", degrees=90)
    words = ("predict", run.path, video, "--raw-scores")
    out, overlay = tmp_path / "out/film.csv", tmp_path / "out/film-poses.mp4"
    assert tiny.call(monkeypatch, *words, "--out", out, "--overlay", overlay) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"12 instances: {out}; scores are raw",
        f"overlay: {overlay}",
    ]
    with out.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert [row[0] for row in rows] == ["scorer", "bodyparts", "coords", *map(str, range(12))]
    assert rows[2][1:4] == ["x", "y", "likelihood"]
    for row in rows[3:]:
        found = np.array(row[1:], np.float64).reshape(14, 3)[:, :2]
        np.testing.assert_allclose(found, expected(23.5 - 32, -0.5, 64), atol=0.01)
    instances, _ = predict(run, [video])
    assert [record.key for record in instances][:2] == [f"{video}#000000", f"{video}#000001"]
    assert instances.images.read(1).shape == (64, 48, 3)
    assert sorted(path.name for path in out.parent.iterdir()) == ["film-poses.mp4", "film.csv"]


def test_frames_without_a_prediction_are_counted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tiny.photos(tmp_path / "photos", 3)
    photos[1].write_bytes(photos[1].read_bytes()[: photos[1].stat().st_size * 9 // 10])
    out = tmp_path / "p.parquet"
    assert tiny.call(monkeypatch, "predict", run.path, *photos, "--out", out, "--raw-scores") == 0
    assert capsys.readouterr().out == f"2 instances, 1 without a prediction: {out}; scores are raw\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--format", "yaml"],
            "--format yaml: unknown; expected one of coco, table, deeplabcut, lightning_pose, parquet",
        ),
        (["--format", "coco", "--out", "p.csv"], "p.csv: cannot write .csv as coco; give a name that ends in .json"),
        (["--out", "film.mp4"], "film.mp4: cannot write .mp4; give a name that ends in .json, .csv, .h5 or .parquet"),
        (["--overlay", "film.mp4"], "film.mp4: is one of the inputs, which are never overwritten; give another name"),
        (["--boxes", "b.csv", "--out", "b.csv"], "b.csv: is one of the inputs, which are never overwritten"),
        (["--boxes", "b.txt"], "--boxes b.txt: expected a COCO json or a csv"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_and_touches_nothing(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "film.mp4", range(2))
    (tmp_path / "b.csv").write_text("file,frame,x,y,width,height\nfilm.mp4,0,1,1,9,9\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert tiny.call(monkeypatch, "predict", run.path, "film.mp4", *options) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("poseshift:")]
    assert line.startswith(f"poseshift: {words}")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_device_that_fails_ends_it_with_nothing_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the net's thread reaches the caller as it is, and the threads are gone."""

    def fails(self: object, images: object) -> None:
        raise TrainingError("the net fails")

    monkeypatch.setattr(tiny.Says, "forward", fails)
    video = film(tmp_path / "film.mp4")
    with pytest.raises(TrainingError, match="the net fails"):
        predict(run, [video], out=tmp_path / "film.csv", overlay=tmp_path / "poses.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
