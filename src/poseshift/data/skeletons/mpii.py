"""The skeleton of MPII Human Pose."""

from __future__ import annotations

from poseshift.data.skeletons.names import known
from poseshift.data.skeletons.people import LIMBS

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
