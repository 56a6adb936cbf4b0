from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest
import yaml

from poseshift import config
from poseshift.apps.doctor import partners
from poseshift.data import formats, sources
from poseshift.data.skeletons import from_names
from poseshift.errors import UsageError
from poseshift.types import Annotations, Skeleton

NONE = Skeleton(name="none", keypoints=())


def source(*names: str) -> Annotations:
    """Four instances; keypoint ``k`` is labelled in ``k`` of them, and visible in all but one of these."""
    data, count = formats.read("figures:plain,side=48,count=4"), len(names)
    visible = np.zeros((4, count), np.uint8)
    for k in range(count):
        visible[: min(k, 4), k] = 2
        visible[: min(k, 1), k] = 1
    keypoints = np.full((4, count, 2), 5, np.float32)
    return replace(data, skeleton=from_names("own", names), keypoints=keypoints, visible=visible)


def mapping_of(suggestion: str) -> dict[str, str]:
    flag, value = shlex.split(suggestion)
    assert flag == "--set"
    found: dict[str, str] = config.override({}, [value])["common"]["source"]["mapping"]
    return found


def test_the_table_says_who_is_learnt_from_whom() -> None:
    own = source("Nose", "L_Hand", "r_wrist", "tail_mid", "belly")
    wanted = from_names("t", ["nose", "left_wrist", "right_wrist", "tail_middle", "left_ear"])
    found = partners.find(own, wanted, {})
    assert [(row.target, row.source, row.how) for row in found.rows] == [
        ("nose", "Nose", "same name"),
        ("left_wrist", "L_Hand", "synonym"),
        ("right_wrist", "r_wrist", "same name"),
        ("tail_middle", None, "none"),
        ("left_ear", None, "none"),
    ]
    assert [row.labelled for row in found.rows] == [0, 0.25, 0.5, None, None]
    assert [row.visible for row in found.rows] == [0, 0, 0.25, None, None]
    assert found.missing == ("tail_middle", "left_ear")
    assert found.unused == ("tail_mid", "belly")
    assert found.rows[3].guess == "tail_mid"
    assert found.rows[4].guess is None
    assert found.refused == "", "five for five: training goes on and warns"
    assert mapping_of(found.suggestion) == {"tail_middle": "tail_mid", "left_ear": ""}


def test_what_training_refuses_and_what_the_suggestion_mends() -> None:
    own = source("nose", "left_ear", "tail")
    wanted = from_names("t", ["nose", "leftear", "withers", "tail"])
    found = partners.find(own, wanted, {})
    assert "give `mapping:" in found.refused
    assert found.rows[1].guess == "left_ear"
    mapping = mapping_of(found.suggestion)
    assert mapping == {"leftear": "left_ear", "withers": ""}
    again = partners.find(own, wanted, mapping)
    assert (again.refused, again.missing, again.suggestion) == ("", (), "")
    assert [row.how for row in again.rows] == ["same name", "configured", "left out", "same name"]
    assert sources.skeleton_map(own.skeleton, wanted, mapping, origin="x").index == (0, 1, -1, 2)


def test_a_name_with_two_partners() -> None:
    found = partners.find(source("L_Paw", "left_paw", "nose"), from_names("t", ["left paw", "nose"]), {})
    assert [row.how for row in found.rows] == ["several", "same name"]
    assert "could be any of" in found.refused
    assert mapping_of(found.suggestion) == {"left paw": "L_Paw"}


def test_no_name_in_common_asks_for_all() -> None:
    found = partners.find(source("a", "b"), from_names("t", ["snout", "tail: tip"]), {})
    assert found.refused
    assert mapping_of(found.suggestion) == {"snout": "SOURCE_NAME", "tail: tip": "SOURCE_NAME"}


def test_names_that_a_shell_would_read_are_quoted() -> None:
    found = partners.find(source("nose", "b"), from_names("t", ["nose", "$HOME", 'the "tip"']), {})
    assert mapping_of(found.suggestion) == {"$HOME": "", 'the "tip"': ""}


def test_equal_skeletons_and_targets_without_names() -> None:
    own = source("L_Paw", "left_paw")
    same = partners.find(own, own.skeleton, {})
    assert (same.refused, same.missing, same.named) == ("", (), True)
    bare = partners.find(own, NONE, {})
    assert [(row.target, row.source) for row in bare.rows] == [("L_Paw", "L_Paw"), ("left_paw", "left_paw")]
    assert not bare.named


def test_a_mapping_that_names_nothing() -> None:
    with pytest.raises(UsageError, match="'beak' is no keypoint of the target"):
        partners.find(source("a"), from_names("t", ["a", "b"]), {"beak": "a"})


def test_the_suggestion_is_yaml_that_a_recipe_takes_too() -> None:
    found = partners.find(source("a", "b"), from_names("t", ["a", "null", "on"]), {})
    text = shlex.split(found.suggestion)[1].partition("=")[2]
    assert yaml.safe_load(text) == {"null": "", "on": ""}
