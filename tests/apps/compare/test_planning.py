from pathlib import Path
from typing import Any

import pytest
from tests import tiny
from tests.apps.compare.conftest import RECIPE

from poseshift.apps import recipes
from poseshift.apps.compare import planning
from poseshift.apps.recipes import Recipe
from poseshift.errors import ConfigError
from poseshift.methods import METHODS

PRESETS = ("adapt", "adapt-paper", "demo", "demo-quick")


def recipe(**change: Any) -> Recipe:
    return recipes.recipe_of({**RECIPE, **change}, origin="test")


@pytest.mark.parametrize("file", sorted(path.stem for path in (tiny.ROOT / "recipes/daml").glob("*.yaml")))
def test_every_method_has_a_stage_on_every_recipe(file: str) -> None:
    """The same data, starts, steps, batches and views; and no source for those that read none."""
    loaded = recipes.load(tiny.ROOT / f"recipes/daml/{file}.yaml")
    names = [name for name, method in METHODS.items() if method.makes == "pose net" and name not in loaded.stages]
    names = [name for name in names if not METHODS[name].Config().needs_prior]  # whose recipe trains one
    whole = planning.with_methods(loaded, names)
    found, last = planning.settings_of(whole), list(loaded.stages)[-1]
    for name in names:
        own, theirs = found[name], found[last]
        assert own.method.name == name
        same = {"target", "model", "heatmap", "augment", "input_size", "steps", "batch_size", "optimiser", "precision"}
        assert own.model_dump(include=same) == theirs.model_dump(include=same)
        assert own.init == theirs.init
        assert own.source == (theirs.source if "source" in own.method.needs else None)
        assert own.style == (theirs.style if own.method.needs_style else None)
        if "ema_decay" in type(own.method).model_fields:
            assert own.method.ema_decay == theirs.method.ema_decay  # type: ignore[attr-defined]


def test_what_the_last_stage_lacks_is_taken_from_the_latest_that_has_it() -> None:
    stages = {**RECIPE["stages"], "shot": {"method": {"name": "shot"}, "source": None, "init": "source"}}
    found = planning.derived(recipe(stages=stages), "uniframe")
    assert (found["style"], found["init"]) == ("style", "source")
    alone = {"source": {"method": {"name": "source_only"}}}
    with pytest.raises(ConfigError, match="stage 'shot': the method 'shot' needs `init`, which neither the stage nor"):
        planning.settings_of(planning.with_methods(recipe(stages=alone), ["shot"]))


def test_a_method_that_asks_a_prior_gets_it_from_its_own_options() -> None:
    stages = {"prior": {"method": {"name": "pose_prior"}}, **RECIPE["stages"]}
    with pytest.raises(ConfigError, match="stage 'post': the method 'post' needs `prior`"):
        planning.settings_of(planning.with_methods(recipe(stages=stages), ["post"]))
    whole = planning.with_methods(recipe(stages=stages, methods={"post": {"prior": "prior"}}), ["post"])
    assert planning.settings_of(whole)["post"].prior == "prior"
    assert "prior" in whole.only(["post"]).stages
    unasked = planning.with_methods(recipe(methods={"post": {"method": {"prior_weight": 0}}}), ["post"])
    assert planning.settings_of(unasked)["post"].prior is None


def test_a_recipe_may_give_a_method_another_average() -> None:
    own = {"dann": {"method": {"ema_decay": 0.9}}}
    assert planning.derived(recipe(methods=own), "dann")["method"] == {"name": "dann", "ema_decay": 0.9}
    assert planning.derived(recipe(methods={}), "dann")["method"] == {"name": "dann", "ema_decay": 0.5}


def test_equal_stages_share_a_run_with_all_that_start_from_them() -> None:
    stages = {
        "one": {"method": {"name": "source_only"}},
        "two": {"method": {"name": "source_only", "ema_decay": 0.0}},
        "from_one": {"method": {"name": "dann"}, "init": "one"},
        "from_two": {"method": {"name": "dann"}, "init": "two"},
        "other": {"method": {"name": "dann"}, "init": "two", "steps": 9},
    }
    merged, runs = planning.sharing(recipe(stages=stages))
    assert runs == {"one": "one", "two": "one", "from_one": "from_one", "from_two": "from_one", "other": "other"}
    assert list(merged.stages) == ["one", "from_one", "other"]
    assert merged.stage("other", Path("x")).init == "x/one"
    assert merged.only(["other"]).stages.keys() == {"one", "other"}
