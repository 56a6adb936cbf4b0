"""Scored runs as tables show them: read from run folders, or from the ``scores.json`` of another comparison.

That file holds all that tables need of a scored run in a few kB, so that a comparison grows over machines whose run
folders are not at hand::

    {what plan.json holds,
     "instances": {split: {"skeleton", "names", "category", "image", "counted"}},
     "results": {row: {seed: {"hits": {split: …}, "tables", "step", …}}},
     "starts": {stage: {seed: seconds}}}

Booleans are packed to bits and numbers are int32, then zlib, then base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from poseshift.apps.compare.cost import Taken, taken
from poseshift.apps.compare.scoring import Scored
from poseshift.engine.parents import LABELS
from poseshift.engine.run import Run, open_run
from poseshift.errors import DataError
from poseshift.metrics import BoolArray, Hits
from poseshift.types import VISIBLE, Annotations, Skeleton

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One scored run.

    Attributes:
        scored: What held-out labels say of it.
        taken: What it took.
        labels: What training did with target labels: ``no``, ``monitoring only`` or ``yes: oracle``.
        selection: The rule by which its checkpoint was chosen.
        code: The commit that trained it, ten digits; the version where an installed package did.
    """

    scored: Scored
    taken: Taken
    labels: str
    selection: str
    code: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Instances:
    """What was scored of a split, less pixels and coordinates.

    Attributes:
        skeleton: Of the ``K`` keypoints.
        categories: ``N`` names.
        image_index: ``N``: instances of one image are resampled together.
        counted: ``N×K``: the keypoints that hits count, which are the visible ones.
    """

    skeleton: Skeleton
    categories: npt.NDArray[np.str_]
    image_index: npt.NDArray[np.int64]
    counted: BoolArray

    @classmethod
    def of(cls, annotations: Annotations) -> Instances:
        """Those of annotations."""
        return cls(
            skeleton=annotations.skeleton,
            categories=np.asarray(annotations.categories, np.str_),
            image_index=annotations.image_index,
            counted=annotations.visible >= VISIBLE,
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that is known of scored runs.

    Attributes:
        rows: By row and seed.
        instances: By split.
        starts: Seconds of runs that rows start from, by stage and seed.
    """

    rows: Mapping[str, Mapping[int, Result]] = field(default_factory=dict)
    instances: Mapping[str, Instances] = field(default_factory=dict)
    starts: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def over(self, other: Results) -> Results:
        """These, and what only ``other`` has."""
        return Results(
            rows=_laid(self.rows, other.rows),
            instances={**other.instances, **self.instances},
            starts=_laid(self.starts, other.starts),
        )


def _laid(
    upper: Mapping[str, Mapping[int, _Kept]], lower: Mapping[str, Mapping[int, _Kept]]
) -> dict[str, dict[int, _Kept]]:
    return {name: {**lower.get(name, {}), **upper.get(name, {})} for name in {**lower, **upper}}


def of_run(path: Path, test: Mapping[str, Any]) -> Result | None:
    """The result of a run folder; None where it is not scored on this test."""
    scored = Scored.load(path, test)
    if scored is None:
        return None
    run = open_run(path)
    return Result(
        scored=scored,
        taken=taken(run),
        labels=str(run.manifest.get(LABELS, "unknown")),
        selection=str(run.manifest.get("selection", "unknown")),
        code=_code(run),
    )


def _code(run: Run) -> str:
    commit = run.manifest.get("commit")
    return str(commit)[:10] if commit else str(run.manifest.get("version", "unknown"))


def dumped(known: Results) -> dict[str, Any]:
    """As JSON holds it."""
    return {
        "instances": {split: _instances(one) for split, one in known.instances.items()},
        "results": {row: {str(s): _result(one) for s, one in seeds.items()} for row, seeds in known.rows.items()},
        "starts": {stage: {str(s): seconds for s, seconds in seeds.items()} for stage, seeds in known.starts.items()},
    }


def loaded(raw: Mapping[str, Any], *, origin: str) -> Results:
    """What :func:`dumped` made. Raises :class:`DataError`."""
    try:
        instances = {split: _instances_of(one) for split, one in raw["instances"].items()}
        rows = {row: {int(s): _result_of(one, instances) for s, one in found.items()} for row, found in
                raw["results"].items()}  # fmt: skip
        starts = {stage: {int(s): float(one) for s, one in found.items()} for stage, found in raw["starts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise DataError(f"{origin}: no scores of a comparison ({error!r}); give the scores.json of one") from error
    return Results(rows=rows, instances=instances, starts=starts)


def refuse_other_instances(known: Results, out: Path) -> None:
    """Raises :class:`DataError` where a run was scored on other instances than the tables are about."""
    for row, seeds in known.rows.items():
        for seed, one in seeds.items():
            for split, hits in one.scored.hits.items():
                now = known.instances[split].counted
                if not np.array_equal(hits.counted, now):
                    what = (
                        f"which now has {len(now)}" if len(now) != len(hits.counted) else "whose labels are others now"
                    )
                    raise DataError(
                        f"{out}: {row}, seed {seed}: scored on {len(hits.counted)} instances of split {split}, {what}; "
                        "restore the test data, or remove evaluation/study.json in the run's folder"
                    )


def _instances(one: Instances) -> dict[str, Any]:
    names, category = np.unique(one.categories, return_inverse=True)
    return {
        "skeleton": json.loads(json.dumps(asdict(one.skeleton))),
        "names": names.tolist(),
        "category": _numbers(category),
        "image": _numbers(one.image_index),
        "counted": _bits(one.counted),
    }


def _instances_of(raw: Mapping[str, Any]) -> Instances:
    skeleton, category = Skeleton.restored(raw["skeleton"]), _numbers_of(raw["category"])
    return Instances(
        skeleton=skeleton,
        categories=np.asarray(raw["names"], np.str_)[category],
        image_index=_numbers_of(raw["image"]),
        counted=_bits_of(raw["counted"], len(category), len(skeleton)),
    )


def _result(one: Result) -> dict[str, Any]:
    scored = {key: value for key, value in vars(one.scored).items() if key != "hits"}
    hits = {split: _bits(hits.right) for split, hits in one.scored.hits.items()}
    return {**vars(one), "scored": {**scored, "hits": hits}, "taken": asdict(one.taken)}


def _result_of(raw: Mapping[str, Any], instances: Mapping[str, Instances]) -> Result:
    counted = {split: instances[split].counted for split in raw["scored"]["hits"]}
    hits = {
        split: Hits(right=_bits_of(raw["scored"]["hits"][split], *shared.shape), counted=shared)
        for split, shared in counted.items()
    }
    scored = Scored(**{**raw["scored"], "hits": hits})
    return Result(**{**raw, "scored": scored, "taken": Taken(**raw["taken"])})


def _bits(values: BoolArray) -> str:
    return _packed(np.packbits(values).tobytes())


def _bits_of(text: str, rows: int, columns: int) -> BoolArray:
    bits = np.unpackbits(np.frombuffer(_unpacked(text), np.uint8), count=rows * columns)
    return bits.reshape(rows, columns).astype(np.bool_)


def _numbers(values: npt.NDArray[Any]) -> str:
    return _packed(values.astype("<i4").tobytes())


def _numbers_of(text: str) -> npt.NDArray[np.int64]:
    return np.frombuffer(_unpacked(text), "<i4").astype(np.int64)


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))
