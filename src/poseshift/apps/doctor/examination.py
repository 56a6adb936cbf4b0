"""Everything that is measured of a source and a target, from their data to numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from poseshift.apps.adapt import DEFAULT, planned
from poseshift.apps.doctor import features, gap, looks, partners, poses, samples, scale
from poseshift.apps.doctor.features import Network
from poseshift.apps.doctor.gap import Gap
from poseshift.apps.doctor.looks import Look
from poseshift.apps.doctor.partners import Partners
from poseshift.apps.doctor.poses import Poses
from poseshift.apps.doctor.samples import Sample
from poseshift.apps.doctor.scale import Scale
from poseshift.config import DataConfig, RunConfig
from poseshift.data import sources
from poseshift.engine import setup
from poseshift.errors import ConfigError, UsageError
from poseshift.types import Annotations, Skeleton

IMAGES = 400
"""Images of each domain that are decoded where the command says nothing else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examination:
    """What was measured; ``source`` and ``target`` name the data, the split and the crops as training would use them.

    Attributes:
        config: Of the stage that adapts.
        source_data: Part of it.
        target_data: Part of it.
        source: Crops of the source.
        target: Crops of the target, which has no labels.
        partners: The table of keypoints.
        poses: Of the source's sample.
        source_scale: Sizes.
        target_scale: Sizes.
        looks: Colour, sharpness, grain.
        gap: None where a domain has too few images.
        measured_on: Name of the features of the gap.
    """

    config: RunConfig
    source_data: DataConfig
    target_data: DataConfig
    source: Sample
    target: Sample
    partners: Partners
    poses: Poses
    source_scale: Scale
    target_scale: Scale
    looks: tuple[Look, ...]
    gap: Gap | None
    measured_on: str


def examine(
    source: str | None = None,
    target: str | None = None,
    *,
    source_split: str | None = None,
    target_split: str | None = None,
    recipe: str | Path | None = None,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    backbone: str | None = None,
    weights: str | None = None,
    images: int = IMAGES,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> Examination:
    """Measures both domains as :func:`poseshift.adapt` would train on them. No label of the target is looked at.

    Args:
        source: Labelled images, ``FORMAT:PATH``; None takes the recipe's.
        target: Unlabelled images, likewise.
        source_split: Of that format; None takes the recipe's.
        target_split: Likewise.
        recipe: A recipe file instead of ``preset``.
        preset: A recipe of the package.
        overrides: ``common.a.b=c`` or ``stages.NAME.a=c``.
        backbone: A timm net whose features the gap is measured on; None takes the configuration's. Needs ``weights``.
        weights: A ``.safetensors`` file or ``pretrained``; None measures the gap on the hand-made descriptor.
        images: At most so many images of each domain are decoded.
        seed: Of what is sampled.
        advance: Called with the number of images done, for a progress bar.

    Raises:
        UsageError, ConfigError: An argument, a setting or a combination that cannot be.
        DataError: Data that cannot be read.
    """
    if images < 1:
        raise UsageError(f"--images {images}: expected at least 1; {IMAGES} is enough for most data")
    if backbone is not None and weights is None:
        raise UsageError(f"--backbone {backbone}: random features say nothing of a gap; give --weights FILE as well")
    splits = {"source": source_split, "target": target_split}
    extra = [f"common.{role}.split={split}" for role, split in splits.items() if split is not None]
    plan = planned(source, target, recipe=recipe, preset=preset, overrides=[*extra, *overrides])
    config = plan.stage(list(plan.stages)[-1], Path())
    network = None if weights is None else features.network(backbone or config.model.backbone, weights)
    return measure(config, network, images=images, seed=seed, advance=advance)


def measure(
    config: RunConfig,
    network: Network | None,
    *,
    images: int = IMAGES,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> Examination:
    """As :func:`examine`, for the configuration of one stage and a net that is loaded, if any.

    Raises:
        ConfigError: It has no source or no target, or the target's crops would need labels.
        DataError: Data that cannot be read.
    """
    if config.source is None or config.target is None:
        raise ConfigError("the last stage has no source or no target; the doctor compares the two: name both")
    own = sources.read(config.source.data, split=config.source.split, limit=config.source.limit)
    there, names = _target(config.target)
    cut = {"size": config.input_size, "count": images, "seed": seed}
    first = samples.draw(own, config.source, role="source", advance=advance, **cut)
    second = samples.draw(there, config.target, role="target", advance=advance, **cut)
    found = [features.handmade(one) if network is None else network(one) for one in (first, second)]
    return Examination(
        config=config,
        source_data=config.source,
        target_data=config.target,
        source=first,
        target=second,
        partners=partners.find(own, names, {**config.source.mapping, **config.target.mapping}),
        poses=poses.describe(own.skeleton, own.keypoints[first.rows], own.visible[first.rows], first.regions),
        source_scale=scale.describe(first),
        target_scale=scale.describe(second),
        looks=looks.compare(first, second, config.augment.source, seed=seed),
        gap=gap.measure(found[0], found[1], first.groups, second.groups, seed=seed),
        measured_on=found[0].name,
    )


def _target(data: DataConfig) -> tuple[Annotations, Skeleton]:
    """The target without labels, and the names of its keypoints, which are none."""
    options = {"labelled": False, "label_boxes": data.label_boxes}
    read = sources.read(data.data, split=data.split, limit=data.limit, **options)
    return setup.unlabelled(read, data), read.skeleton
