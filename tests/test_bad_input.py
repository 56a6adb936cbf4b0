"""The issue's paragraph "Bad input", row by row, at the command line.

Each gives one line on standard error that names the file, what was found, what was expected and what to do; exit code 2
for usage and 3 for data; no traceback; nothing half-written, and what was there before is intact.
"""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests import tiny

from poseshift.engine import checkpoint
from poseshift.engine.run import Run, open_run

Patch = pytest.MonkeyPatch
Streams = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(code: int, patch: Patch, streams: Streams, *words: object) -> str:
    """Runs a command that must fail; returns its one line."""
    streams.readouterr()
    assert tiny.call(patch, *words) == code
    found = streams.readouterr()
    assert found.out == ""
    (line,) = found.err.splitlines()
    assert line.startswith("poseshift: ")
    assert "Traceback" not in line
    return line


def says(line: str, *words: str) -> None:
    assert [word for word in words if word not in line] == [], line


def config(change: dict[str, Any], method: str = "source_only") -> Path:
    """A configuration file of a run that reads files only."""
    return tiny.write_config(Path("run.yaml"), method, {"target": None, "steps": 2, **change})


def source(names: tuple[str, ...] = ("a", "b"), *, count: int = 4, file: str = "source.json") -> dict[str, Any]:
    """Writes a labelled source; returns its document."""
    photos = tiny.photos(Path("photos"), count)
    return tiny.coco(Path(file), photos, names)


def coco(file: str = "source.json", **more: object) -> dict[str, Any]:
    return {"data": f"coco:{file}", "boxes": "whole", **more}


def adapting(**more: Any) -> Path:
    return config({"source": coco(), "method": {"levels": []}, **more}, "multilevel")


def nothing_was_made() -> bool:
    return not Path("out").exists() and not list(Path().glob(".*"))


TRAIN = ("train", "run.yaml", "--out", "out", "--quiet")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("images:nothing", ("looked for a folder 'nothing' and found none", "give images:FOLDER")),
        ("coco:nothing.json", ("looked for a file or folder 'nothing.json' and found none", "give coco:FILE.json")),
        ("lsp:nothing", ("nothing",)),
        ("animalpose:nothing", ("nothing",)),
    ],
)
def test_a_missing_folder(spec: str, words: tuple[str, ...], monkeypatch: Patch, capsys: Streams) -> None:
    source()
    adapting(target={"data": spec, "boxes": "whole"})
    says(refused(3, monkeypatch, capsys, *TRAIN), *words)
    assert nothing_was_made()


def test_an_unknown_format(monkeypatch: Patch, capsys: Streams) -> None:
    adapting(target={"data": "pascal:a.mp4"})
    source()
    line = refused(2, monkeypatch, capsys, *TRAIN)
    says(
        line,
        "unknown format 'pascal'",
        "expected FORMAT:PATH",
        "coco, images, video, deeplabcut",
        "figures, quadrupeds",
    )
    words = ("adapt", "--source", "coco:source.json", "--target", "photos", "--out", "out", "--quiet")
    says(refused(2, monkeypatch, capsys, *words), "'photos' names no format; expected FORMAT:PATH")
    assert nothing_was_made()


def test_keypoint_counts_that_differ_and_the_mapping_that_cures_it(monkeypatch: Patch, capsys: Streams) -> None:
    source(("tip", "elbow"))
    tiny.coco(Path("target.json"), sorted(Path("photos").iterdir()), ("tip", "bend", "root"))
    adapting(target=coco("target.json"))
    line = refused(3, monkeypatch, capsys, *TRAIN)
    says(
        line, "coco:source.json", "2 keypoints ['tip', 'elbow']", "expected 3 ['tip', 'bend', 'root']", "give `mapping:"
    )
    assert nothing_was_made()
    assert tiny.call(monkeypatch, *TRAIN, "--set", "target.mapping={bend: elbow}") == 0
    assert open_run("out").finished


def test_a_source_without_keypoints(monkeypatch: Patch, capsys: Streams) -> None:
    """Before any stage is trained."""
    source()
    words = ("adapt", "--source", "images:photos", "--target", "images:photos", "--out", "out", "--quiet")
    line = refused(3, monkeypatch, capsys, *words)
    says(line, "source: images:photos has no keypoints to learn from", "give labelled images, such as coco:FILE.json")
    assert nothing_was_made()


def test_an_annotation_without_image(monkeypatch: Patch, capsys: Streams) -> None:
    document = source()
    config({"source": coco()})
    Path("photos/photo02.jpg").unlink()
    line = refused(3, monkeypatch, capsys, *TRAIN)
    says(line, "source.json", "1 of 4 images have no file", "'photos/photo02.jpg'", "looked in", "@FOLDER")
    tiny.photos(Path("photos"), 4)
    document["annotations"][1]["image_id"] = 99
    Path("source.json").write_text(json.dumps(document))
    line = refused(3, monkeypatch, capsys, *TRAIN)
    says(line, "source.json", "annotation 2 is of image 99, which is not in 'images'", "add the image or drop")
    assert nothing_was_made()


def broken(count: int, of: int, *, keep: float = 0.9) -> None:
    source(count=of)
    for photo in sorted(Path("photos").iterdir())[5 : 5 + count]:
        photo.write_bytes(photo.read_bytes()[: int(photo.stat().st_size * keep)])
    config({"source": coco(), "steps": 13, "batch_size": 8, "save_every": 13})


def test_a_truncated_jpeg_in_a_hundred_is_skipped_and_listed(monkeypatch: Patch, capsys: Streams) -> None:
    broken(1, 100)
    assert tiny.call(monkeypatch, *TRAIN) == 0
    assert capsys.readouterr().out == "finished: out\n"
    assert Path("out/quarantine.txt").read_text().startswith("photos/photo05.jpg\t")


def test_more_of_them_stop_the_run(monkeypatch: Patch, capsys: Streams) -> None:
    broken(3, 100)
    line = refused(3, monkeypatch, capsys, *TRAIN)
    says(line, "2 of 100 images do not decode, at most 1 may be skipped", "photos/photo0", "replace these files")
    assert len(Path("out/quarantine.txt").read_text().splitlines()) == 2
    assert open_run("out").manifest["outcome"].startswith("failed: 2 of 100 images")


def test_an_empty_target_folder(monkeypatch: Patch, capsys: Streams) -> None:
    source()
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no image")
    adapting(target={"data": "images:empty"})
    line = refused(3, monkeypatch, capsys, *TRAIN)
    says(line, "images: 'empty' holds no image", "expected files that end in", ".jpg", "check the path")
    words = ("adapt", "--source", "coco:source.json", "--target", "images:empty", "--out", "out", "--quiet")
    says(refused(3, monkeypatch, capsys, *words), "holds no image")
    assert nothing_was_made()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_coordinates_that_are_no_number(value: str, monkeypatch: Patch, capsys: Streams) -> None:
    source()
    text = Path("source.json").read_text()
    first = json.loads(text)["annotations"][0]["keypoints"][0]
    Path("source.json").write_text(text.replace(f"[{first},", f"[{value},", 1))
    config({"source": coco()})
    line = refused(3, monkeypatch, capsys, *TRAIN)
    says(line, "source.json", "annotation 1 has a labelled coordinate that is not finite", "correct it or set v to 0")
    assert nothing_was_made()


def test_an_unknown_key(monkeypatch: Patch, capsys: Streams) -> None:
    source()
    file = config({"source": coco()})
    file.write_text(file.read_text().replace("gradient_clip", "gradient_clp"))
    line = refused(2, monkeypatch, capsys, *TRAIN)
    says(line, "run.yaml: unknown key 'gradient_clp'", "did you mean 'gradient_clip'?", "known: agreement_images")
    config({"source": coco()})
    line = refused(2, monkeypatch, capsys, *TRAIN, "--set", "source.boxs=whole")
    says(line, "unknown key 'source.boxs'", "did you mean 'boxes'?", "known: boxes, data, label_boxes, limit, mapping")
    words = ("adapt", "--source", "coco:source.json", "--target", "images:photos", "--out", "out")
    line = refused(2, monkeypatch, capsys, *words, "--set", "common.modle.width=8")
    says(line, "stage 'style': unknown key 'modle'", "did you mean 'model'?")
    assert nothing_was_made()


def test_a_run_folder_of_a_newer_schema(finished: Run, monkeypatch: Patch, capsys: Streams) -> None:
    run = Run(Path(shutil.copytree(finished.path, "out")))
    manifest = {**run.manifest, "schema": 9, "version": "3.1.4"}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    tiny.write_config(Path("run.yaml"))
    tiny.photos(Path("photos"), 1)
    for words in (
        TRAIN, ("info", "out"), ("predict", "out", "photos"), ("report", "out"),
        ("evaluate", "out", "--data", tiny.TARGET),
    ):  # fmt: skip
        line = refused(3, monkeypatch, capsys, *words)
        says(line, "out/manifest.json: schema 9, this version reads up to 1; install poseshift 3.1.4 or newer")
    assert json.loads((run.path / "manifest.json").read_text()) == manifest
    assert not Path("predictions.json").exists()
    assert not Path("report.html").exists()


@pytest.mark.parametrize("place", ["tensors", "state", "pointer", "journal"])
def test_a_full_disk_during_a_save(place: str, monkeypatch: Patch, capsys: Streams) -> None:
    """At step 4; what was saved at step 2 is intact, and the same command goes on once there is room."""
    source()
    config({"source": coco(), "steps": 6})
    broken = {"tensors": "save_file", "state": "torch.save", "pointer": "write_text", "journal": "append_line"}[place]
    owner, _, name = broken.rpartition(".")
    holder = checkpoint.torch if owner else checkpoint
    original, calls = getattr(holder, name), 0

    def full(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        pointed = "checkpoints" in str(arguments[0]) and "step-" in str(arguments)  # trust has files of its own
        calls += pointed or place in ("tensors", "state", "journal")
        if calls > {"tensors": 2, "state": 1, "pointer": 2, "journal": 2}[place]:
            error = OSError(errno.ENOSPC, "No space left on device")
            if place in ("pointer", "journal"):
                raise checkpoint.CheckpointError(f"{arguments[0]}: cannot be written ({error.strerror}); make room")
            raise error
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, full)
        line = refused(3, patch, capsys, *TRAIN)
    says(line, "out/", "cannot be written", "No space left on device", "make room")
    run = open_run("out")
    run.checkpoint("last").verify()
    assert run.checkpoint("last").step == (4 if place == "pointer" else 2)
    assert not list(run.checkpoints_path.glob(".*"))
    assert tiny.call(monkeypatch, *TRAIN) == 0
    assert open_run("out").checkpoint("last").step == 6


@pytest.mark.parametrize(
    "words", [("info", "out"), ("predict", "out", "photos"), ("evaluate", "out", "--data", "figures:x")]
)
def test_no_run_folder(words: tuple[str, ...], monkeypatch: Patch, capsys: Streams) -> None:
    says(
        refused(3, monkeypatch, capsys, *words), "out: no run folder (no manifest.json)", "give the folder that `train`"
    )


def test_a_damaged_checkpoint(finished: Run, monkeypatch: Patch, capsys: Streams) -> None:
    shutil.copytree(finished.path, "out")
    tiny.photos(Path("photos"), 1)
    file = Path("out/checkpoints/step-6/predictor.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    line = refused(3, monkeypatch, capsys, "predict", "out", "photos", "--out", "p.json")
    says(line, "step-6/predictor.safetensors: sha256", "expected", "the file is damaged")
    assert not Path("p.json").exists()
    assert tiny.call(monkeypatch, "predict", "out", "photos", "--out", "p.json", "--checkpoint", "last") == 0
    assert len(json.loads(Path("p.json").read_text())) == 1


def test_a_place_that_takes_no_files(finished: Run, monkeypatch: Patch, capsys: Streams) -> None:
    """A file stands where a folder is needed; a read-only folder gives the same kind of error."""
    source()
    config({"source": coco()})
    Path("out").write_text("mine")
    says(refused(2, monkeypatch, capsys, *TRAIN), "out: exists and is no unfinished run", "choose another --out")
    words = ("train", "run.yaml", "--out", "out/deeper", "--quiet")
    says(refused(3, monkeypatch, capsys, *words), "out/deeper/run.yaml: cannot be written (Not a directory)")
    words = ("predict", finished.path, "photos", "--out", "out/p.json")
    line = refused(3, monkeypatch, capsys, *words)
    says(line, "'out/p.json' cannot be written")
    assert Path("out").read_text() == "mine"
