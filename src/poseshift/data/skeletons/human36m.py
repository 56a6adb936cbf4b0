"""The 16 joints of papers on human adaptation, in their order.

They are MPII's 16 with a head instead of the head's top; a `HUMAN16` elsewhere with these names is the same skeleton
and takes this one's place.
"""

from __future__ import annotations

from poseshift.data.skeletons.names import known
from poseshift.data.skeletons.people import LIMBS

HUMAN36M16 = known(
    "human16",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax neck head right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist",
    {**{limb: limb for limb in LIMBS}, "head": "head"},
    "right_ankle-right_knee right_knee-right_hip right_hip-pelvis left_hip-pelvis left_hip-left_knee "
    "left_knee-left_ankle pelvis-thorax thorax-neck neck-head right_wrist-right_elbow right_elbow-right_shoulder "
    "right_shoulder-thorax left_shoulder-thorax left_shoulder-left_elbow left_elbow-left_wrist",
    mean_groups=LIMBS,
)
"""16 human joints; the field's ``all`` is the mean of the 12 limb joints."""
