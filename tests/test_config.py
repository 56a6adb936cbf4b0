from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from poseshift import config
from poseshift.config import RunConfig
from poseshift.errors import ConfigError

RAW: dict[str, Any] = {"method": {"name": "source_only"}, "source": {"data": "figures:source"}}


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(raw, origin="x.yaml")
    text = str(caught.value)
    assert text.startswith("x.yaml: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("method", tiny.METHODS)
def test_a_dumped_configuration_reads_back_equal(method: str, tmp_path: Path) -> None:
    change = {
        "target": {"mapping": {"a": "b", "c": ["d", "e"]}},
        "init": "runs/a",
        "augment": {"source": {"scale": [0.5, 2]}},
    }
    settings = tiny.settings(method, change)
    file = tmp_path / "run.yaml"
    file.write_text(config.dump(settings), encoding="utf-8")
    assert config.parse(config.load(file)) == settings
    assert settings.target is not None
    assert settings.target.mapping == {"a": "b", "c": ("d", "e")}


def test_it_is_frozen() -> None:
    settings: RunConfig = config.parse(RAW)
    with pytest.raises(ValueError, match="frozen"):
        settings.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({**RAW, "stepps": 3}, ["unknown key 'stepps'", "did you mean 'steps'?", "known: agreement_images", "workers"]),
        (
            {**RAW, "source": {"data": "a", "splitt": "b"}},
            ["unknown key 'source.splitt'", "did you mean 'split'?", "known: boxes, data, label_boxes, limit, mapping"],
        ),
        (
            {**RAW, "method": {"name": "multilevel", "levls": []}},
            ["unknown key 'method.levls'", "did you mean 'levels'?", "domain_weight"],
        ),
        ({**RAW, "source": {"data": "a", "style": 1}}, ["unknown key 'source.style'", "known: boxes, data"]),
        ({**RAW, "augment": {"sauce": {}}}, ["'augment.sauce'", "did you mean 'source'?", "student, teacher"]),
        ({**RAW, "augment": {"source": {"rotate": 1}}}, ["'augment.source.rotate'", "rotation", "shear"]),
        ({**RAW, "style": 3}, ["style: Input should be a valid string, found 3"]),
        ({**RAW, "steps": "many"}, ["steps: Input should be a valid integer", "found 'many'"]),
        ({**RAW, "steps": 0}, ["steps: Input should be greater than or equal to 1, found 0"]),
        ({**RAW, "input_size": 50}, ["input_size 50 is no multiple of 32; choose 64"]),
        (
            {**RAW, "method": {"name": "cyclegan"}},
            ["method: unknown name 'cyclegan'; known: source_only, uniframe, mu"],
        ),
        ({**RAW, "method": {}}, ["method: has no `name`; known: source_only"]),
        ({"steps": 3}, ["method: Field required"]),
        ({**RAW, "method": {"name": "multilevel", "levels": ["image", "image"]}}, ["method.levels", "levels repeat"]),
        ({**RAW, "method": {"name": "multilevel", "levels": ["colour"]}}, ["method.levels.0", "'image'", "'colour'"]),
        (
            {**RAW, "precision": "16", "seed": -1},
            ["seed: Input should be greater than or equal to 0, found -1 (and 1 more)"],
        ),
        ({**RAW, "augment": {"source": {"scale": [2, 1]}}}, ["augment.source.scale", "expected 0 < low <= high"]),
        (
            {**RAW, "augment": {"source": {"noise": [0.5, 2]}}},
            ["augment.source.noise: expected a number from 0 to 1, or"],
        ),
        *(
            (
                {**RAW, "source": {"data": "a", "mapping": {"pelvis": wrong}}},
                ["source.mapping.pelvis: expected the name of a source keypoint, or two different ones as [left_hip, "],
            )
            for wrong in (["left_hip"], ["left_hip", "left_hip"], ["a", "b", "c"], ["a", ""], 3, {"a": 1, "b": 2})
        ),
        ({**RAW, "device": ["x" * 5000]}, ["device: Input should be a valid string", "…"]),
    ],
)
def test_what_does_not_validate_is_one_line(raw: dict[str, Any], words: list[str]) -> None:
    text = refused(raw)
    assert [word for word in words if word not in text] == []
    assert len(text) < 1000


def test_overrides_set_one_value() -> None:
    found = config.override(RAW, ["optimiser.rate=1e-3", "source.limit=5", "model={width: 32}", "style=null", "seed=7"])
    assert found["optimiser"] == {"rate": "1e-3"} or found["optimiser"] == {"rate": 0.001}
    assert found["source"] == {"data": "figures:source", "limit": 5}
    assert (found["model"], found["style"], found["seed"]) == ({"width": 32}, None, 7)
    settings: RunConfig = config.parse(found)
    assert settings.optimiser.rate == 0.001
    assert RAW["source"] == {"data": "figures:source"}, "the original is untouched"


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=3", ".a=3", "a.=3", "method=[1", "steps=: :", "x={a: b"])
def test_overrides_that_do_not_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set ") as caught:
        config.override(RAW, [text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1", "not YAML"),
        (b"- 1\n- 2", "found list, expected a mapping"),
        (b"", "found NoneType"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_files_that_are_no_mapping_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        config.load(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.yaml", "."])
def test_files_that_cannot_be_read_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        config.load(tmp_path / name)


trees = st.recursive(
    st.integers() | st.sampled_from(["", "x"]) | st.none(),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from(["a", "b", "c"]), trees, max_size=3)


def slow_merge(base: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    base = base if isinstance(base, dict) else {}
    return {k: slow_merge(base.get(k), change[k]) if k in change else base[k] for k in {**base, **change}}


@given(base=mappings, change=mappings)
def test_merge_is_the_slow_merge(base: dict[str, Any], change: dict[str, Any]) -> None:
    before = yaml.safe_dump(base)
    assert config.merge(base, change) == slow_merge(base, change)
    assert config.merge(base, {}) == base
    assert yaml.safe_dump(base) == before


def test_every_field_says_what_it_is() -> None:
    """Descriptions are what the documentation shows; a unit or a meaning that its name does not give."""
    obvious = {"source", "student", "teacher", "heatmap", "optimiser", "augment", "model", "method"}
    obvious |= {"steps", "seed", "precision", "log_every", "save_every"}
    bare = [name for name, field in RunConfig.model_fields.items() if not field.description and name not in obvious]
    assert bare == []
