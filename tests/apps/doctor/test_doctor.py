"""``poseshift doctor`` as a whole: the command, the page, the facts, and that no label of the target is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny

from poseshift.apps.doctor import Examination, examine, facts, text, write_page
from poseshift.data import formats
from poseshift.errors import ConfigError, UsageError
from poseshift.types import Annotations

SOURCE, TARGET = "figures:plain,side=48,count=40", "figures:middle,side=48,count=30"
WORDS = ("--images", "24", "--set", "common.input_size=32")


def doctor(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    return tiny.call(monkeypatch, "doctor", *WORDS, *words)


def shuffled(found: Annotations) -> Annotations:
    order = np.random.default_rng(0).permutation(len(found))
    return replace(found, keypoints=found.keypoints[order][:, ::-1].copy(), visible=found.visible[order])


def without_numbers(found: Annotations) -> Annotations:
    return replace(found, keypoints=np.full_like(found.keypoints, np.nan), visible=np.full_like(found.visible, 2))


@pytest.mark.parametrize("change", [shuffled, without_numbers])
def test_other_target_labels_change_no_bit(
    change: Callable[[Annotations], Annotations], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(monkeypatch, "--source", SOURCE, "--target", TARGET, "--json") == 0
    expected = capsys.readouterr().out
    unlabelled, labelled, seen = formats.read_unlabelled, formats.read, list[str]()

    def reading(spec: str, *, split: str | None = None) -> Annotations:
        found = unlabelled(spec, split=split)
        assert not np.array_equal(change(found).keypoints, found.keypoints)
        seen.append(spec)
        return change(found)

    def refusing(spec: str, *, split: str | None = None) -> Annotations:
        assert spec != TARGET, "the target is read with its labels"
        return labelled(spec, split=split)

    monkeypatch.setattr(formats, "read_unlabelled", reading)
    monkeypatch.setattr(formats, "read", refusing)
    assert doctor(monkeypatch, "--source", SOURCE, "--target", TARGET, "--json") == 0
    assert capsys.readouterr().out == expected
    assert seen == [TARGET]


def test_other_target_images_do_change_it() -> None:
    """So that the test above can fail."""
    one, other = (
        facts(examine(SOURCE, target, overrides=["common.input_size=32"], images=24))
        for target in (TARGET, f"{TARGET},seed=3")
    )
    assert one["looks"] != other["looks"]
    assert one["source"] == other["source"]


def test_labels_in_the_file_of_a_target_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A COCO file whose keypoints are there, moved, and gone; its boxes and names stay."""
    file = tmp_path / "target.json"
    document = tiny.coco(file, tiny.photos(tmp_path / "photos", 22), ["nose", "neck"])
    found = set()
    for points in (None, [1.0, 2.0, 1, 30.0, 3.0, 2], [0, 0, 0, 0, 0, 0]):
        for row in document["annotations"]:
            row["keypoints"] = points or row["keypoints"]
            row["num_keypoints"] = 2 if points and points[2] else 0
        file.write_text(json.dumps(document), encoding="utf-8")
        assert doctor(monkeypatch, "--source", SOURCE, "--target", f"coco:{file}", "--json") == 0
        found.add(capsys.readouterr().out)
    assert len(found) == 1


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "target.json"
    tiny.coco(file, tiny.photos(tmp_path / "photos", 22), ["neck", "headtop", "beak"])
    page, target = tmp_path / "out" / "doctor.html", f"coco:{file}"
    words = ("--source", SOURCE, "--source-split", "val", "--target", target, "--json", "--html", page)
    assert doctor(monkeypatch, *words) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert "page: " in told.err
    assert (found["source"]["split"], found["source"]["instances"], found["source"]["sampled"]) == ("val", 40, 24)
    assert (found["target"]["data"], found["target"]["images"], found["target"]["boxes"]) == (target, 22, "given")
    assert [row["source"] for row in found["keypoints"]["table"]] == ["neck", "head_top", None]
    assert found["verdict"][0]["level"] == "stops"
    assert "common.source.mapping={beak: ''}\"" in found["verdict"][0]["remedy"]
    html = page.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/jpeg') == 24, "twelve of each domain"
    assert html.count('<svg class="over"') == 12, "the source alone has labels"
    assert "http" not in html.replace("http://www.w3.org", ""), "the page needs no network"
    assert "<script" not in html
    assert doctor(monkeypatch, *words, "--set", "common.source.mapping={beak: ''}") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["keypoints"]["training_refuses"] is None
    assert "partners" not in [line["rule"] for line in again["verdict"]]


def test_a_folder_of_images_and_odd_names(tmp_path: Path) -> None:
    (file,) = tiny.photos(tmp_path / "photos", 1)
    file.rename(file.with_name("<b>&.jpg"))
    found = examine(SOURCE, f"images:{file.parent}", overrides=["common.input_size=32"], images=5)
    assert found.gap is None
    html = write_page(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>&.jpg" not in html, "names are escaped"
    assert "The gap" not in html
    known = facts(found)
    assert known["gap"] is None
    assert known["target"]["box_aspect"] is None
    json.dumps(known, allow_nan=False)
    assert "the target names none" in text(found)


def test_the_text_has_verdict_table_and_numbers(healthy: Examination) -> None:
    shown = text(healthy)
    assert shown.startswith("source: figures:plain,side=64,count=600: 600 instances in 600 images, 40 sampled")
    for words in (
        "nothing found that is likely to hurt",
        "TO KNOW",
        "target keypoint",
        "head_top",
        "sharpness",
        "gap, hand",
    ):
        assert words in shown
    assert not re.search(r"\bnan\b|\binf\b", shown)


def test_the_same_seed_gives_the_same_facts() -> None:
    def found(seed: int) -> dict[str, Any]:
        return facts(examine(SOURCE, TARGET, overrides=["common.input_size=32"], images=20, seed=seed))

    assert found(0) == found(0)
    assert found(0)["gap"] != found(1)["gap"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--source", SOURCE), 2, "target: neither the command nor the recipe names it"),
        (("--source", SOURCE, "--target", "nothing:x"), 2, "unknown format 'nothing'"),
        (("--source", SOURCE, "--target", TARGET, "--images", "0"), 2, "--images 0: expected at least 1"),
        (("--source", SOURCE, "--target", TARGET, "--backbone", "resnet18"), 2, "give --weights FILE as well"),
        (("--source", SOURCE, "--target", TARGET, "--weights", "none.safetensors"), 3, "no file none.safetensors"),
        (("--source", SOURCE, "--target", "images:nowhere"), 3, "looked for a folder 'nowhere'"),
        (("--source", SOURCE, "--target", TARGET, "--html", "."), 2, "is a folder, expected a file"),
        (("--source", SOURCE, "--target", TARGET, "--set", "common.target.boxes=from_keypoints"), 2, "target labels"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[str, ...], code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(monkeypatch, *words) == code
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("poseshift: ")
    assert says in line


def test_a_stage_without_a_target(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"common: {{target: {{data: '{TARGET}'}}}}\nstages:\n  only: {{method: {{name: style}}, target: null}}\n"
    )
    with pytest.raises(ConfigError, match="no source or no target"):
        examine(SOURCE, recipe=recipe)


def test_a_page_is_no_folder(healthy: Examination, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        write_page(healthy, tmp_path)
