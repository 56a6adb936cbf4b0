"""What a run is made of, built from its configuration: data, nets, the method."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from poseshift.config import DataConfig, RunConfig
from poseshift.data import frames, sources, splits
from poseshift.data.boxes import BoxMode
from poseshift.data.crops import Cache, Crops, as_cut, resolve
from poseshift.data.loaders import Batches, Share, Views
from poseshift.data.skeletons import Partner, apply
from poseshift.engine import parents
from poseshift.engine.data import Data
from poseshift.engine.run import Run, open_run
from poseshift.errors import ConfigError, DataError
from poseshift.methods import METHODS
from poseshift.methods.base import Context, Method
from poseshift.types import Annotations, Skeleton

log = logging.getLogger(__name__)

HELD_OUT_PART = 20
FEWEST = 32
"""Of a source, at most a 20th is held out, and fewer than 32 instances are none: too few to say anything."""

CropStore = dict[str, tuple[Cache, Tensor]]
"""Decoded crops that the stages of one recipe share, by what they were cut from."""


def data_of(config: RunConfig, store: CropStore | None = None, *, begun: Run | None = None) -> Data:
    """Reads the data; the target's labels are dropped here, before anything else sees them.

    A source that the method does not need is not opened, nor is its ``validation``.

    Args:
        config: Of the run.
        store: Decoded crops to share with other runs.
        begun: The run itself where it goes on; it knows its keypoints though its parents may be gone.

    Raises:
        ConfigError: A data set or a parent that the method needs is not named.
        DataError: Data that cannot be read, a source without keypoints, or skeletons that do not fit.
    """
    needs, store = config.method.needs, {} if store is None else store
    for name in sorted(needs):
        if getattr(config, name) is None:
            raise ConfigError(
                f"{name}: the method {config.method.name!r} needs it; give `{name}: {{data: FORMAT:PATH}}`"
            )
    if config.method.needs_init and config.init is None:
        raise ConfigError(
            f"init: the method {config.method.name!r} adapts a trained net and has no labels to train one; give "
            "`init: RUN`, a finished run such as one of the method 'source_only'"
        )
    if "source" not in needs and (config.source or config.validation):
        log.info("%s reads no source: `source` and `validation` stay unopened", config.method.name)
    source = _labelled(config.source) if config.source and "source" in needs else None
    target = _read(config.target, labelled=False, label_boxes=config.target.label_boxes) if config.target else None
    skeleton = _skeleton(config, source, target, begun)
    margin = round(config.margin * config.input_size)
    mapping, matched = _mapping(config, source, skeleton), None
    if source is not None and config.source is not None:
        matched = sources.match(source, skeleton, mapping, origin=config.source.data)
    held_out, source = _apart(apply(source, matched) if source is not None and matched is not None else source, config)
    roles = (("source", source, config.source), ("target", target, config.target))
    cut = {role: resolve(read, own.boxes) for role, read, own in roles if read is not None and own is not None}
    return Data(
        source=_crops(source, config.source, config, margin, store) if "source" in needs else None,
        target=_crops(_target(target, config.target), config.target, config, margin, store)
        if "target" in needs
        else None,
        validation=_held_out(
            config.validation if "source" in needs else None, config, skeleton, mapping, cut.get("source")
        )
        if held_out is None or config.source is None
        else _evaluated(held_out, config.source, config, cut.get("source")),
        monitor=_held_out(
            config.monitor,
            config,
            skeleton,
            config.target.mapping if config.target else {},
            cut.get("target"),
            into=sources.of_target,
        ),
        skeleton=skeleton,
        cut=cut,
        matched=matched,
    )


def _mapping(config: RunConfig, source: Annotations | None, skeleton: Skeleton) -> dict[str, Partner]:
    """What the configuration says of the source's keypoints; nothing where it speaks of a target that is not here."""
    if config.target is None and source is not None and source.skeleton.keypoints == skeleton.keypoints:
        return {}
    return {name: part for own in (config.source, config.target) if own for name, part in own.mapping.items()}


def share_crops(config: RunConfig, store: CropStore) -> None:
    """Leaves in ``store`` the caches that :func:`data_of` would, without opening a parent. Raises as it does."""
    margin, needs = round(config.margin * config.input_size), config.method.needs
    if config.source and "source" in needs:
        _crops(_labelled(config.source), config.source, config, margin, store)
    if config.target and "target" in needs:
        read = _read(config.target, labelled=False, label_boxes=config.target.label_boxes)
        _crops(_target(read, config.target), config.target, config, margin, store)


def _read(config: DataConfig, **labels: bool) -> Annotations:
    return sources.read(config.data, split=config.split, limit=config.limit, **labels)


def _labelled(config: DataConfig) -> Annotations:
    source = _read(config)
    if not len(source.skeleton):
        raise DataError(
            f"source: {config.data} has no keypoints to learn from; give labelled images, such as coco:FILE.json, and "
            "unlabelled ones as the target"
        )
    return source


def _apart(source: Annotations | None, config: RunConfig) -> tuple[Annotations | None, Annotations | None]:
    """What of the source is held out, if anything is, and what trains."""
    if source is None or config.validation is not None:
        return None, source
    held_out, rest = splits.held_out(source, min(config.held_out, len(source) // HELD_OUT_PART))
    return (held_out, rest) if len(held_out) >= FEWEST else (None, source)


def _skeleton(config: RunConfig, source: Annotations | None, target: Annotations | None, begun: Run | None) -> Skeleton:
    """The target's keypoints where its format names any (names are no labels), else the source's.

    A method that needs ``init`` predicts what that does, whatever keypoints a target names, and in whatever order.
    """
    if config.method.needs_init and config.init is not None:
        return (open_run(config.init) if begun is None else begun).skeleton
    for named in (target, source):
        if named is not None and len(named.skeleton):
            return named.skeleton
    if config.init is not None:
        return open_run(config.init).skeleton
    return Skeleton(name="none", keypoints=())


def _target(target: Annotations | None, config: DataConfig | None) -> Annotations | None:
    return None if target is None or config is None else unlabelled(target, config)


def unlabelled(target: Annotations, config: DataConfig) -> Annotations:
    """The target as adaptation sees it.

    Raises:
        ConfigError: Its crops would be cut by labels.
        DataError: Its boxes are wanted, and an instance has none.
    """
    if config.boxes == "from_keypoints":
        raise ConfigError(
            "target.boxes: from_keypoints reads target labels; freeze the boxes to a file, or use given or whole"
        )
    boxless = int(np.isnan(target.boxes).any(axis=1).sum())
    if config.boxes == "given" and boxless:
        raise DataError(
            f"target.boxes: given, but {boxless} of {len(target)} instances of {config.data} have no box while labels "
            "are not looked at; use whole, or `label_boxes: true` to cut by boxes that the format computes from labels"
        )
    return target.without_labels()


def _crops(
    annotations: Annotations | None, data: DataConfig | None, config: RunConfig, margin: int, store: CropStore
) -> Crops | None:
    if annotations is None or data is None:
        return None
    crops = Crops(
        annotations,
        data,
        size=config.input_size,
        margin=margin,
        cache_bytes=config.cache_mib * 2**20,
        disk_bytes=config.disk_cache_mib * 2**20,
    )
    # with their number, since stages may hold out different parts
    crops.share(store, f"{data.model_dump_json(exclude={'mapping'})} {len(crops)} {config.input_size} {margin}")
    return crops


def _held_out(
    data: DataConfig | None,
    config: RunConfig,
    skeleton: Skeleton,
    mapping: Mapping[str, Partner],
    cut: BoxMode | None,
    *,
    into: Callable[..., Annotations] = sources.to_skeleton,
) -> Crops | None:
    if data is None:
        return None
    annotations = into(_read(data), skeleton, data.mapping or mapping, origin=data.data)
    return _evaluated(annotations, data, config, cut)


def _evaluated(annotations: Annotations, data: DataConfig, config: RunConfig, cut: BoxMode | None) -> Crops:
    crop = as_cut(annotations, data, cut)
    return Crops(annotations, crop, size=config.input_size, cache_bytes=config.cache_mib * 2**20)


def batches_of(
    config: RunConfig,
    data: Data,
    share: Share,
    *,
    device: torch.device,
    workers: int,
    on_failed: Callable[[str, list[int]], None],
) -> Batches:
    """The batches of a run, or of the share of one of its processes; see :class:`Batches`."""
    roles = ("source", "student", "teacher", "teachers")
    views = Views(**{name: getattr(config.augment, name) for name in roles})
    return Batches(
        source=data.source, target=data.target, views=views, share=share, seed=config.seed, device=device,
        workers=workers, on_failed=on_failed,
    )  # fmt: skip


def with_same_data(run: Run, data: Data) -> Run:
    """The run, if its data still is what it began with. Raises :class:`DataError`."""
    before = run.manifest.get("data", {})
    changed = [name for name, mark in data.fingerprints.items() if before.get(name, mark) != mark]
    if changed:
        raise DataError(
            f"{run.path}: the data of {', '.join(changed)} changed since this run began; restore it, or train into "
            "another folder"
        )
    return run


def method_of(config: RunConfig, run: Run, data: Data) -> Method:
    """The configured method with its nets, started from the parents' weights.

    Raises:
        UsageError: A parent does not fit.
    """
    target, keypoints = data.target, len(data.skeleton)
    style, prior = (parents.parent_method(run, role, keypoints) for role in (parents.STYLE, parents.PRIOR))
    torch.manual_seed(config.seed)  # after the parents: what they draw must not change what the method's own nets do
    context = Context(
        net=lambda: parents.pose_net(config, run, keypoints),
        style=None if style is None else style.style_net,
        heatmap=config.heatmap,
        targets=len(target) if target is not None else 0,
        pairs=data.skeleton.flip_pairs,
        previous=torch.from_numpy(frames.previous(target.annotations)) if target is not None else None,
        keypoints=keypoints,
        prior=None if prior is None else prior.pose_prior,
    )
    method = METHODS[config.method.name](config.method, context)
    memory = torch.channels_last if config.model.channels_last else torch.contiguous_format
    method.to(memory_format=memory)
    return method
