"""The report: one file, true to the metrics, and safe against the names that users give."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poseshift
from poseshift.apps.report import charts, entries, pictures, report
from poseshift.apps.report.comparison import compare
from poseshift.data import skeletons, sources
from poseshift.engine.evaluate import evaluate
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.errors import CheckpointError, DataError, UsageError
from poseshift.metrics import Hits

TARGET = "figures:middle,side=40,count=14"
SETTINGS: dict[str, Any] = {
    "model": {"backbone": "small", "head": "pyramid", "width": 16, "stride": 4},
    "input_size": 32,
    "batch_size": 4,
    "heatmap": {"sigma": 1.5},
    "steps": 2,
    "log_every": 1,
    "save_every": 1,
    "norms_every": 1,
    "agreement_images": 4,
    "source": {"data": "figures:source,side=40,count=8", "boxes": "whole"},
    "device": "cpu",
}


class Page(HTMLParser):
    """What a browser would make of a report."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.text = file.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip() + " "

    @property
    def prose(self) -> str:
        return " ".join(" ".join(self.words).split())

    def row(self, label: str) -> list[str]:
        return next([cell.strip() for cell in row] for row in self.rows if row and row[0].startswith(label))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parent, a run adapted from it, and an oracle; the first two are evaluated."""
    made = tmp_path_factory.mktemp("runs")
    target = {"data": TARGET, "boxes": "whole"}
    train({**SETTINGS, "method": {"name": "source_only"}}, made / "source", quiet=True)
    adapted = {"name": "multilevel", "levels": ["feature", "pose"]}
    train({**SETTINGS, "method": adapted, "target": target, "init": str(made / "source")}, made / "adapted", quiet=True)
    train({**SETTINGS, "method": {"name": "source_only"}, "source": target}, made / "oracle", quiet=True)
    for name in ("source", "adapted"):
        evaluate(made / name, TARGET, split="test", device="cpu")
    return made


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(
        poseshift.report([folder / "adapted", folder / "oracle"], tmp_path_factory.mktemp("out") / "new" / "r.html")
    )


def copied(run: Path, to: Path, *, evaluated: bool = False) -> Run:
    shutil.copytree(run, to)
    if not evaluated:
        shutil.rmtree(to / "evaluation", ignore_errors=True)
    return open_run(to)


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(run.glob("evaluation/*/metrics.json")).read_text(encoding="utf-8"))
    return found


def test_one_file_suffices(page: Page) -> None:
    links = [
        value or "" for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "xlink:href")
    ]
    assert links
    assert [link[:40] for link in links if not link.startswith(("#", "data:image/jpeg;base64,"))] == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in page.text
    assert not re.search(r"url\((?!#)", page.text)
    assert len(page.text) < 3_000_000


def test_every_picture_has_a_text_and_ids_are_unique(page: Page) -> None:
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for tag, attrs in page.tags if tag == "svg")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    references = set(re.findall(r"url\(#([^)]+)\)", page.text)) | set(re.findall(r'href="#([^"]+)"', page.text))
    assert references <= set(ids)


@pytest.mark.parametrize("kind", ["visible", "labelled"])
def test_the_table_says_what_the_metrics_say(folder: Path, tmp_path: Path, kind: str) -> None:
    run = copied(folder / "adapted", tmp_path / "run", evaluated=True)
    content = metrics_of(run.path)
    for number, name in enumerate(("visible", "labelled")):
        values = {group: 30.04 + 7 * i + number for i, group in enumerate(content[name]["groups"])}
        values["head"] = None
        content[name] |= {"pck@0.05": 41.26 + number, "interval": [38.5 + number, 44.44 + number], "groups": values}
    next(run.path.glob("evaluation/*/metrics.json")).write_text(json.dumps(content), encoding="utf-8")
    found = Page(report([run], tmp_path / "r.html"))
    at = next(index for index, row in enumerate(found.rows) if row and row[0].strip().startswith("run"))
    _, mean, interval, *groups = (cell.strip() for cell in found.rows[at + (kind == "labelled")])
    assert mean == ("41.3" if kind == "visible" else "42.3")
    assert interval == ("38.5 to 44.4" if kind == "visible" else "39.5 to 45.4")
    assert list(groups) == ["–" if value is None else f"{value:.1f}" for value in content[kind]["groups"].values()]


def test_the_summary_holds_the_number_and_its_interval(folder: Path, page: Page) -> None:
    visible = metrics_of(folder / "adapted")["visible"]
    low, high = visible["interval"]
    assert f"places {visible['pck@0.05']:.1f} % of the visible keypoints" in page.prose
    assert f"95 % interval {low:.1f} to {high:.1f} %" in page.prose


def test_the_gain_is_that_of_the_metrics(folder: Path) -> None:
    shown = entries.gather([folder / "adapted"])
    found = compare(entries.subject_of(shown), shown, data=None, split=None, device="cpu")
    assert found is not None
    assert found.gain is not None
    difference = (
        metrics_of(folder / "adapted")["visible"]["pck@0.05"] - metrics_of(folder / "source")["visible"]["pck@0.05"]
    )
    assert 100 * found.gain.value == pytest.approx(difference, abs=2e-3)
    assert found.gain.low <= found.gain.value <= found.gain.high


def test_parents_are_brought_in_and_oracles_marked(folder: Path) -> None:
    shown = entries.gather([folder / "oracle", folder / "adapted"])
    assert [(one.label, one.mark, one.given) for one in shown] == [
        ("source", "", False),
        ("adapted", "", True),
        ("oracle", entries.USES_LABELS, True),
    ]
    assert entries.subject_of(shown).label == "adapted"


def test_an_oracle_is_marked_in_table_and_text(folder: Path, tmp_path: Path) -> None:
    oracle = copied(folder / "oracle", tmp_path / "oracle")
    evaluate(oracle, TARGET, split="test", device="cpu")
    shown = Page(report([folder / "adapted", oracle], tmp_path / "r.html"))
    assert shown.row("oracle")[0].endswith(entries.USES_LABELS)
    assert entries.USES_LABELS not in " ".join(shown.row("adapted"))


@pytest.mark.parametrize(
    ("said", "mark"),
    [
        ("no", ""),
        (False, ""),
        ("monitoring only", entries.MONITORS),
        (True, entries.USES_LABELS),
        ("yes", entries.USES_LABELS),
    ],
)
def test_the_manifest_may_say_that_labels_were_used(folder: Path, tmp_path: Path, said: str | bool, mark: str) -> None:
    run = copied(folder / "adapted", tmp_path / "run")
    run.note(uses_target_labels=said)
    assert entries.mark_of(run, {entries.base(TARGET)}) == mark


def test_a_run_that_starts_from_an_oracle_uses_target_labels(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "adapted", tmp_path / "run")
    shutil.copyfile(folder / "oracle" / "run.yaml", run.path / "parents" / "init" / "run.yaml")
    assert entries.mark_of(run, {entries.base(TARGET)}) == entries.USES_LABELS


def test_how_keypoints_were_matched_is_shown_beside_the_data(folder: Path, tmp_path: Path) -> None:
    rows = [["nose", "snout", "configured"], ["neck", "l & r", "mid-point"], ["chin", "", "none"]]
    run = copied(folder / "adapted", tmp_path / "run")
    run.note(matching={"rows": rows, "unused": ["beak"]})
    page = Page(poseshift.report([run.path], tmp_path / "r.html"))
    assert "1 configured, 1 mid-point, 1 none" in page.prose
    assert page.row("neck") == ["neck", "l & r", "mid-point"]
    assert page.row("chin") == ["chin", "–", "none, never labelled"]
    assert "Not used of the source: beak." in page.prose
    plain = Page(poseshift.report([folder / "source"], tmp_path / "plain.html"))
    assert "target ← source" not in plain.prose


def test_names_are_escaped(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "adapted", tmp_path / '<b>"$x_1$', evaluated=True)
    run.note(command="poseshift <script>alert(1)</script>", notes={"target": "<i>note</i>"})
    run.note(skipped_steps=3)
    (run.path / "quarantine.txt").write_text("<u>.jpg\tdoes not decode\n", encoding="utf-8")
    found = Page(report([run], tmp_path / "r.html"))
    assert not {"b>", "script", "i", "u"} & {tag for tag, _ in found.tags}
    assert not re.search(r"<b>&quot;|<b>\"", found.text)
    assert "3 steps whose loss or gradient was not finite" in found.prose
    for said in ('<b>"$x_1$', "<script>alert(1)</script>", "<i>note</i>", "<u>.jpg"):
        assert said in found.prose


def test_without_evaluation_labels_are_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.formats, "read", lambda *_, **__: pytest.fail("labels were read"))
    run = copied(folder / "adapted", tmp_path / "alone")
    run.note(parents={"init": {"run": str(tmp_path / "gone"), "step": 2}})
    found = Page(report([run], tmp_path / "r.html"))
    assert "has not been evaluated yet" in found.prose
    assert "no labels were looked at" in found.prose
    assert "gone (start)" in found.prose, "the parent's weights in the folder serve for the picture before"
    assert not [attrs for _, attrs in found.tags if "truth" in (attrs.get("class") or "")]


def test_an_empty_log_and_a_lone_run(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "source", tmp_path / "lone", evaluated=True)
    (run.path / "metrics.jsonl").write_text("", encoding="utf-8")
    found = Page(report([str(run.path)], tmp_path / "r.html"))
    assert "No learning curves were logged" in found.prose
    assert found.row("lone")[1] == f"{metrics_of(run.path)['visible']['pck@0.05']:.1f}"


def test_data_that_is_gone_leaves_a_report_that_says_so(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "source", tmp_path / "run", evaluated=True)
    file = next(run.path.glob("evaluation/*/metrics.json"))
    content = json.loads(file.read_text(encoding="utf-8")) | {"data": "lsp:gone"}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert "The images cannot be shown" in Page(report([run], tmp_path / "r.html")).prose
    with pytest.raises(DataError, match="gone"):
        report([run], tmp_path / "r.html", data="lsp:gone")


def test_categories_and_protocols_have_tables_of_their_own(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "source", tmp_path / "run", evaluated=True)
    file = next(run.path.glob("evaluation/*/metrics.json"))
    content = json.loads(file.read_text(encoding="utf-8"))
    content["categories"] = {
        name: {**content["visible"], "pck@0.05": value} for name, value in (("dog", 12.3), ("sheep", None))
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    (file.parent / "metrics-reference.json").write_text(
        json.dumps(content | {"protocol": "reference"}), encoding="utf-8"
    )
    found = Page(report([run], tmp_path / "r.html"))
    means = [row[1].strip() for row in found.rows if row and row[0].startswith("run ")]
    whole = f"{content['visible']['pck@0.05']:.1f}"
    assert means == [whole, "12.3", "–", whole, "12.3", "–"]
    assert "protocol reference" in found.prose


def test_curves_hold_every_term(folder: Path) -> None:
    found = charts.training(entries.gather([folder / "adapted"]))
    assert [one.title for one in found.terms] == ["supervised", "consistency", "domain", "certainty", "diversity"]
    assert found.terms[-1].note.startswith("weight −"), "a term that is maximised has a negative weight"
    assert [one.title for one in found.norms] == ["adapted"], "the parent logged one term only: nothing to compare"
    assert [one.title for one in found.scores] == [
        "Agreement without labels",
        "Equivariance error",
        "Entropy of heatmaps",
        "Information of heatmaps",
        "Distance from source poses",
        "Left and right on one spot",
    ]
    assert [one.title for one in found.monitors] == ["Mean peak of pseudo-labels"]


def test_negative_transfer_is_said_in_the_head_and_with_the_checkpoints(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "adapted", tmp_path / "run", evaluated=True)
    run.note(negative_transfer="no")  # what a few steps do to a tiny net is not the matter here
    assert "Negative transfer" not in Page(report([run], tmp_path / "r.html")).prose
    run.note(negative_transfer="information 12.0 to 0.0")
    said = Page(report([run], tmp_path / "r.html")).prose
    assert "adaptation made it worse, so the model that it started from is kept" in said
    assert "worse than it was at its start (information 12.0 to 0.0), so best is the start" in said


def test_bad_input_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run given"):
        report([], tmp_path / "r.html")
    with pytest.raises(UsageError, match="is a folder"):
        report([folder / "source"], tmp_path)
    with pytest.raises(CheckpointError, match="no run folder"):
        report([tmp_path], tmp_path / "r.html")
    run = copied(folder / "source", tmp_path / "run", evaluated=True)
    next(run.path.glob("evaluation/*/metrics.json")).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="no metrics of an evaluation"):
        report([run], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_sides_come_from_the_names() -> None:
    sides = pictures.sides_of(skeletons.LSP)
    assert all(
        side == ("left" if "left" in name else "right" if "right" in name else "centre")
        for name, side in zip(skeletons.LSP.keypoints, sides, strict=True)
    )


def test_faint_where_unsure_and_absent_where_unknown() -> None:
    points = np.full((14, 2), 50, np.float32)
    points[13] = np.nan
    scores = np.full(14, 0.5, np.float32)
    scores[0] = 0.0
    found = {one.title: one.opacity for one in pictures.strokes(skeletons.LSP, points, scores, 0.5)}
    assert found["right_ankle to right_knee"] == pytest.approx(0.12)
    assert found["neck, confidence 0.50"] == 1
    assert not [title for title in found if "head_top" in title]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("figures:middle,side=80", "figures:middle,count=5", True),
        ("lsp:data/lsp", "lsp:./data/lsp/", True),
        ("animalpose:a@dog", "animalpose:a@sheep", True),
        ("figures:middle", "figures:source", False),
        ("lsp:a", "coco:a", False),
    ],
)
def test_options_do_not_make_another_data_set(one: str, other: str, same: bool) -> None:
    assert (entries.base(one) == entries.base(other)) is same


def test_pictures_are_ranked_by_keypoints_won(folder: Path) -> None:
    shown = entries.gather([folder / "adapted"])
    found = compare(entries.subject_of(shown), shown, data=None, split=None, device="cpu")
    assert found is not None
    assert found.before is not None
    assert found.before.hits is not None
    counted = found.annotations.visible == 2
    wins = np.arange(len(counted)) % 3
    right = counted & (np.cumsum(counted, 1) <= wins[:, None])
    after = replace(found.after, hits=Hits(right=right, counted=counted))
    before = replace(found.before, hits=Hits(right=np.zeros_like(right), counted=counted))
    ranked = pictures.ranking(replace(found, after=after, before=before))
    won = right.sum(1)[ranked]
    assert (np.diff(won) <= 0).all()
    assert won[0] > won[-1]
    assert [tier.name for tier in pictures.tiers(found)] == ["Best", "Middle", "Worst"]


def test_reliability_is_drawn_where_there_are_labels(page: Page, folder: Path) -> None:
    assert "Do scores mean what they say?" in page.prose
    known = metrics_of(folder / "adapted")["calibration"]
    assert f"ECE {known['ece_raw']:.1f} % raw → {known['ece']:.1f} % calibrated" in page.prose
    labels = [attrs.get("aria-label") or "" for tag, attrs in page.tags if tag == "svg"]
    assert [label for label in labels if label.startswith("Chart of reliability of adapted. raw:")]
    run = open_run(folder / "adapted")
    expected = 100 * (run.trust(f"step-{run.checkpoint('best').step}") or {})["calibration"]["expected"]
    assert f"expected within PCK@0.05 on the target: {expected:.1f} % of keypoints" in page.prose


def test_runs_without_calibration_still_have_a_report(folder: Path, tmp_path: Path) -> None:
    old = copied(folder / "adapted", tmp_path / "old", evaluated=True)
    shutil.rmtree(old.path / "trust")
    found = Page(report([old], tmp_path / "r.html"))
    assert "Do scores mean what they say?" in found.prose
    assert re.search(r"ECE [\d.]+ % raw(?! →)", found.prose)
    assert "Collapse was not looked for" in found.prose


def test_a_collapse_is_named_and_shown(folder: Path, tmp_path: Path) -> None:
    run = copied(folder / "adapted", tmp_path / "collapsed", evaluated=True)
    file = run.path / "trust" / f"step-{run.checkpoint('best').step}.json"
    examined = json.loads(file.read_text())
    names = [sources.read(TARGET).images.key(row) for row in (3, 5)]
    one = [
        {"row": row, "image": name, "keypoints": [[16.0, 16.0]] * 14} for row, name in zip((3, 5), names, strict=True)
    ]
    moved = {"row": 4, "image": "another name", "keypoints": [[16.0, 16.0]] * 14}
    examined["collapse"] = {
        "one_place": {"value": 96.4, "found": True},
        "mean_pose": {"value": None, "found": False},
        "exchanged_sides": {"value": 3.0, "found": False},
    }
    examined["examples"] = {"one_place": [*one, moved]}
    file.write_text(json.dumps(examined))
    found = Page(report([run], tmp_path / "r.html"))
    assert "have collapsed: all keypoints on one place." in found.prose
    assert "all keypoints on one place: FOUND (share of images 96 %; found above 20 %)" in found.prose
    assert "the mean pose whatever the image: no (variety of poses, of the source's cannot be judged" in found.prose
    section = found.text[found.text.index('id="collapse"') : found.text.index('id="training"')]
    assert re.findall(r'alt="Target image ([^"]+)"', section) == names
    assert re.findall(r'class="joint" cx="([\d.]+)" cy="([\d.]+)"', section)[:2] == [("102.6", "102.6")] * 2


def test_images_of_a_collapse_that_are_gone_are_said_to_be(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from poseshift.apps.report import collapsed

    def gone(*args: object) -> None:
        raise DataError("the target is gone")

    run = copied(folder / "adapted", tmp_path / "collapsed", evaluated=True)
    file = run.path / "trust" / f"step-{run.checkpoint('best').step}.json"
    examined = json.loads(file.read_text())
    examined["collapse"] = {"one_place": {"value": 96.4, "found": True}}
    file.write_text(json.dumps(examined))
    monkeypatch.setattr(collapsed, "_shown", gone)
    assert "The images cannot be shown: the target is gone" in Page(report([run], tmp_path / "r.html")).prose
