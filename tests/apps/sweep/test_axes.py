from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apps.compare.conftest import RECIPE

from poseshift.apps import recipes
from poseshift.apps.recipes import Recipe
from poseshift.apps.sweep import axes
from poseshift.apps.sweep.axes import Axis, Range
from poseshift.errors import ConfigError


def recipe() -> Recipe:
    return recipes.recipe_of(RECIPE, origin="test")


def checked(word: str, *, guided: bool = False) -> Axis:
    (axis,) = axes.checked(recipe(), "multilevel", axes.parsed([word])[1], guided=guided)
    return axis


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("method.domain_weight=0.001,0.01,0.1,1", (0.001, 0.01, 0.1, 1.0)),
        ("method.domain_weight=1e-3, 1e-2", (0.001, 0.01)),
        ("method.domain_weight=0.5", (0.5,)),
        ("method.levels=[image,pose],[image],[]", (["image", "pose"], ["image"], [])),
        ("method.occlusion=true,false", (True, False)),
        ("method.pose=calibrated,released", ("calibrated", "released")),
        ("augment.source.scale=[0.9, 1.1],[0.8, 1.2]", ([0.9, 1.1], [0.8, 1.2])),
        ("steps=3,4", (3, 4)),
        ("method.mask_fraction=.25,.5", (0.25, 0.5)),
    ],
)
def test_values_are_those_of_a_yaml_list(word: str, values: tuple[Any, ...]) -> None:
    assert checked(word).values == values


def test_keys_of_the_recipe_are_changes_of_it() -> None:
    words = ["common.target.data=lsp:a,b", "stages.source.steps=3", "study.test.every=2", "steps=3,4"]
    overrides, swept = axes.parsed(words)
    assert (overrides, swept) == (words[:3], {"steps": [3, 4]})


@pytest.mark.parametrize(
    ("word", "words"),
    [
        (
            "method.domain_wait=1,2",
            r"--set method.domain_wait=1: unknown key 'method.domain_wait'; did you mean 'domain_w",
        ),
        ("method.domain_weight=0.1,-1", "--set method.domain_weight=-1: method.domain_weight: .*greater.*found -1"),
        ("method.domain_weight=a", "--set method.domain_weight=a: .*number"),
        ("method.domain_weight=", "the list of values is empty"),
        ("method.domain_weight=0.1,0.10", "0.1 stands there twice"),
        ("method.domain_weight=[1", "no list of values"),
        ("method.domain_weight", "expected KEY.KEY=VALUE,VALUE"),
        ("=3", "expected KEY.KEY=VALUE,VALUE"),
        ("seed=1,2", "seeds are not swept"),
        ("method.domain_weight=0.1..1", "a range is for --guided"),
        ("method.domain_weight=a..b", "a range has two numbers"),
    ],
)
def test_bad_input(word: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        checked(word)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("method.domain_weight=1..0.1", "of which the first is the lower"),
        ("method.domain_weight=-1..1", "--set method.domain_weight=-1.0: .*found -1"),
        ("method.domain_weight=0..inf", "of which the first is the lower"),
        ("method.domain_wait=0..1", "unknown key 'method.domain_wait'"),
        ("method.levels=0..1", "levels"),
        ("method.occlusion=0..1", "is true or false"),
    ],
)
def test_bad_ranges(word: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked(word, guided=True)


def test_nothing_twice_and_nothing_at_all() -> None:
    with pytest.raises(ConfigError, match="--set steps: stands there twice"):
        axes.parsed(["steps=1", "steps=2"])
    with pytest.raises(ConfigError, match="--set: nothing to sweep; --set KEY=VALUE,VALUE sweeps"):
        axes.checked(recipe(), "multilevel", {}, guided=False)


def test_ranges_by_decades() -> None:
    assert checked("method.domain_weight=0.001..1", guided=True).span == Range(low=0.001, high=1.0)
    assert Range(low=0.001, high=1.0).logarithmic
    assert not Range(low=0.2, high=1.0).logarithmic
    assert not Range(low=0.0, high=1.0).logarithmic


def test_grid_and_one_at_a_time() -> None:
    both = [Axis(key="a", values=(1, 2)), Axis(key="b", values=(3, 4, 5))]
    assert len(list(axes.grid(both))) == 6
    own = {"a": 1, "b": 9}
    assert list(axes.one_at_a_time(both, own)) == [
        {"a": 1, "b": 9}, {"a": 2, "b": 9}, {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 1, "b": 5},
    ]  # fmt: skip


VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text(max_size=30), st.lists(st.text(max_size=9))
)


@given(VALUES, VALUES)
def test_names_are_folders_and_differ(one: Any, other: Any) -> None:
    names = [axes.name_of({"method.x": value}) for value in (one, other)]
    assert all(len(name) <= 100 and "/" not in name and name.strip() == name for name in names)
    assert (names[0] == names[1]) == (str(axes.mark(one)) == str(axes.mark(other)))
