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
        source: The source keypoint that it is learnt from, ``a + b`` for a mid-point, or None.
        how: As in :class:`~poseshift.data.skeletons.KeypointMap`, or ``several`` where names do not decide, or ``left
            out`` where the configuration wants none.
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


def find(source: Annotations, target: Skeleton, mapping: Mapping[str, skeletons.Partner]) -> Partners:
    """Matches both skeletons as training would.

    Args:
        source: Labelled.
        target: Its keypoints' names; none where the target's format names none.
        mapping: Of the configuration: target name to source name, or to the two of a mid-point.

    Raises:
        UsageError: The mapping names keypoints that do not exist.
    """
    own, named = source.skeleton, len(target) > 0
    wanted = target if named else own
    found = _match(own, wanted, mapping)
    used = {index for partner in found.partners.values() for index in partner}
    unused = [name for index, name in enumerate(own.keypoints) if index not in used]
    guesses = _guesses(wanted, found, own, list(unused))
    rows = tuple(_row(source, found, number, name, guesses.get(name)) for number, name in enumerate(wanted.keypoints))
    refused = _refused(own, wanted, mapping, source.name)
    told = tuple(row.target for row in rows if row.how in ("none", "several"))
    suggestion = _suggestion(told, guesses, mapping, empty=not used) if told else ""
    return Partners(rows=rows, unused=tuple(unused), named=named, refused=refused, suggestion=suggestion)


def _row(source: Annotations, found: skeletons.Matches, number: int, name: str, guess: str | None) -> Partner:
    """One target keypoint; a mid-point is as visible as the less visible of its two."""
    partner, how = found.partners.get(number, ()), found.how.get(number, "none")
    if number in found.several:
        how = "several"
    elif number in found.partners and not partner:
        how = "left out"
    seen = source.visible[:, list(partner)].min(axis=1) if partner else None
    return Partner(
        target=name,
        source=" + ".join(source.skeleton.keypoints[index] for index in partner) or None,
        how=how,
        guess=guess,
        labelled=None if seen is None else float((seen != NOT_LABELLED).mean()),
        visible=None if seen is None else float((seen == VISIBLE).mean()),
    )


def _match(source: Skeleton, wanted: Skeleton, mapping: Mapping[str, skeletons.Partner]) -> skeletons.Matches:
    if source.keypoints == wanted.keypoints:  # training asks nothing of such names, however alike two of them are
        same = {index: (index,) for index in range(len(wanted))}
        return skeletons.Matches(partners=same, how=dict.fromkeys(same, "same name"), several={})
    return skeletons.match(source, wanted, mapping)


def _guesses(wanted: Skeleton, found: skeletons.Matches, source: Skeleton, free: list[str]) -> dict[str, str]:
    """For target keypoints without a partner: the first of several, else the free source keypoint spelt most alike."""
    guesses = {}
    for number, name in enumerate(wanted.keypoints):
        if number in found.partners:
            continue
        several = [source.keypoints[index] for index in found.several.get(number, ())]
        guess = next((one for one in several if one in free), None) or skeletons.nearest(name, free)
        if guess is not None:
            guesses[name] = guess
            free.remove(guess)
    return guesses


def _refused(source: Skeleton, wanted: Skeleton, mapping: Mapping[str, skeletons.Partner], origin: str) -> str:
    try:
        sources.skeleton_map(source, wanted, mapping, origin=origin)
    except DataError as error:
        return str(error)
    return ""


def _suggestion(
    missing: tuple[str, ...], guesses: Mapping[str, str], mapping: Mapping[str, skeletons.Partner], *, empty: bool
) -> str:
    """The mapping with every keypoint that lacks a partner: a guess, or nothing (``''``: leave it out)."""
    blank = "SOURCE_NAME" if empty else ""
    given = {name: partner if isinstance(partner, str) else list(partner) for name, partner in mapping.items()}
    whole = {**given, **{name: guesses.get(name, blank) for name in missing}}
    text = yaml.safe_dump(whole, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()
    value = f"{PLACE}={text}"
    plain = not set(value) & set('"$`\\!')  # '' stays readable within double quotes
    return "--set " + (f'"{value}"' if plain else shlex.quote(value))
