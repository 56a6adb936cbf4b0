import json
from pathlib import Path

import pytest
from tests import tiny

from poseshift.apps import demo as module
from poseshift.apps import recipes
from poseshift.apps.demo import demo

SMALL = {
    "common": {
        **tiny.COMMON,
        "source": {"data": tiny.SOURCE, "boxes": "whole"},
        "target": {"data": tiny.TARGET, "boxes": "whole"},
        "steps": 2,
    },
    "stages": {
        "style": {"method": {"name": "style"}},
        "source": {"method": {"name": "source_only"}},
        "longer": {"method": {"name": "source_only"}, "init": "source"},
        "adapt": {"method": {"name": "multilevel"}, "init": "source", "style": "style"},
    },
    "study": {"test": {"data": tiny.TARGET, "split": "test"}},
}


def test_the_main_job_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def small(name: str) -> recipes.Recipe:
        asked.append(name)
        return recipes.recipe_of(SMALL, origin=name)

    monkeypatch.setattr(module.recipes, "preset", small)
    said: list[str] = []
    found = demo(tmp_path / "demo", quick=True, quiet=True, say=said.append)
    assert asked == ["demo-quick"]
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text(), parse_constant=pytest.fail)
    assert set(summary) == {"source_only", "multilevel", "seconds"}
    for method in ("source_only", "multilevel"):
        assert set(summary[method]) == {"pck@0.05", "interval"}
        low, high = summary[method]["interval"]
        assert low <= summary[method]["pck@0.05"] <= high
    assert found.summary == summary
    assert found.report.is_file()
    assert found.report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert [line.split(":")[0] for line in said] == ["recipe", "style", "source", "longer", "adapt"]
    better = max(
        json.loads(file.read_text())["visible"]["pck@0.05"]
        for stage in ("source", "longer")
        for file in (tmp_path / "demo" / stage / "evaluation").glob("*/metrics.json")
    )
    assert summary["source_only"]["pck@0.05"] == better, "the better of the two source-only runs stands in the table"


def test_the_quick_demo_differs_in_length_only() -> None:
    full, quick = recipes.preset("demo"), recipes.preset("demo-quick")
    assert list(full.stages) == list(quick.stages)
    for stage in full.stages:
        assert full.stages[stage]["method"]["name"] == quick.stages[stage]["method"]["name"]
        assert full.stages[stage]["steps"] > quick.stages[stage]["steps"]
    for key in ("model", "input_size", "heatmap"):
        assert full.common[key] == quick.common[key]
    for one in (full, quick):
        assert one.study["test"]["split"] == "test", "the demo is scored on images that no stage trains on"
        assert "split" not in one.common["target"]
