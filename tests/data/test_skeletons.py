from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from poseshift.data.skeletons import (
    ANIMAL14,
    ANIMALPOSE20,
    COCO17,
    LSP,
    SKELETONS,
    KeypointMap,
    Partner,
    apply,
    from_names,
    known_or_new,
    map_keypoints,
    match,
    nearest,
)
from poseshift.data.skeletons.animals import ANIMAL18, AP10K17, BADJA20
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Images, Skeleton


class Blank:
    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> np.ndarray:
        return np.zeros((3, 5, 3), np.uint8)

    def key(self, index: int) -> str:
        return "blank"


def annotate(skeleton: Skeleton, n: int = 4) -> Annotations:
    k = len(skeleton)
    images: Images = Blank()
    return Annotations(
        name="test",
        images=images,
        image_index=np.zeros(n, np.int64),
        skeleton=skeleton,
        keypoints=np.arange(n * k * 2, dtype=np.float32).reshape(n, k, 2),
        visible=np.full((n, k), 2, np.uint8),
        boxes=np.full((n, 4), np.nan, np.float32),
        groups=np.array(["g"] * n),
        categories=np.array(["c"] * n),
    )


def test_lsp_is_the_published_order_with_the_fields_groups() -> None:
    assert LSP.groups["shoulder"] == (8, 9)
    assert LSP.groups["wrist"] == (6, 11)
    assert LSP.groups["head"] == (13,)
    assert len(LSP.mean_keypoints) == 12
    assert not {12, 13} & set(LSP.mean_keypoints)


def test_animal14_groups_are_those_of_the_papers_table() -> None:
    assert dict(ANIMAL14.groups) == {
        "eye": (0, 1),
        "hoof": (2, 3, 4, 5),
        "knee": (6, 7, 8, 9),
        "elbow": (10, 11, 12, 13),
    }
    assert list(map_keypoints(ANIMALPOSE20, ANIMAL14).index) == [0, 1, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8]


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_mirroring_swaps_left_and_right_and_nothing_else(skeleton: Skeleton) -> None:
    for i, j in enumerate(skeleton.flip_index):
        name = skeleton.keypoints[i]
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert skeleton.keypoints[j] == swapped


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_every_keypoint_that_a_table_counts_is_in_one_group(skeleton: Skeleton) -> None:
    members = [skeleton.keypoints[i] for group in skeleton.groups.values() for i in group]
    trunk = {"pelvis", "thorax", "neck"} if "thorax" in skeleton.keypoints else {"neck"}
    outside = {"lsp": trunk, "mpii16": trunk, "human16": trunk, "hand21": {"wrist"}}.get(skeleton.name, set())
    assert sorted(members) == sorted(set(skeleton.keypoints) - outside)


def test_pairs_and_groups_come_from_many_ways_to_write_a_side() -> None:
    made = from_names(
        "x", ["L_Eye", "R_Eye", "wing left", "wing right", "leftEar", "rightEar", "l_1_r", "l_1_l", "tail"]
    )
    assert made.flip_pairs == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert list(made.groups) == ["eye", "wing", "ear", "l_1", "tail"]


@pytest.mark.parametrize(
    ("left", "right", "group"),
    [
        ("leftear", "rightear", "ear"),
        ("earleft", "earright", "ear"),
        ("LWrist", "RWrist", "wrist"),
        ("lwrist", "rwrist", "wrist"),
        ("wristL", "wristR", "wrist"),
        ("forelegL4", "forelegR4", "foreleg_4"),
        ("ma_l_end", "ma_r_end", "ma_end"),
        ("l_1_co_l", "l_1_co_r", "l_1_co"),
        ("paw_FL", "paw_FR", "paw_f"),
        ("RL", "RR", "r"),
        ("Nearhindhock", "Offhindhock", "hindhock"),
        ("near_knee", "off_knee", "knee"),
        ("lefthindpaw_tip", "righthindpaw_tip", "hindpaw_tip"),
    ],
)
def test_a_side_is_read_wherever_its_partner_is_there(left: str, right: str, group: str) -> None:
    made = from_names("x", ["tail", right, left])
    assert made.flip_pairs == ((1, 2),)
    assert dict(made.groups) == {"tail": (0,), group: (1, 2)}
    alone = from_names("x", [left, "tail"])
    assert alone.flip_pairs == ()
    assert list(alone.groups) == [left, "tail"]
    whole = from_names("y", ["tail", f"left_{group}", f"right_{group}"])
    assert map_keypoints(made, whole).index == (0, 2, 1)


def test_pairs_of_many_legs() -> None:
    """The corners of a quadruped, however they are called, mirror across the body and not along it."""
    for names in ("FL FR RL RR", "LF RF LH RH", "paw_lf paw_rf paw_lr paw_rr"):
        made = from_names("x", names.split())
        assert made.flip_pairs == ((0, 1), (2, 3)), names


@given(st.lists(st.text("lrnefightoaw_", min_size=1, max_size=7), min_size=1, max_size=12, unique=True))
def test_whatever_the_names_a_pair_is_of_two(names: list[str]) -> None:
    made = from_names("x", names)
    ends = [i for pair in made.flip_pairs for i in pair]
    assert len(ends) == len(set(ends))
    assert sorted(i for group in made.groups.values() for i in group) == list(range(len(names)))


def test_two_spellings_of_the_same_side_stay_apart() -> None:
    made = from_names("x", ["leftear", "rightear", "left_ear", "right_ear"])
    assert made.flip_pairs == ((2, 3),)
    assert known_or_new("person", [name.replace("_", "") for name in COCO17.keypoints]) is COCO17


def test_a_side_without_a_partner_is_no_pair() -> None:
    made = from_names("x", ["left_horn", "l", "right_eye"])
    assert made.flip_pairs == ()
    assert set(made.groups) == {"left_horn", "l", "right_eye"}


def test_known_names_bring_the_known_skeleton() -> None:
    assert known_or_new("person", [name.upper() for name in COCO17.keypoints]) is COCO17
    assert known_or_new("person", COCO17.keypoints[::-1]).name == "person"


def test_a_foreign_animalpose_order_is_mapped_by_name() -> None:
    foreign = "L_Eye R_Eye L_EarBase R_EarBase Nose Throat TailBase Withers L_F_Elbow R_F_Elbow L_B_Elbow R_B_Elbow"
    foreign += " L_F_Knee R_F_Knee L_B_Knee R_B_Knee L_F_Paw R_F_Paw L_B_Paw R_B_Paw"
    found = map_keypoints(from_names("mmpose", foreign.split()), ANIMALPOSE20)
    assert found.missing == ()
    assert found.index[:5] == (0, 1, 4, 2, 3)
    assert found.index[5:17] == tuple(range(8, 20))


def test_synonyms_only_fill_what_equal_names_leave() -> None:
    source = from_names("s", ["left_hand", "right_hand", "left_hoof", "head"])
    target = from_names("t", ["left_wrist", "right_wrist", "left_paw", "head_top", "left_hand"])
    found = map_keypoints(source, target)
    assert found.index == (-1, 1, 2, 3, 0)
    assert found.missing == ("left_wrist",)


def test_overrides_come_first_and_can_forbid_a_partner() -> None:
    found = map_keypoints(COCO17, LSP, {"head_top": "nose", "left_knee": ""})
    assert found.index[13] == 0
    assert set(found.missing) == {"neck", "left_knee"}


@pytest.mark.parametrize(
    "overrides",
    [
        {"head_top": "snout"},
        {"beak": "nose"},
        {"neck": "nose", "head_top": "nose"},
        {"neck": ("left_shoulder", "snout")},
        {"neck": ("nose", "nose")},
        {"neck": ("nose", "")},
    ],
    ids=str,
)
def test_an_override_that_cannot_be_names_both_lists(overrides: dict[str, Partner]) -> None:
    with pytest.raises(UsageError, match=r"left_ankle.*head_top.*mapping: \{target_name: source_name\}"):
        map_keypoints(COCO17, LSP, overrides)


def test_a_mid_point_leaves_its_keypoints_free_and_says_how_all_were_found() -> None:
    shoulders = ("left_shoulder", "right_shoulder")
    found = map_keypoints(COCO17, LSP, {"neck": shoulders, "head_top": "nose", "left_knee": ""})
    by_name = {name: (found.partners[i], found.how[i]) for i, name in enumerate(LSP.keypoints)}
    assert by_name["neck"] == ((5, 6), "mid-point")
    assert by_name["left_shoulder"] == ((5,), "same name")
    assert by_name["head_top"] == ((0,), "configured")
    assert by_name["left_knee"] == ((), "none")
    assert found.missing == ("left_knee",)
    assert found.unused == ("left_eye", "right_eye", "left_ear", "right_ear", "left_knee")
    assert found.index[12] == -1
    lines = found.table().splitlines()
    assert lines[0] == "keypoints, target (lsp) ← source (coco17):"
    assert len(lines) == 1 + 14 + 1
    assert "  neck           ← left_shoulder + right_shoulder  mid-point" in lines
    assert "  left_knee      ← –                               none: never labelled" in lines
    assert lines[-1] == "  not used of the source: left_eye, right_eye, left_ear, right_ear, left_knee"
    assert map_keypoints(from_names("s", ["left_hand"]), from_names("t", ["left_wrist"])).how == ("synonym",)


names5 = st.sampled_from(["a", "b", "c", "d", "e"])


@given(
    partners=st.lists(
        st.one_of(st.just(()), names5.map(lambda name: (name,)), st.lists(names5, min_size=2, max_size=2, unique=True)),
        min_size=1,
        max_size=6,
    ),
    visible=arrays(np.uint8, (3, 5), elements=st.integers(0, 2)),
    keypoints=arrays(np.float32, (3, 5, 2), elements=st.floats(-1e4, 1e4, width=32)),
)
def test_every_keypoint_is_the_mean_of_what_it_is_made_of(
    partners: list[tuple[str, ...]], visible: np.ndarray, keypoints: np.ndarray
) -> None:
    """Against the rules, one number at a time; a copy keeps every bit."""
    source, target = from_names("s", list("abcde")), from_names("t", [f"t{i}" for i in range(len(partners))])
    columns = tuple(tuple(source.keypoints.index(name) for name in partner) for partner in partners)
    mapping = KeypointMap(source=source, target=target, partners=columns, how=("configured",) * len(partners))
    before = replace(annotate(source, 3), visible=visible, keypoints=keypoints)
    after = apply(before, mapping)
    for n in range(3):
        for k, made_of in enumerate(columns):
            flags = [int(visible[n, i]) for i in made_of]
            expected = 0 if not flags or 0 in flags else 1 if 1 in flags else 2
            assert after.visible[n, k] == expected
            for axis in range(2):
                values = [keypoints[n, i, axis] for i in made_of]
                mean = np.float32(sum(values) / len(values)) if expected else np.float32(0)
                assert after.keypoints[n, k, axis] == mean
    assert (after.keypoints.dtype, after.visible.dtype) == (np.float32, np.uint8)


def test_an_ambiguous_name_is_refused() -> None:
    source = from_names("s", ["L_Paw", "left_paw"])
    with pytest.raises(DataError, match=r"'left_paw' could be any of \['L_Paw', 'left_paw'\].*mapping:"):
        map_keypoints(source, from_names("t", ["left_paw"]))


def test_no_partner_at_all_names_both_lists() -> None:
    with pytest.raises(DataError, match=r"\['a', 'b'\].*'nose'.*mapping:"):
        map_keypoints(from_names("ab", ["a", "b"]), COCO17)


def test_apply_reorders_columns_and_unlabels_what_has_no_partner() -> None:
    before = annotate(COCO17)
    after = apply(before, map_keypoints(COCO17, LSP))
    assert after.skeleton is LSP
    for name in ("right_ankle", "left_elbow"):
        i, j = LSP.keypoints.index(name), COCO17.keypoints.index(name)
        np.testing.assert_array_equal(after.keypoints[:, i], before.keypoints[:, j])
    assert (after.visible[:, 12:] == 0).all()
    assert (after.keypoints[:, 12:] == 0).all()
    assert (after.visible[:, :12] == 2).all()


def test_apply_refuses_a_map_of_another_skeleton() -> None:
    with pytest.raises(DataError, match="make it from this data"):
        apply(annotate(LSP), map_keypoints(COCO17, LSP))


@given(st.permutations(COCO17.keypoints))
def test_any_order_of_the_same_names_maps_there_and_back(names: list[str]) -> None:
    shuffled = from_names("s", names)
    there, back = map_keypoints(COCO17, shuffled), map_keypoints(shuffled, COCO17)
    before = annotate(COCO17, 2)
    after = apply(apply(before, there), back)
    np.testing.assert_array_equal(after.keypoints, before.keypoints)
    assert [shuffled.keypoints[i] for i in shuffled.flip_index] == [
        COCO17.keypoints[COCO17.flip_index[COCO17.keypoints.index(name)]] for name in names
    ]


def test_what_animals_of_published_pairs_share() -> None:
    """SyntheticAnimal's 18 joints hold all 14 of AnimalPose's; what has no partner is said, not guessed."""
    fourteen = map_keypoints(ANIMAL18, ANIMAL14)
    assert fourteen.index == (0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 14, 15, 16, 17)
    assert not fourteen.missing
    unused = [name for i, name in enumerate(ANIMAL18.keypoints) if i not in fourteen.index]
    assert unused == ["chin", "tail_base", "left_shoulder", "right_shoulder"]
    assert map_keypoints(ANIMALPOSE20, ANIMAL18).missing == ("chin", "left_shoulder", "right_shoulder")
    assert map_keypoints(BADJA20, ANIMAL14).missing == ("left_eye", "right_eye")
    partners = [i for i in map_keypoints(AP10K17, ANIMAL14).index if i >= 0]
    assert [AP10K17.keypoints[i].rpartition("_")[2] for i in partners] == ["eye"] * 2 + ["paw"] * 4


def test_animal18_is_the_published_order_with_the_fields_groups() -> None:
    assert dict(ANIMAL18.groups) == {
        "eye": (0, 1),
        "chin": (2,),
        "hoof": (3, 4, 5, 6),
        "hip": (7,),
        "knee": (8, 9, 10, 11),
        "shoulder": (12, 13),
        "elbow": (14, 15, 16, 17),
    }
    assert ANIMAL18.flip_pairs == ((0, 1), (3, 4), (5, 6), (8, 9), (10, 11), (12, 13), (14, 15), (16, 17))
    assert sorted(i for group in BADJA20.groups.values() for i in group) == list(range(20))
    assert sorted(i for group in AP10K17.groups.values() for i in group) == list(range(17))
    assert AP10K17.sigmas is not None
    for left, right in AP10K17.flip_pairs:
        assert AP10K17.sigmas[left] == AP10K17.sigmas[right]


def test_matches_go_on_where_a_name_is_unclear_or_missing() -> None:
    source = from_names("s", ["L_Paw", "left_paw", "head", "tail"])
    found = match(source, from_names("t", ["left paw", "head_top", "Tail", "beak"]), {})
    assert dict(found.partners) == {1: (2,), 2: (3,)}
    assert dict(found.how) == {1: "synonym", 2: "same name"}
    assert dict(found.several) == {0: (0, 1)}
    given = match(source, from_names("t", ["left paw", "beak"]), {"left paw": "left_paw", "beak": ""})
    assert dict(given.partners) == {0: (1,), 1: ()}
    assert dict(given.how) == {0: "configured", 1: "none"}


@pytest.mark.parametrize(
    ("keypoint", "expected"),
    [
        ("tail_base", "tail_bas"),
        ("leftear", "left_ear"),
        ("L_HindPaw", "left_back_pow"),
        ("right_ear", None),
        ("left_front_paw", None),
        ("withers", None),
    ],
)
def test_the_nearest_name_is_on_the_same_side_and_end(keypoint: str, expected: str | None) -> None:
    assert nearest(keypoint, ["left_ear", "tail_bas", "left_back_pow", "neck"]) == expected
