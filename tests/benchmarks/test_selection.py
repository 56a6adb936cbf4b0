"""The study of selection, in miniature: what it counts, and that it looks at labels once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests import tiny
from tests.scripts import BENCHMARKS, script


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # a script's own folder comes first


def row(name: str, truth: list[float], **scores: list[float]) -> dict[str, Any]:
    """A run of which every tenth step was kept, the first is the start."""
    steps = [str(10 * number) for number in range(len(truth))]
    columns = {step: {key: values[n] for key, values in scores.items()} for n, step in enumerate(steps)}
    return {"run": name, "method": "some", "truth": dict(zip(steps, truth, strict=True)), "scores": columns}


GOOD = row("good", [10, 20, 30, 25], agreement=[1, 2, 3, 4], plausibility=[9, 8, 7, 8])
BROKEN = row("broken", [10, 5, 1, 0], agreement=[1, 2, 3, 4], plausibility=[9, 20, 30, 40])


def test_correlation_is_that_of_ranks_and_good_is_positive() -> None:
    tables = script("selection_tables")
    assert tables.spearman([1, 2, 3, 4], [10, 20, 30, 25]) == pytest.approx(0.8)
    assert tables.spearman([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(3 / np.sqrt(10))
    assert np.isnan(tables.spearman([1, 1, 1], [1, 2, 3]))
    assert tables.within([GOOD, BROKEN], "agreement") == pytest.approx([0.8, -1])
    assert tables.within([GOOD, BROKEN], "plausibility") == pytest.approx(
        [tables.spearman([1, 2, 4, 2], [1, 2, 4, 3]), 1]
    )
    assert tables.within([GOOD], "validation") == []
    assert np.isnan(tables.across([GOOD, BROKEN], "plausibility")), "two runs have no correlation"
    third = row("third", [10, 50], agreement=[1, 4], plausibility=[9, 1])
    assert tables.across([GOOD, BROKEN, third], "plausibility") == pytest.approx(1)


def test_regret_is_what_a_rule_loses_to_the_best_checkpoint_or_the_start() -> None:
    tables = script("selection_tables")
    lost = {name: tables.regrets([GOOD, BROKEN], rule) for name, rule in tables.choosers().items()}
    assert lost[tables.ORACLE] == [0, 0]
    assert lost[tables.LAST] == [5, 10]
    assert lost["start"] == [20, 0]
    assert lost["agreement"] == [5, 10]
    assert lost["plausibility"] == [0, 5], "a single score does not choose the start"
    assert lost[tables.ADAPTED] == [0, 10]
    assert lost[tables.DEFAULT] == [0, 0]


def test_the_tables_say_what_was_counted() -> None:
    tables = script("selection_tables")
    text = tables.markdown("made up", [GOOD, BROKEN], "by hand")
    assert text.startswith("# Selection without labels: made up\n\nby hand\n")
    assert "2 runs, 8 checkpoints" in text
    assert "| agreement | -0.10 | 2 | – |" in text
    assert "| validation | – | 0 | – |" in text
    assert "| last | 7.50 | 10.0 |" in text
    assert "| broken | some | 10.0 | 10.0 | 0.0 | 10.0 | 0 | plausibility 9.0 to 40.0 |" in text


RECIPE = {
    "common": {**tiny.COMMON, "steps": 4, "agreement_images": 4},
    "stages": {
        "source": {"method": {"name": "source_only"}},
        "adapted": {"method": {"name": "multilevel", "levels": []}, "init": "source", "keep": 9},
        "noise": {"method": {"name": "shot"}, "init": "source", "target": {"data": "images:WORK/pictures/noise"}},
        "fails": {"method": {"name": "shot"}, "target": {"data": "images:WORK/no-such-folder"}},
    },
}


def test_it_trains_measures_once_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = script("selection")
    (tmp_path / "ledger.md").write_text("")
    monkeypatch.setattr(selection, "HERE", tmp_path)
    monkeypatch.setattr(selection, "UNRELATED", 5)
    monkeypatch.setattr(selection, "commit", lambda: "0123456789abcdef")
    recipe, work = tmp_path / "recipe.yaml", tmp_path / "work"
    recipe.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    words = [work, "--data", "figures:middle,side=48,count=8", "--split", "test", "--images", 4, "--name", "mini"]
    trains = ["--train", recipe, "--work", work, "--set", "common.seed=3"]
    monkeypatch.setattr(sys, "argv", ["selection.py", *map(str, [*words, *trains])])
    selection.main()
    said = capsys.readouterr().out
    assert "fails: " in said
    text = (tmp_path / "results/selection-mini.md").read_text()
    assert "2 runs, 6 checkpoints" in text
    assert "PCK@0.05 on figures test; commit 0123456789ab" in text
    assert (tmp_path / "ledger.md").read_text() == "", "procedural labels are no secret"
    monkeypatch.setattr(selection, "measure", lambda *args: pytest.fail("labels are looked at once"))
    monkeypatch.setattr(sys, "argv", ["selection.py", *map(str, words)])
    selection.main()
    assert (tmp_path / "results/selection-mini.md").read_text() == text


def test_each_look_at_real_labels_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = script("selection")
    monkeypatch.setattr(selection, "HERE", tmp_path)
    (tmp_path / "ledger.md").write_text("")
    monkeypatch.setattr(sys, "argv", ["selection.py", "runs", "--data", "lsp:x", "--split", "train", "--every", "4"])
    options = selection.arguments()
    selection.note_in_ledger(options, [], "0123456789abcdef")
    assert (tmp_path / "ledger.md").read_text() == ""
    selection.note_in_ledger(options, ["a", "b"], "0123456789abcdef")
    (line,) = (tmp_path / "ledger.md").read_text().splitlines()
    assert line.endswith("| lsp train, every 4th | selection.py, every checkpoint | a, b | 0123456789ab |")
