from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from tests.apps.compare.conftest import write_recipe

from poseshift.apps import recipes
from poseshift.apps.ablate import ablate, with_levels
from poseshift.engine.run import open_run
from poseshift.errors import ConfigError, UsageError

LEVELS = ("image", "feature", "pose")


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    return lambda change=None: write_recipe(tmp_path / "tiny.yaml", change)


def test_all_eight_combinations(recipe: Callable[..., Path], tmp_path: Path) -> None:
    file, out = recipe({"common": {"steps": 1, "save_every": 1}}), tmp_path / "out"
    found = ablate(file, out, seeds=[0], quiet=True)
    assert not found.failed
    marks = {tuple(row.marks[level] for level in LEVELS): row.name for row in found.rows}
    assert set(marks) == set(product((True, False), repeat=3))
    assert found.baseline == marks[False, False, False] == "multilevel-none"
    assert {path.name for path in (out / "runs/seed-0").iterdir()} == {"style", "source", *marks.values()}
    starts = set()
    for on, name in marks.items():
        run = open_run(out / "runs/seed-0" / name)
        assert run.config.method.levels == tuple(level for level, here in zip(LEVELS, on, strict=True) if here)  # type: ignore[attr-defined]
        assert (run.config.style is not None) == on[0], "a style net for the image level alone"
        starts.add(run.manifest["parents"]["init"]["sha256"])
    assert len(starts) == 1
    text = (out / "table.md").read_text()
    assert "| levels | image | feature | pose | seeds |" in text
    assert "| multilevel-image-pose | ✓ |  | ✓ | 1 |" in text
    assert r"multilevel-image-pose & $\checkmark$ &  & $\checkmark$ & 1 &" in (out / "table.tex").read_text()
    assert "Ablation: tiny" in (out / "report.html").read_text()
    ablate(file, tmp_path / "other", seeds=[0], add=[out / "scores.json"], quiet=True)
    assert not (tmp_path / "other/runs").exists()
    assert (tmp_path / "other/table.csv").read_text() == (out / "table.csv").read_text()
    with pytest.raises(UsageError, match="holds an ablation of another configuration"):
        ablate(file, out, seeds=[0], overrides=["common.batch_size=2"], quiet=True)


def test_which_stage_is_taken() -> None:
    stages = {
        "one": {"method": {"name": "multilevel", "levels": ["pose"]}},
        "two": {"method": {"name": "multilevel", "levels": []}},
        "last": {"method": {"name": "dann"}},
    }
    assert with_levels(recipes.recipe_of({"stages": stages}, origin="test")) == ("two", LEVELS)


def test_bad_input(recipe: Callable[..., Path], tmp_path: Path) -> None:
    plain = recipes.recipe_of({"stages": {"one": {"method": {"name": "dann"}}}}, origin="test")
    with pytest.raises(
        ConfigError, match=r"no stage of this recipe has a method with `levels` .*that have them: multil"
    ):
        with_levels(plain)
    for options, words in (
        ({"seeds": [1, 1]}, "--seeds: 1 stands there 2 times"),
        ({"baseline": "source"}, "--baseline 'source': is no row of this table; choose from multilevel-none, "),
        ({"overrides": ["stages.multilevel.style=null"]}, "'multilevel-image': the method .* needs `style`"),
        ({"overrides": ["study.test=null"]}, "study.test"),
    ):
        with pytest.raises(UsageError, match=words):
            ablate(recipe(), tmp_path / "out", **{"seeds": [0], "quiet": True, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
