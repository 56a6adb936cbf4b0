"""Procedural source and target domains: articulated people and quadrupeds with exact keypoints.

``figures("source")`` and ``quadrupeds("middle", split="test")`` give annotations at once; an image is drawn when it is
read. Instance ``i`` depends on the kind, the domain, the split, the seed and ``i``, never on the count or the process.
"""

from __future__ import annotations

from poseshift.data.synth import dress, fur, people, quadruped
from poseshift.data.synth.domains import Camera, Domain, Look
from poseshift.data.synth.people_domains import FIGURE_DOMAINS
from poseshift.data.synth.pictures import COUNTS, Kind, ProceduralImages, annotate
from poseshift.data.synth.quadruped_domains import QUADRUPED_DOMAINS
from poseshift.types import Annotations

__all__ = [
    "COUNTS",
    "FIGURE_DOMAINS",
    "QUADRUPED_DOMAINS",
    "Camera",
    "Domain",
    "Kind",
    "Look",
    "ProceduralImages",
    "figures",
    "quadrupeds",
]

_FIGURES = Kind(name="figures", skeleton="lsp", categories=("person",), bodies=people.bodies, paint=dress.paint_person)
_QUADRUPEDS = Kind(
    name="quadrupeds", skeleton="animal14", categories=("dog", "sheep"), bodies=quadruped.bodies, paint=fur.paint_animal
)


def figures(
    domain: str = "source", *, split: str = "train", count: int | None = None, side: int = 96, seed: int = 0
) -> Annotations:
    """People with the 14 joints of LSP.

    Args:
        domain: A key of :data:`FIGURE_DOMAINS`.
        split: ``train``, ``val`` or ``test``: disjoint draws.
        count: Number of images, one person each; by default 4000, 500 or 1000 by split.
        side: Of the square images, in pixels.
        seed: Another one gives other people.

    Raises:
        UsageError: Unknown domain or split, or a count or side that cannot be.
    """
    return annotate(_FIGURES, FIGURE_DOMAINS, domain, split=split, count=count, side=side, seed=seed)


def quadrupeds(
    domain: str = "source", *, split: str = "train", count: int | None = None, side: int = 96, seed: int = 0
) -> Annotations:
    """Dogs and sheep, half each, with the 14 joints of AnimalPose.

    Args:
        domain: A key of :data:`QUADRUPED_DOMAINS`.
        split: ``train``, ``val`` or ``test``: disjoint draws.
        count: Number of images, one animal each; by default 4000, 500 or 1000 by split.
        side: Of the square images, in pixels.
        seed: Another one gives other animals.

    Raises:
        UsageError: Unknown domain or split, or a count or side that cannot be.
    """
    return annotate(_QUADRUPEDS, QUADRUPED_DOMAINS, domain, split=split, count=count, side=side, seed=seed)
