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
