"""Procedural annotations: labels at once for all instances, pixels only when an image is read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from poseshift.data.skeletons import SKELETONS
from poseshift.data.synth.domains import Domain, Look
from poseshift.data.synth.render import Paint, draw
from poseshift.data.synth.scene import Body, Scene, frame, visibility
from poseshift.data.synth.scenery import background, occlude, photograph
from poseshift.data.synth.uniforms import Draws, Indices, stream_key
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, ByteArray

COUNTS: Mapping[str, int] = {"train": 4000, "val": 500, "test": 1000}
"""Number of instances of each split, where none is asked for."""
BLOCK = 16
"""Bodies that are posed at once when one of them is drawn: sixteen cost hardly more than one."""
_KEPT = 2048
"""Blocks that a process keeps, about 2 kB a body."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of body.

    Attributes:
        name: First part of the keys.
        skeleton: Name of the skeleton.
        categories: Names; which one an instance has is drawn.
        bodies: Domain, draws and category of each instance to posed bodies.
        paint: Generator, look, pixels per body unit and category of one instance to its colours.
    """

    name: str
    skeleton: str
    categories: tuple[str, ...]
    bodies: Callable[[Domain, Draws, Indices], Body]
    paint: Callable[[np.random.Generator, Look, float, int], Paint]


@dataclass(frozen=True, kw_only=True)
class ProceduralImages:
    """Images of a procedural domain; number ``i`` is a function of (kind, domain, split, seed, side, ``i``) alone."""

    kind: Kind
    domain: Domain
    split: str
    seed: int
    side: int
    count: int

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        """Such as ``"figures/source/train/000017"``."""
        return f"{self.kind.name}/{self.domain.name}/{self.split}/{index:06d}"

    def size(self, index: int) -> tuple[int, int]:
        """Width and height, without drawing."""
        return self.side, self.side

    def scene(self, index: Indices) -> tuple[Body, Scene, Indices]:
        """Bodies, scene and categories of some images."""
        draws = Draws(stream_key(self.kind.name, self.domain.geometry, self.split, self.seed), index)
        category = draws.choice("category", (1.0,) * len(self.kind.categories))
        body = self.kind.bodies(self.domain, draws, category)
        return body, frame(body, self.domain.camera, draws, self.side, self.domain.look.occluders), category

    @cached_property
    def _blocks(self) -> OrderedDict[int, tuple[Scene, Indices]]:
        return OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """All but the posed blocks, which a loader's process makes itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_blocks"}

    def _posed(self, index: int) -> tuple[Scene, int]:
        """Scene (of one instance) and category of one image."""
        block, row = divmod(index, BLOCK)
        if block not in self._blocks:
            _, scene, category = self.scene(np.arange(block * BLOCK, (block + 1) * BLOCK))
            self._blocks[block] = scene, category
            if len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        scene, category = self._blocks[block]
        return scene[row], int(category[row])

    def read(self, index: int) -> ByteArray:
        """Draw image ``index``: ``side×side×3`` uint8.

        Raises:
            DataError: There is no such image.
        """
        if not 0 <= index < self.count:
            raise DataError(f"{self.kind.name} {self.domain.name}: no image {index}; expected 0..{self.count - 1}")
        scene, category = self._posed(index)
        rng = np.random.default_rng(stream_key(self.kind.name, self.domain.name, self.split, self.seed, "look", index))
        look = self.domain.look
        canvas = background(rng, look, self.side, scene.boxes[0])
        paint = self.kind.paint(rng, look, float(scene.scale[0]), category)
        canvas = draw(canvas, scene, paint)
        return photograph(occlude(canvas, rng, look, scene.occluders[0]), rng, look)


def annotate(
    kind: Kind, domains: Mapping[str, Domain], domain: str, *, split: str, count: int | None, side: int, seed: int
) -> Annotations:
    """Labels of ``count`` instances, one in each image.

    Raises:
        UsageError: Unknown domain or split, or a count or side that cannot be.
    """
    if domain not in domains:
        raise UsageError(f"unknown domain {domain!r} of {kind.name}; known: {', '.join(domains)}")
    if split not in COUNTS:
        raise UsageError(f"unknown split {split!r} of {kind.name} {domain}; known: {', '.join(COUNTS)}")
    count = COUNTS[split] if count is None else count
    if count < 1 or side < 16:
        raise UsageError(f"{kind.name} {domain}: count={count}, side={side}; expected count >= 1 and side >= 16")
    images = ProceduralImages(kind=kind, domain=domains[domain], split=split, seed=seed, side=side, count=count)
    index = np.arange(count, dtype=np.int64)
    body, scene, category = images.scene(index)
    visible = visibility(scene, body, side)
    boxes = np.clip(scene.boxes, -0.5, side - 0.5)
    return Annotations(
        name=f"{kind.name}-{domain}",
        images=images,
        image_index=index,
        skeleton=SKELETONS[kind.skeleton],
        keypoints=np.where(visible[..., None] > 0, scene.joints[..., :2], 0).astype(np.float32),
        visible=visible,
        boxes=boxes.astype(np.float32),
        groups=np.array([f"{split}-{i:06d}" for i in range(count)]),
        categories=np.array(kind.categories)[category],
        note=f"procedural, split {split}, seed {seed}, {side} px; boxes bound the drawn silhouette",
    )
