import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.apps.compare.conftest import state
from tests.apps.sweep.conftest import Made

from poseshift.apps.sweep import Range, sweep
from poseshift.engine.run import open_run
from poseshift.errors import UsageError


def test_every_combination(made: Made) -> None:
    found = made.found.comparison
    assert found is not None
    assert not found.failed
    assert made.found.trials == ()
    settings = {(row.marks["domain_weight"], row.marks["occlusion"]): row.name for row in found.rows}
    assert set(settings) == {(weight, switch) for weight in (0.01, 0.1, 1.0) for switch in ("true", "false")}
    for (weight, switch), name in settings.items():
        method = open_run(made.out / "runs/seed-0" / name).config.method
        assert (method.domain_weight, str(method.occlusion).lower()) == (weight, switch)  # type: ignore[attr-defined]
    assert found.baseline == settings[0.1, "true"], "the recipe's own values"
    rows = list(csv.DictReader(io.StringIO((made.out / "table.csv").read_text())))
    assert [(float(row["domain_weight"]), row["occlusion"]) for row in rows] == list(settings)


def test_the_figure(made: Made) -> None:
    text = (made.out / "figure.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"#0a0[bc]|var\(", text), "colours of its own"
    assert "domain_weight" in text
    assert "PCK@0.05 (%)" in text
    page = (made.out / "report.html").read_text()
    assert "Chart of PCK@0.05 against domain_weight" in page
    assert "occlusion true" in page


def test_again_trains_nothing(made: Made) -> None:
    before = state(made.out)
    sweep(made.recipe, made.out, grid={"method.domain_weight": [0.1], "method.occlusion": [True]}, quiet=True)
    assert state(made.out) == before


def test_scores_of_another_folder_draw_the_same_figure(made: Made, tmp_path: Path) -> None:
    grid = {"method.domain_weight": [0.01, 0.1, 1.0], "method.occlusion": [True, False]}
    sweep(made.recipe, tmp_path / "out", grid=grid, add=[made.out / "scores.json"], quiet=True)
    assert not (tmp_path / "out/runs").exists()
    assert (tmp_path / "out/figure.svg").read_text() == (made.out / "figure.svg").read_text()


def test_one_key_at_a_time(recipe: Callable[..., Path], tmp_path: Path) -> None:
    grid = {"method.domain_weight": [1.0], "method.levels": [["image", "feature", "pose"], []]}
    found = sweep(recipe(), tmp_path / "out", grid=grid, each=True, quiet=True).comparison
    assert found is not None
    settings = [(row.marks["domain_weight"], row.marks["levels"]) for row in found.rows]
    assert settings == [(0.1, "[image, feature, pose]"), (1.0, "[image, feature, pose]"), (0.1, "[]")]
    assert found.baseline == found.rows[0].name
    assert open_run(tmp_path / "out/runs/seed-0" / found.rows[2].name).config.style is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": {"method.domain_wait": [1]}}, "--set method.domain_wait=1: unknown key"),
        ({"grid": {"method.domain_weight": [-0.5]}}, "found -0.5"),
        ({"grid": {}}, "--set: nothing to sweep"),
        ({"seeds": [2, 2]}, "--seeds: 2 stands there 2 times"),
        ({"guided": 0}, "--guided: 0 is less than 1"),
        ({"guided": 3, "each": True}, "--each: is for a sweep of all values"),
        ({"guided": 3, "baseline": "x"}, "--baseline: a guided sweep compares with the best of"),
        ({"storage": "x.journal"}, "--storage: is for --guided N"),
        ({"guided": 3, "add": ["scores.json"]}, "--add: is for a sweep of all values"),
        ({"grid": {"method.domain_weight": Range(low=0.1, high=1)}}, "a range is for --guided"),
        ({"baseline": "mine"}, "--baseline 'mine': is no row"),
    ],
)
def test_bad_input_starts_nothing(
    options: dict[str, Any], words: str, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    given = {"grid": {"method.domain_weight": [0.1]}, "quiet": True, **options}
    with pytest.raises(UsageError, match=words):
        sweep(recipe(), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
