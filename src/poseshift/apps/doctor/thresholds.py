"""Every number that a line of the verdict is measured against, each with its reason."""

from __future__ import annotations

from typing import Final

UNREADABLE: Final = 0.01
"""Share of images: training stops when more than 1 % of them do not decode."""

RARELY_LABELLED: Final = 0.05
"""Share of source instances: one batch of 32 shows a keypoint that is labelled in fewer less than twice."""

BEYOND: Final = 0.5
"""Share of target crops outside of the middle 90 % of what training shows: half of them, where 10 % would be chance."""

SMALL_CROP: Final = 0.5
"""Side of the crop over the net's input: below, three of four pixels that the net reads are interpolated."""

BARS: Final = 0.2
"""Difference of the black share of crops: a bar of a fifth of the crop is wider than augmentation shifts (0.05) and
turns of a few degrees leave black, so that the source never shows one like it."""

ASPECT: Final = 1.5
"""Ratio of the median aspects of boxes: from square to 3:2, or from upright to square. Rotation and shear of the
preset reach it; beyond it the subjects lie or stand another way, or the boxes mean something else."""

DRAWS: Final = 100
"""Times that training draws each image: the preset's 1,500 steps of 32 on fewer than 480. More target images need no
labels, more renderings no work."""

TWINS: Final = 0.2
"""Share of sampled target crops with a twin among the sampled: they count as target images and add nothing."""

ONE_SIDED: Final = 0.9
"""Share of the source that faces one side, of what faces a side, where views are not mirrored: the other side is then
seen less than in one of ten images."""

STIFF: Final = 0.05
"""Median distance of the source's keypoints from their mean place, as a share of the crop: below it a net that always
gives the same answer is right by PCK@0.05 in most cases, and nothing makes it look at the picture."""

SMALL_SUBJECT: Final = 1 / 3
"""Longer side of the subject over the crop's: below, PCK@0.05 allows 15 % of the body, and the body lies in eleven
cells of a 32×32 heatmap (128 pixels at stride 4)."""
