"""Skeletons of people."""

from __future__ import annotations

from poseshift.data.skeletons.names import known

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

LSP = known(
    "lsp",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder "
    "left_shoulder left_elbow left_wrist neck head_top",
    {**{limb: limb for limb in LIMBS}, "head": "head_top"},
    "right_ankle-right_knee right_knee-right_hip left_hip-left_knee left_knee-left_ankle right_hip-left_hip "
    "right_wrist-right_elbow right_elbow-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-neck left_shoulder-neck neck-head_top right_shoulder-right_hip left_shoulder-left_hip",
    mean_groups=LIMBS,
)
"""Leeds Sports Pose, 14 joints; the field's ``all`` is the mean of the 12 limb joints."""

MPII16 = known(
    "mpii16",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax neck head_top right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist",
    {**{limb: limb for limb in LIMBS}, "head": "head_top"},
    "right_ankle-right_knee right_knee-right_hip right_hip-pelvis left_hip-pelvis left_hip-left_knee "
    "left_knee-left_ankle pelvis-thorax thorax-neck neck-head_top right_wrist-right_elbow right_elbow-right_shoulder "
    "right_shoulder-thorax left_shoulder-thorax left_shoulder-left_elbow left_elbow-left_wrist",
    mean_groups=LIMBS,
)
"""MPII Human Pose, 16 joints in its own order; ``neck`` is what MPII calls upper neck."""

HUMAN16 = known(
    "human16",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax neck head right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist",
    {**{limb: limb for limb in LIMBS}, "head": "head"},
    "right_ankle-right_knee right_knee-right_hip left_hip-left_knee left_knee-left_ankle right_hip-pelvis "
    "left_hip-pelvis pelvis-thorax thorax-neck neck-head right_wrist-right_elbow right_elbow-right_shoulder "
    "right_shoulder-neck left_shoulder-neck left_shoulder-left_elbow left_elbow-left_wrist",
    mean_groups=LIMBS,
)
"""The 16 joints of the field's human data sets, in MPII's order; ``all`` is the mean of the 12 limb joints."""

COCO17 = known(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    {part: part for part in ("nose", "eye", "ear", *LIMBS)},
    "left_ankle-left_knee left_knee-left_hip right_ankle-right_knee right_knee-right_hip left_hip-right_hip "
    "left_shoulder-left_hip right_shoulder-right_hip left_shoulder-right_shoulder left_shoulder-left_elbow "
    "right_shoulder-right_elbow left_elbow-left_wrist right_elbow-right_wrist left_eye-right_eye nose-left_eye "
    "nose-right_eye left_eye-left_ear right_eye-right_ear left_ear-left_shoulder right_ear-right_shoulder",
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)
"""COCO persons, 17 keypoints, with the sigmas of COCO's own evaluation."""
