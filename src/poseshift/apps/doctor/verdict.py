"""The verdict: what is likely to hurt and what to do about it, the gravest first.

A rule looks at the measured numbers and says lines, or nothing. What stops training comes first and notes come last;
within a level, the order of :data:`RULES` is the order of importance.
"""

from __future__ import annotations

from poseshift.apps.doctor.crop_rules import (
    aspect,
    bars,
    crowded,
    cut_apart,
    partly_boxed,
    size,
    small_crops,
    small_subjects,
    unknown_size,
)
from poseshift.apps.doctor.data_rules import (
    few_images,
    one_sided,
    partners,
    rarely_labelled,
    repeated,
    stiff,
    unreadable,
)
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.lines import LEVELS, Line, Rule
from poseshift.apps.doctor.picture_rules import appearance, domain_gap

RULES: tuple[Rule, ...] = (
    partners,
    unreadable,
    crowded,
    partly_boxed,
    cut_apart,
    size,
    small_subjects,
    bars,
    small_crops,
    rarely_labelled,
    appearance,
    few_images,
    repeated,
    one_sided,
    stiff,
    aspect,
    unknown_size,
    domain_gap,
)


def verdict(found: Examination) -> list[Line]:
    """The lines that the numbers call for."""
    return sorted((line for rule in RULES for line in rule(found)), key=lambda line: LEVELS.index(line.level))
