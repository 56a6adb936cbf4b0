"""Skeletons of animals."""

from __future__ import annotations

from poseshift.data.skeletons.names import known

_QUADRUPED_LEGS = " ".join(
    f"{side}_{end}_elbow-{side}_{end}_knee {side}_{end}_knee-{side}_{end}_paw"
    for side in ("left", "right")
    for end in ("front", "back")
)

ANIMAL14 = known(
    "animal14",
    "left_eye right_eye "
    "left_front_paw right_front_paw left_back_paw right_back_paw "
    "left_front_knee right_front_knee left_back_knee right_back_knee "
    "left_front_elbow right_front_elbow left_back_elbow right_back_elbow",
    {"eye": "eye", "hoof": "paw", "knee": "knee", "elbow": "elbow"},
    f"left_eye-right_eye left_front_elbow-right_front_elbow left_back_elbow-right_back_elbow {_QUADRUPED_LEGS}",
)
"""The 14 joints that SyntheticAnimal and AnimalPose share."""

ANIMALPOSE20 = known(
    "animalpose20",
    "left_eye right_eye nose left_ear right_ear "
    "left_front_elbow right_front_elbow left_back_elbow right_back_elbow "
    "left_front_knee right_front_knee left_back_knee right_back_knee "
    "left_front_paw right_front_paw left_back_paw right_back_paw throat withers tailbase",
    {
        part: {"hoof": "paw"}.get(part, part)
        for part in ("eye", "nose", "ear", "hoof", "knee", "elbow", "throat", "withers", "tailbase")
    },
    "left_eye-right_eye left_eye-nose right_eye-nose left_eye-left_ear right_eye-right_ear nose-throat "
    f"withers-tailbase {_QUADRUPED_LEGS}",
)
"""AnimalPose (Cao et al., ICCV 2019), official order of 20 joints."""

ANIMAL18 = known(
    "animal18",
    "left_eye right_eye chin "
    "left_front_hoof right_front_hoof left_back_hoof right_back_hoof tail_base "
    "left_front_knee right_front_knee left_back_knee right_back_knee left_shoulder right_shoulder "
    "left_front_elbow right_front_elbow left_back_elbow right_back_elbow",
    # The published table calls the base of the tail "hip".
    {
        part: {"hip": "tail_base"}.get(part, part)
        for part in ("eye", "chin", "hoof", "hip", "knee", "shoulder", "elbow")
    },
    "left_eye-right_eye left_eye-chin right_eye-chin left_shoulder-right_shoulder left_shoulder-left_front_elbow "
    "right_shoulder-right_front_elbow left_shoulder-tail_base right_shoulder-tail_base "
    f"tail_base-left_back_elbow tail_base-right_back_elbow {_QUADRUPED_LEGS.replace('paw', 'hoof')}",
)
"""The 18 joints that SyntheticAnimal and TigDog share, in the order of TigDog's horses."""

AP10K17 = known(
    "ap10k",
    "left_eye right_eye nose neck root_of_tail left_shoulder left_elbow left_front_paw "
    "right_shoulder right_elbow right_front_paw left_hip left_knee left_back_paw right_hip right_knee right_back_paw",
    {
        part: {"tail": "root_of_tail"}.get(part, part)
        for part in ("eye", "nose", "neck", "tail", "shoulder", "elbow", "hip", "knee", "paw")
    },
    "left_eye-right_eye left_eye-nose right_eye-nose nose-neck neck-root_of_tail neck-left_shoulder "
    "left_shoulder-left_elbow left_elbow-left_front_paw neck-right_shoulder right_shoulder-right_elbow "
    "right_elbow-right_front_paw root_of_tail-left_hip left_hip-left_knee left_knee-left_back_paw "
    "root_of_tail-right_hip right_hip-right_knee right_knee-right_back_paw",
    sigmas=(
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079),
        *(0.072, 0.062, 0.107, 0.087, 0.089, 0.107, 0.087, 0.089),
    ),
)
"""AP-10K (Yu et al., NeurIPS 2021 data sets and benchmarks), 17 keypoints, with the sigmas of its own evaluation."""

BADJA20 = known(
    "badja20",
    "right_front_elbow right_front_knee right_front_paw left_front_elbow left_front_knee left_front_paw neck "
    "right_back_elbow right_back_knee right_back_paw left_back_elbow left_back_knee left_back_paw "
    "tail_base tail_middle tail_end jaw nose right_ear left_ear",
    {
        part: {"hoof": "paw"}.get(part, part)
        for part in ("hoof", "knee", "elbow", "neck", "tail_base", "tail_middle", "tail_end", "jaw", "nose", "ear")
    },
    "neck-jaw jaw-nose nose-left_ear nose-right_ear neck-tail_base tail_base-tail_middle tail_middle-tail_end "
    "neck-left_front_elbow neck-right_front_elbow tail_base-left_back_elbow tail_base-right_back_elbow "
    f"{_QUADRUPED_LEGS}",
)
"""BADJA (Biggs et al., ACCV 2018): the 20 annotated of its 37 joints, in the order of its own list."""
