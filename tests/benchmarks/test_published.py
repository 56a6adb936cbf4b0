"""Published numbers: each has a source that can be looked up, and the page shows what the file says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scripts import script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "benchmarks/published.yaml").read_text(encoding="utf-8"))
    return found


def entries(published: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(e for pair in published["pairs"].values() for e in pair["entries"]), *published["gains"]]


def test_every_number_was_read_where_it_says(published: dict[str, Any]) -> None:
    """What is only remembered or inferred is never shown as published."""
    assert len(entries(published)) >= 15
    for entry in entries(published):
        assert entry["evidence"] in ("page", "code"), entry
        assert entry["source"] in published["sources"], entry


def test_a_mean_fits_its_groups(published: dict[str, Any]) -> None:
    """People: six groups of two. Hands: four groups of five, and the wrist, which is in no group."""
    checked = 0
    for name, pair in published["pairs"].items():
        for entry in pair["entries"]:
            values = list(entry.get("groups", {}).values())
            if len(values) == 6:
                assert abs(sum(values) / 6 - entry["pck"]) <= 0.1, entry
            elif values:
                assert name == "rhd-h3d"
                assert 0 <= 21 * entry["pck"] - 5 * sum(values) <= 100, entry
            checked += bool(values)
    assert checked >= 7


def test_the_committed_page_is_what_the_script_writes(published: dict[str, Any]) -> None:
    committed = (ROOT / "benchmarks/results/published.md").read_text(encoding="utf-8")
    assert committed == script("published").page(published, ROOT / "benchmarks/results"), (
        "run python benchmarks/published.py"
    )


def test_measured_numbers_come_from_results(published: dict[str, Any], tmp_path: Path) -> None:
    row = {"reference": 71.25, "standard_error": 0.31, "seeds": [1, 2]}
    result = {"commit": "0123456789", "splits": {"all": {"stages": {"adapt": row}}}}
    (tmp_path / "regda-surreal-lsp.json").write_text(json.dumps(result), encoding="utf-8")
    lines = script("published").table("surreal-lsp", published["pairs"]["surreal-lsp"]["entries"], tmp_path)
    (line,) = [line for line in lines if line.startswith("| regda ")]
    assert line.endswith("| tll | 71.2 ± 0.3 (2 seed(s), commit 0123456) |")
    assert all(one.endswith("|  |") for one in lines[2:] if one != line), "no file, no number"


def test_recipes_expect_what_is_published(published: dict[str, Any]) -> None:
    """The number in the header of a recipe is in the table of its pair."""
    found = 0
    for path in sorted((ROOT / "recipes").glob("*/*.yaml")):
        (line,) = re.findall(r"^# Expected: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if (number := re.match(r"(\d+\.\d) PCK@0\.05 published", line)) is not None:
            own = [e["pck"] for e in published["pairs"][path.stem]["entries"] if e["method"] == path.parent.name]
            assert float(number[1]) in own, path
            assert "[page" in line, path
            found += 1
    assert found >= 5
