"""The numbers that the README and the results page show are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks/results").glob("*.json"))
RESULTS = [path for path in FILES if "splits" in json.loads(path.read_text(encoding="utf-8"))]
COLUMNS = ("source-only", "uniframe", "multilevel", "oracle")


def shown(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    if row["standard_error"] is None:
        low, high = row["interval_of_seed_0"]
        return f"{row['pck@0.05']:.1f} ({low:.1f}–{high:.1f})"
    return f"{row['pck@0.05']:.1f} ± {row['standard_error']:.1f}"


def expected(part: dict[str, Any]) -> list[str]:
    """The cells of a README row: the best source-only, uniframe, multilevel, oracle, the gain."""
    stages = part["stages"]
    best = max(
        (name for name in ("source", "source_longer", "source_matched", "source_fitted") if name in stages),
        key=lambda n: stages[n]["pck@0.05"],
    )
    (gain,) = [d for d in part["differences"] if (d["a"], d["b"]) == ("multilevel", best)]
    cells = [shown(stages.get(name)) for name in (best, *COLUMNS[1:])]
    return [*cells, f"{gain['difference']:+.1f} ({gain['low']:+.1f} to {gain['high']:+.1f})"]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_readme(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("|") and f"recipes/daml/{path.stem}.yaml" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:-1] == expected(result["splits"]["test"])


def test_the_demos_spread_in_readme() -> None:
    found = json.loads((ROOT / "src/poseshift/apps/presets/demo-spread.json").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("source_only", "multilevel", "gain"):
        row = found["pck@0.05"][name]
        assert f"{row['mean']:.1f} ± {row['standard_error']:.1f}" in text, name


def test_the_results_page_says_no_number_that_is_not_committed() -> None:
    """A point or a share in its text stands in a result's table or in the ledger."""
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    said = re.findall(r"(?<![\d.])[+−]?\d+\.\d(?![\d.])|(?<![\d.])\d+ %", text)
    files = [*(ROOT / "benchmarks/results").glob("*.md"), ROOT / "benchmarks/ledger.md"]
    committed = "\n".join(path.read_text(encoding="utf-8") for path in files).replace("| -", "| −")
    assert said
    assert not [one for one in said if not re.search(rf"(?<![\d.]){re.escape(one)}(?!\d)", committed)]
