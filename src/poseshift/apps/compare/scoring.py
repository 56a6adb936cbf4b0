"""What held-out labels say of a finished run: the only place of a comparison that reads target labels."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field

from poseshift import config
from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import checkpoint, devices, evaluate, inference
from poseshift.engine.parents import LABELS
from poseshift.engine.run import Pointer, Run
from poseshift.engine.setup import CropStore
from poseshift.errors import ConfigError
from poseshift.metrics import Hits
from poseshift.types import Annotations

KEPT = "study"
"""Name of the files in ``RUN/evaluation`` that keep the scores."""


class HeldOut(CropConfig):
    """A recipe's ``study.test``: what finished runs are scored on. Without ``boxes``, cut as the run's own target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(description="Labelled images, FORMAT:PATH.")
    split: str | None = Field(None, description="One split; `splits` names several.")
    splits: tuple[str, ...] = Field((), description="Each gives a table.")
    every: int = Field(1, ge=1, description="Only each so-manyth instance.")
    checkpoint: Pointer = Field("best", description="Which checkpoint is scored.")


def held_out(study: Mapping[str, Any], part: str = "test", *, origin: str) -> dict[str, Any]:
    """The section of a recipe's ``study`` as it stands there. Raises :class:`ConfigError` where it cannot be used."""
    if part not in study:
        raise ConfigError(
            f"{origin}: no `study.{part}` section; say what labelled data to score on, such as "
            "`study: {test: {data: FORMAT:PATH, boxes: whole, splits: [test]}}`"
        )
    config.parse(study[part], HeldOut, origin=f"{origin}: study.{part}")
    return dict(study[part])


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the test says of one stage, by split; nothing for a stage without a pose net.

    It is kept in the run folder, so labels are looked at once.
    """

    hits: dict[str, Hits]
    tables: dict[str, dict[str, Any]]
    step: int
    oracle: bool
    device: str
    curve: list[float]

    def save(self, run: Path, test: Mapping[str, Any]) -> None:
        """Writes ``study.npz`` and, last, ``study.json`` into the run's ``evaluation``."""
        columns = {f"{s}/{c}": getattr(h, c) for s, h in self.hits.items() for c in ("right", "counted")}
        packed = io.BytesIO()
        np.savez_compressed(packed, **columns)
        folder = run / "evaluation"
        checkpoint.write_bytes(folder / f"{KEPT}.npz", packed.getvalue())
        rest = {"test": test, "tables": self.tables, "step": self.step, "oracle": self.oracle}
        rest |= {"device": self.device, "curve": self.curve}
        checkpoint.write_text(folder / f"{KEPT}.json", json.dumps(rest) + "\n")

    @classmethod
    def load(cls, run: Path, test: Mapping[str, Any]) -> Scored | None:
        """What :meth:`save` kept, if it was of the same test."""
        file = run / "evaluation" / f"{KEPT}.json"
        if not file.is_file():
            return None
        rest = json.loads(file.read_text(encoding="utf-8"))
        if rest.pop("test") != test:
            return None
        with np.load(file.with_suffix(".npz")) as columns:
            hits = {
                split: Hits(right=columns[f"{split}/right"], counted=columns[f"{split}/counted"])
                for split in rest["tables"]
            }
        return cls(hits=hits, **rest)


def score(run: Run, test: Mapping[str, Any], store: CropStore) -> Scored:
    """Scores the run's chosen checkpoint on every split; nothing is scored where it makes no pose net."""
    hits: dict[str, Hits] = {}
    tables: dict[str, dict[str, Any]] = {}
    if run.makes_pose_net:
        for split in splits_of(test):
            hits[split], tables[split] = _score_split(run, test, split, store)
    return Scored(
        hits=hits,
        tables=tables,
        step=run.checkpoint(test.get("checkpoint", "best")).step,
        oracle=str(run.manifest[LABELS]).startswith("yes"),
        device=str(run.manifest["device"]),
        curve=curve(run),
    )


def _score_split(run: Run, test: Mapping[str, Any], split: str, store: CropStore) -> tuple[Hits, dict[str, Any]]:
    """Hits on the visible keypoints of a split, and the tables."""
    annotations = instances_of(run, test, split)
    crop = None if "boxes" in test else evaluate.default_crop(run, annotations)
    crops = crops_of(annotations, test, run.config.input_size, split, store, crop)
    net = run.predictor(test.get("checkpoint", "best"))
    found = inference.infer(net, crops, device=devices.choose(run.config.device))
    evaluate.refuse_failures(found, annotations)
    hits = evaluate.hits_of(crops, found, stride=net.stride, protocol="exact", occluded=False)
    tables = evaluate.score(crops, found, stride=net.stride, protocol="exact")
    reference = evaluate.score(crops, found, stride=net.stride, protocol="reference")
    tables["reference"] = reference["visible"]["pck@0.05"]
    return hits, tables


def splits_of(test: Mapping[str, Any]) -> list[str]:
    """Splits to score."""
    return list(test.get("splits") or [test.get("split") or "test"])


def refuse_missing(test: Mapping[str, Any]) -> None:
    """Raises :class:`DataError` where the test data cannot be opened; no label is looked at."""
    for split in splits_of(test):
        sources.read(test["data"], split=split, labelled=False)


def instances_of(run: Run, test: Mapping[str, Any], split: str) -> Annotations:
    """The labelled instances of a split that are scored, in the run's skeleton."""
    return chosen(evaluate.labelled(run, test["data"], split), test)


def chosen(annotations: Annotations, test: Mapping[str, Any]) -> Annotations:
    """Each so-manyth instance, where the test says so."""
    return annotations.select(range(0, len(annotations), test.get("every", 1)))


def crops_of(
    annotations: Annotations,
    test: Mapping[str, Any],
    size: int,
    split: str,
    store: CropStore,
    crop: CropConfig | None = None,
) -> Crops:
    """Crops of chosen instances, decoded once for all that share ``store``; ``crop`` stands in for the test's own."""
    own = crop or CropConfig(boxes=test["boxes"], padding=test.get("padding", 1.25))
    crops = Crops(annotations, own, size=size, cache_bytes=2**31)
    crops.share(store, f"test {json.dumps(test)} {own.model_dump_json()} {split} {size}")
    return crops


def curve(run: Run) -> list[float]:
    """Mean supervised loss in each tenth of a run."""
    values = [line["terms"]["supervised"]["value"] for line in run.metrics() if "supervised" in line.get("terms", {})]
    return [float(np.mean(part)) for part in np.array_split(values, 10)] if len(values) >= 10 else []
