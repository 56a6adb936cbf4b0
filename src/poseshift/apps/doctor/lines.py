"""One line of the verdict, and the words that lines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.samples import Sample
from poseshift.apps.doctor.scale import Scale

Level = Literal["stops", "hurts", "note"]
LEVELS: tuple[Level, ...] = ("stops", "hurts", "note")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the verdict.

    Attributes:
        rule: Name of the rule.
        level: ``stops`` training, ``hurts`` the result, or a ``note``.
        text: What was found.
        remedy: What to do about it.
    """

    rule: str
    level: Level
    text: str
    remedy: str


Rule = Callable[[Examination], Iterator[Line]]


def both(found: Examination) -> tuple[tuple[str, Sample, Scale], tuple[str, Sample, Scale]]:
    """Role, crops and sizes of each domain."""
    return ("source", found.source, found.source_scale), ("target", found.target, found.target_scale)


def line(rule: str, level: Level, text: str, remedy: str) -> Line:
    """A :class:`Line`."""
    return Line(rule=rule, level=level, text=text, remedy=remedy)


def percent(share: float) -> str:
    """A share in words, with a decimal where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.1f} %"


def names(listed: Sequence[str], most: int = 6) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
