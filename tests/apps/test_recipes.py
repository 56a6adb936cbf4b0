from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import tiny

from poseshift.apps import recipes
from poseshift.config import RunConfig
from poseshift.errors import ConfigError

RAW: dict[str, Any] = {
    "common": {**tiny.COMMON, "steps": 1, "save_every": 1},
    "stages": {
        "first": {"method": {"name": "source_only"}},
        "second": {"method": {"name": "source_only", "ema_decay": 0.5}, "init": "first", "steps": 2},
    },
}
PRESETS = ("adapt", "adapt-paper", "demo", "demo-quick")


def recipe() -> recipes.Recipe:
    return recipes.recipe_of(RAW, origin="test")


@pytest.mark.parametrize("name", PRESETS)
def test_every_stage_of_every_preset_is_a_valid_run(name: str, tmp_path: Path) -> None:
    found = recipes.preset(name)
    data = {"source": {"data": "figures:source"}, "target": {"data": "figures:middle"}}
    whole = recipes.recipe_of({"common": {**data, **found.common}, "stages": found.stages}, origin=name)
    settings = [whole.stage(stage, tmp_path) for stage in whole.stages]
    assert all(isinstance(one, RunConfig) for one in settings)
    assert {"source", "target"} <= settings[-1].method.needs, "the last stage adapts"
    assert settings[-1].init == str(tmp_path / "source")


def test_the_preset_of_the_paper_is_its_recipe_without_the_data() -> None:
    found, published = recipes.preset("adapt-paper"), recipes.load(tiny.ROOT / "recipes/daml/surreal-lsp.yaml")
    assert dict(found.stages) == dict(published.stages)
    assert dict(found.common) == {key: published.common[key] for key in published.common if key in found.common}
    assert set(published.common) - set(found.common) == {"source", "target"}
    assert found.stages["adapt"]["method"]["pose"] == "released"


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="preset 'best' is unknown; expected one of adapt, adapt-paper, demo, demo-q"):
        recipes.preset("best")


def test_a_stage_names_an_earlier_one(tmp_path: Path) -> None:
    assert recipe().stage("second", tmp_path).init == str(tmp_path / "first")
    assert recipe().stage("first", tmp_path).steps == 1
    assert recipe().stage("second", tmp_path).steps == 2
    other = recipes.recipe_of({**RAW, "stages": {"first": {**RAW["stages"]["first"], "init": "second"}}}, origin="x")
    assert other.stage("first", tmp_path).init == "second", "what is no earlier stage is a path"


def test_the_last_stage_needs_its_parents_alone() -> None:
    stages = {
        "style": {"method": {"name": "style"}},
        "first": {"method": {"name": "source_only"}},
        "source": {"method": {"name": "source_only"}, "init": "first"},
        "oracle": {"method": {"name": "source_only"}, "oracle": True},
        "result": {"method": {"name": "multilevel"}, "init": "source", "style": "style"},
    }
    recipe = recipes.recipe_of({"stages": stages}, origin="here")
    assert list(recipe.needed().stages) == ["style", "first", "source", "result"]


def test_overrides() -> None:
    found = recipe().overridden(["common.seed=3", "stages.second.steps=9", "common.optimiser.rate=0.5"])
    assert (found.common["seed"], found.stages["second"]["steps"], found.common["optimiser"]) == (3, 9, {"rate": 0.5})
    with pytest.raises(ConfigError, match=r"--set: unknown key 'seed'; .*write common.KEY=VALUE or stages.NAME.KEY"):
        recipe().overridden(["seed=3"])
    with pytest.raises(
        ConfigError, match=f"--set: unknown stage 'fourth'; this recipe has {', '.join(recipe().stages)}$"
    ):
        recipe().overridden(["stages.fourth.steps=9"])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"method": {"name": "source_only"}}, "unknown key 'method'; .*a single run is for `poseshift train`"),
        ({"common": {}}, "no `stages` mapping"),
        ({"stages": []}, "no `stages` mapping"),
        ({"stages": {}}, "no `stages` mapping"),
        ({"stages": {"a": 3}}, "a: found 3, expected a mapping"),
        ({"common": [1], "stages": {"a": {}}}, r"common: found \[1\], expected a mapping"),
        ({1: 2, "stages": {"a": {}}}, "unknown key '1'"),
    ],
)
def test_what_is_no_recipe(raw: dict[Any, Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=words) as caught:
        recipes.load(file)
    assert str(caught.value).startswith(str(file))


BASE = """
common: {input_size: 64, augment: {source: {rotation: 5}}}
stages:
  style: {method: {name: style}}
  source: {method: {name: source_only, stylise: true}, style: style}
  adapt: {method: {name: multilevel, pose: released}, init: source, style: style, steps: 7}
study: {pairs: [[adapt, source]]}
"""
OTHER = """
extends: ../base.yaml
common: {augment: {source: {shear: 3}}}
stages:
  style: null
  prior: {method: {name: pose_prior}}
  source: {method: {stylise: false}, style: null}
  adapt: {method: {name: dann, domain_weight: 0.5}, style: null}
"""


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "there/other.yaml").write_text(OTHER)
    found = recipes.load(tmp_path / "there/other.yaml")
    assert found.common == {"input_size": 64, "augment": {"source": {"rotation": 5, "shear": 3}}}
    assert list(found.stages) == ["source", "prior", "adapt"], "the result stays the last"
    assert found.stages["source"] == {"method": {"name": "source_only", "stylise": False}, "style": None}
    adapt = {"method": {"name": "dann", "domain_weight": 0.5}, "init": "source", "style": None, "steps": 7}
    assert found.stages["adapt"] == adapt, "options of another method are gone, the rest stays"
    assert found.study == {"pairs": [["adapt", "source"]]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: a.yaml", r"a\.yaml: extends itself, by way of .*a\.yaml; take one `extends` out"),
        ("extends: [3]", r"a\.yaml: extends: found \[3\], expected the path of a recipe, relative to this file"),
        ("extends: missing.yaml", r"missing\.yaml: cannot read the configuration \(No such file"),
        ("{extends: base.yaml, stages: 4}", r"a\.yaml: stages: expected a mapping of stages; `NAME: null` leaves one"),
        ("{extends: base.yaml, stages: {adapt: 4}}", r"a\.yaml: stages: expected a mapping of stages"),
    ],
)
def test_what_cannot_be_extended(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        recipes.load(tmp_path / "a.yaml")


def test_a_stage_that_does_not_validate_is_named(tmp_path: Path) -> None:
    wrong = {**RAW, "stages": {**RAW["stages"], "third": {"method": {"name": "source_only"}, "stepps": 1}}}
    with pytest.raises(ConfigError, match="stage 'third': unknown key 'stepps'; did you mean 'steps'"):
        list(recipes.train_stages(recipes.recipe_of(wrong, origin="x"), tmp_path, command=""))
    assert not list(tmp_path.iterdir()), "nothing is trained before every stage is valid"


def test_stages_are_trained_in_turn_and_finished_ones_skipped(tmp_path: Path) -> None:
    done = [(name, run.path) for name, run in recipes.train_stages(recipe(), tmp_path, command="c", quiet=True)]
    assert done == [("first", tmp_path / "first"), ("second", tmp_path / "second")]
    before = (tmp_path / "first" / "manifest.json").stat().st_mtime_ns
    runs = [run for _, run in recipes.train_stages(recipe(), tmp_path, command="c", quiet=True)]
    assert all(run.finished for run in runs)
    assert (tmp_path / "first" / "manifest.json").stat().st_mtime_ns == before
    assert runs[1].manifest["parents"]["init"]["run"] == str(tmp_path / "first")
