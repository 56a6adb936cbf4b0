"""The study script, in miniature: it must train, score, compare, and write what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.scripts import BENCHMARKS, script

from poseshift.engine.run import open_run

RECIPE = {
    "common": {
        "source": {"data": "figures:plain,side=64,count=12", "boxes": "whole"},
        "target": {"data": "figures:middle,side=64,count=12", "boxes": "whole"},
        "model": {"backbone": "small", "head": "pyramid", "width": 16},
        "input_size": 64,
        "batch_size": 4,
        "steps": 2,
        "agreement_images": 4,
    },
    "stages": {
        "source": {"method": {"name": "source_only"}},
        "multilevel": {"method": {"name": "multilevel", "levels": ["pose"]}, "init": "source"},
    },
    "study": {
        "test": {"data": "figures:middle,side=64,count=10", "boxes": "whole"},
        "pairs": [["multilevel", "source"]],
    },
}


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # a script's own folder comes first


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return path


def test_study_trains_scores_and_compares(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = script("study")
    monkeypatch.setattr(study, "HERE", tmp_path)
    monkeypatch.setattr(study, "commit", lambda: "0" * 40)
    monkeypatch.setattr(sys, "argv", ["study.py", str(recipe), "--seeds", "0,1", "--work", str(tmp_path / "work")])
    study.main()
    result = json.loads((tmp_path / "results/tiny.json").read_text())
    part = result["splits"]["test"]
    assert list(part["stages"]) == ["source", "multilevel"]
    seeds = {name: row["seeds"] for name, row in part["stages"].items()}
    mean = sum(seeds["multilevel"]) / 2 - sum(seeds["source"]) / 2
    (difference,) = part["differences"]
    assert difference["difference"] == pytest.approx(mean, abs=0.02)
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert not (tmp_path / "ledger.md").exists()  # a procedural set is no test set of the literature
    run = tmp_path / "work/tiny/seed-1/multilevel"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scored = open_run(run).checkpoint().step  # the guard may have preferred the start
    (logged,) = [line["scores"] for line in lines if "scores" in line and line["step"] == scored]
    assert list(result["label_free"]) == ["multilevel"]  # the source run has no target images
    for name in ("agreement", "coincidence"):
        row = result["label_free"]["multilevel"][name]
        assert row["seeds"][1] == round(logged[name], 2)
        assert row["mean"] == pytest.approx(sum(row["seeds"]) / 2, abs=0.01)
    text = (tmp_path / "results/tiny.md").read_text()
    assert "| stage | agreement | ± s.e. | equivariance | ± s.e. |" in text
    assert f"**{part['stages']['source']['pck@0.05']:.1f}**" in text


def test_a_stage_of_one_seed_is_compared_over_that_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    study = script("study")
    once = {**RECIPE, "study": {**RECIPE["study"], "one_seed": ["multilevel"]}}
    recipe.write_text(yaml.safe_dump(once, sort_keys=False))
    monkeypatch.setattr(study, "HERE", tmp_path)
    monkeypatch.setattr(study, "commit", lambda: "0" * 40)
    monkeypatch.setattr(sys, "argv", ["study.py", str(recipe), "--seeds", "0,1", "--work", str(tmp_path / "work")])
    study.main()
    part = json.loads((tmp_path / "results/tiny.json").read_text())["splits"]["test"]
    seeds = {name: row["seeds"] for name, row in part["stages"].items()}
    assert {name: len(values) for name, values in seeds.items()} == {"source": 2, "multilevel": 1}
    (difference,) = part["differences"]
    assert difference["seeds"] == 1
    assert difference["difference"] == pytest.approx(seeds["multilevel"][0] - seeds["source"][0], abs=0.02)
    assert not (tmp_path / "work/tiny/seed-1/multilevel").exists()
    text = (tmp_path / "results/tiny.md").read_text()
    assert "| multilevel, 1 seed(s) |" in text
    assert "| multilevel − source, 1 seed(s) |" in text


def test_scores_without_labels_that_some_stages_lack() -> None:
    tables = script("study_tables")
    one = tables.across_seeds([{"agreement": 70.0}])
    assert one == {"agreement": {"mean": 70.0, "standard_error": None, "seeds": [70.0]}}
    two = tables.across_seeds([{"agreement": 60.0, "coincidence": 20.0}, {"agreement": 62.0, "coincidence": 26.0}])
    assert two["coincidence"] == {"mean": 23.0, "standard_error": 3.0, "seeds": [20.0, 26.0]}
    lines = tables.unlabelled({"source": one, "multilevel": two})
    assert lines[-3:] == ["| source | 70.0 | – | – | – |", "| multilevel | 61.0 | 1.0 | 23.0 | 3.0 |", ""]
    assert tables.unlabelled({}) == []


def test_real_test_sets_go_to_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = script("study")
    monkeypatch.setattr(study, "HERE", tmp_path)
    study.note_in_ledger({"data": "lsp:somewhere"}, "figures-lsp", ["source"], "a" * 40)
    line = (tmp_path / "ledger.md").read_text()
    assert "| lsp test | figures-lsp | source | aaaaaaaaaaaa |" in line
    assert "somewhere" not in line


def test_calibration_measures_the_pose_term(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from poseshift.apps import recipes

    calibrate = script("calibrate_pose")
    loaded = recipes.load(recipe)
    from poseshift.engine.train import Session, train

    train(loaded.stage("source", tmp_path), tmp_path / "source", quiet=True)
    session = Session(loaded.stage("multilevel", tmp_path), tmp_path / "run", None, command="", quiet=True)
    ratios = calibrate.measure(session, 2)
    assert set(ratios) == {"certainty", "diversity", "pose"}
    assert all(len(values) == 1 and values[0] > 0 for values in ratios.values())


def test_limits_counts_sides_precision_and_direction() -> None:
    limits = script("limits")
    truth = np.array([[[0.2, 0.5], [0.6, 0.5]]], np.float32).repeat(3, 0)
    inwards = truth + np.array([[0.01, 0], [-0.01, 0]], np.float32)
    usable = np.ones((3, 2), bool)
    assert limits.apart(inwards, truth, usable, ((0, 1),)) == pytest.approx(-0.01, abs=1e-6)
    assert limits.apart(2 * truth - inwards, truth, usable, ((0, 1),)) == pytest.approx(0.01, abs=1e-6)


def test_limits_of_runs(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, limits = script("study"), script("limits")
    for module in (study, limits):
        monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(study, "commit", lambda: "0" * 40)
    work = str(tmp_path / "work")
    monkeypatch.setattr(sys, "argv", ["study.py", str(recipe), "--stages", "source", "--work", work])
    study.main()
    data = ["--data", RECIPE["study"]["test"]["data"], "--split", "test", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["limits.py", f"{work}/tiny/seed-0/source", *data])
    limits.main()
    (row,) = [line for line in (tmp_path / "results/limits.md").read_text().splitlines() if line.startswith("| source")]
    _, _, right, either, near, *_ = (cell.strip() for cell in row.split("|"))
    scored = json.loads((tmp_path / "results/tiny.json").read_text())["splits"]["test"]["stages"]["source"]
    assert float(right) == pytest.approx(scored["pck@0.05"], abs=0.06)
    assert float(right) <= float(either)
    assert float(right) <= float(near)
