"""Which source keypoint each target keypoint is learnt from, and what to write where names do not say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from poseshift.data import skeletons, sources
from poseshift.errors import DataError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations, Skeleton

PLACE = "common.source.mapping"


@dataclass(frozen=True, kw_only=True)
class Partner:
    """One target keypoint.

    Attributes:
        target: Its name.
        source: The source keypoint that it is learnt from, or None.
        how: ``name``, ``synonym``, ``mapping`` (the configuration), ``several`` or ``none``.
        guess: Where it has no partner: a source keypoint that is spelt alike, else None.
        labelled: Share of the source's instances in which the partner is labelled; None without a partner.
        visible: Share in which it is visible.
    """

    target: str
    source: str | None
    how: str
    guess: str | None
    labelled: float | None
    visible: float | None


@dataclass(frozen=True, kw_only=True)
class Partners:
    """The table of both skeletons.

    Attributes:
        rows: One for each target keypoint (for each source keypoint where the target names none).
        unused: Source keypoints that no target keypoint is learnt from.
        named: Whether the target names keypoints.
        refused: Why training would not start, or an empty string.
        suggestion: ``--set`` with a mapping to complete, or an empty string.
    """

    rows: tuple[Partner, ...]
    unused: tuple[str, ...]
    named: bool
    refused: str
    suggestion: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Target keypoints without a partner that the configuration does not leave out on purpose."""
        return tuple(row.target for row in self.rows if row.how in ("none", "several"))


def find(source: Annotations, target: Skeleton, mapping: Mapping[str, str]) -> Partners:
    """Matches both skeletons as training would.

    Args:
        source: Labelled.
        target: Its keypoints' names; none where the target's format names none.
        mapping: Of the configuration, target name to source name.

    Raises:
        UsageError: The mapping names keypoints that do not exist.
    """
    own, named = source.skeleton, len(target) > 0
    wanted = target if named else own
    found = _match(own, wanted, mapping)
    used = {index for index in found.partner.values() if index >= 0}
    unused = [name for index, name in enumerate(own.keypoints) if index not in used]
    guesses = _guesses(wanted, found, own, list(unused))
    labelled = (source.visible != NOT_LABELLED).mean(0)
    visible = (source.visible == VISIBLE).mean(0)
    rows = []
    for number, name in enumerate(wanted.keypoints):
        index = found.partner.get(number, -1)
        how = "several" if number in found.several else found.how.get(number, "none")
        known = index >= 0
        rows.append(
            Partner(
                target=name,
                source=own.keypoints[index] if known else None,
                how=how,
                guess=guesses.get(name),
                labelled=float(labelled[index]) if known else None,
                visible=float(visible[index]) if known else None,
            )
        )
    refused = _refused(own, wanted, mapping, source.name)
    told = tuple(row.target for row in rows if row.how in ("none", "several"))
    suggestion = _suggestion(told, guesses, mapping, empty=not used) if told else ""
    return Partners(rows=tuple(rows), unused=tuple(unused), named=named, refused=refused, suggestion=suggestion)


def _match(source: Skeleton, wanted: Skeleton, mapping: Mapping[str, str]) -> skeletons.Matches:
    if source.keypoints == wanted.keypoints:  # training asks nothing of such names, however alike two of them are
        same = {index: index for index in range(len(wanted))}
        return skeletons.Matches(partner=same, how=dict.fromkeys(same, "name"), several={})
    return skeletons.match(source, wanted, mapping)


def _guesses(wanted: Skeleton, found: skeletons.Matches, source: Skeleton, free: list[str]) -> dict[str, str]:
    """For target keypoints without a partner: the first of several, else the free source keypoint spelt most alike."""
    guesses = {}
    for number, name in enumerate(wanted.keypoints):
        if number in found.partner:
            continue
        several = [source.keypoints[index] for index in found.several.get(number, ())]
        guess = next((one for one in several if one in free), None) or skeletons.nearest(name, free)
        if guess is not None:
            guesses[name] = guess
            free.remove(guess)
    return guesses


def _refused(source: Skeleton, wanted: Skeleton, mapping: Mapping[str, str], origin: str) -> str:
    try:
        sources.skeleton_map(source, wanted, mapping, origin=origin)
    except DataError as error:
        return str(error)
    return ""


def _suggestion(
    missing: tuple[str, ...], guesses: Mapping[str, str], mapping: Mapping[str, str], *, empty: bool
) -> str:
    """The mapping with every keypoint that lacks a partner: a guess, or nothing (``''``: leave it out)."""
    blank = "SOURCE_NAME" if empty else ""
    whole = {**mapping, **{name: guesses.get(name, blank) for name in missing}}
    text = yaml.safe_dump(whole, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()
    value = f"{PLACE}={text}"
    plain = not set(value) & set('"$`\\!')  # '' stays readable within double quotes
    return "--set " + (f'"{value}"' if plain else shlex.quote(value))
