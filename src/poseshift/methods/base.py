"""All that the engine may ask of a method: a generator of updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from poseshift.batches import Batch, SourceBatch, TargetBatch
from poseshift.models.adain import StyleNet
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.models.pose_prior import PosePrior
from poseshift.ops import heatmaps, losses, pseudo_labels


class HeatmapConfig(BaseModel):
    """How target heatmaps are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sigma: float = Field(2.0, gt=0, description="Of the Gaussian, in cells.")
    convention: heatmaps.Convention = Field("exact", description="exact, published_human or published_animal.")


class OptimiserConfig(BaseModel):
    """How the parameters of one part move."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["adam", "adamw", "sgd"] = "adam"
    rate: float = Field(1e-4, gt=0, description="Learning rate.")
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD, with Nesterov.")
    schedule: Literal["constant", "steps", "cosine", "inverse", "poly"] = Field(
        "constant", description="inverse is (1 + decay·p)^-power of the fraction p of the run, poly (1 - p)^power."
    )
    milestones: tuple[float, ...] = Field((), description="Fractions of the run at which `steps` multiplies the rate.")
    factor: float = Field(0.1, gt=0, le=1, description="What `steps` multiplies by.")
    power: float = Field(0.75, gt=0, description="Of `inverse` (0.75 as published) and `poly` (0.9 is usual).")
    decay: float = Field(
        10.0, ge=0, description="Of `inverse`: 10 is DANN's and SHOT's; RegDA's run of 15,000 has 1.5."
    )
    warmup: float = Field(0.0, ge=0, lt=1, description="Fraction of the run over which the rate rises linearly.")


class MethodConfig(BaseModel):
    """Base of every method's configuration: strict and frozen, with a literal ``name``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""

    @property
    def needs(self) -> frozenset[str]:
        """The fields of a batch that the method reads under this configuration."""
        return frozenset({"source", "target"})

    @property
    def needs_init(self) -> bool:
        """Whether it can only start from a trained net; so does all that sees target images and no labelled ones."""
        return "source" not in self.needs

    @property
    def needs_style(self) -> bool:
        """Whether it restyles images, and so needs a style net, under this configuration."""
        return False

    @property
    def makes_logits(self) -> bool:
        """Whether the net's heatmaps are logits, whose softmax is what was trained, not heatmaps as drawn."""
        return False

    @property
    def needs_prior(self) -> bool:
        """Whether it asks a pose prior under this configuration."""
        return False

    def without_weights(self) -> Self:
        """The same configuration with nothing to load from outside the run folder."""
        return self


class Occluding(MethodConfig):
    """Base of those that paste a patch over a confident keypoint of the student's view."""

    occlusion: bool = Field(True, description="Paste a patch over a confident keypoint of the student's view.")
    occlusion_probability: float = Field(0.5, ge=0, le=1)
    occlusion_threshold: float = Field(0.9, ge=0, le=1, description="Teacher peak from which a keypoint is confident.")
    occlusion_side: float = Field(20 / 256, gt=0, lt=1, description="Side of the patch, fraction of the input's.")


@dataclass(frozen=True, kw_only=True)
class OnTheFly:
    """A way to adapt while predicting: ``refresh`` sees each batch of plain images, then its updates are taken.

    Attributes:
        config: Of the method; it needs the target alone.
        moves: What is adapted, in words.
    """

    config: MethodConfig
    moves: str


@dataclass(frozen=True)
class Term:
    """One summand of a loss: a raw scalar and its weight."""

    value: Tensor
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Update:
    """One backward pass and one optimiser step.

    Attributes:
        terms: In the order of the paper's equations.
        on: Names of the parts whose parameters move; all others stand still.
        probe: Tensors at which the engine measures the gradient norm of each term: the shared features.
        monitors: Scalars to log beside the terms, detached.
    """

    terms: Mapping[str, Term]
    on: tuple[str, ...]
    probe: tuple[Tensor, ...] = ()
    monitors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The weighted sum of the terms."""
        values = [term.value if term.weight == 1 else term.value * term.weight for term in self.terms.values()]
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the engine hands to a method when it is built.

    Attributes:
        net: Makes the pose net, with the weights of the parent run where there is one.
        style: The style net of the parent run, or None.
        prior: The pose prior of the parent run, or None.
        heatmap: How target heatmaps are drawn.
        targets: Number of target instances, 0 where there are none.
        pairs: Indices of left and right keypoints.
        previous: ``targets`` rows: the target instance in the frame before of the same video, -1 for none.
        keypoints: Number of keypoints of the run.
    """

    net: Callable[[], PoseNet]
    style: StyleNet | None
    heatmap: HeatmapConfig
    targets: int
    pairs: tuple[tuple[int, int], ...] = ()
    previous: Int[Tensor, " N"] | None = None
    keypoints: int = 0
    prior: PosePrior | None = None


class Method(nn.Module, ABC):
    """One paper. Reads batches, yields updates; knows nothing of files, devices, precision or processes.

    Attributes:
        Config: Its configuration class, with a literal ``name``.
        moving_buffers: Parts whose buffers (BatchNorm statistics) move outside of their own update.
        makes: What a run of it is for, in words; other runs ask for it by these.
    """

    Config: ClassVar[type[MethodConfig]]
    moving_buffers: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[Literal["pose net", "style net", "pose prior"]] = "pose net"
    refresh_every: int = 0

    @abstractmethod
    def __init__(self, config: Any, context: Context) -> None:
        """Builds the parts."""
        super().__init__()

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """What an update may train, by name."""

    @abstractmethod
    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        """The paper: yields the updates of one step; each is computed after the one before was taken.

        Args:
            batch: The fields in the configuration's ``needs``, no others.
            progress: Fraction of the run that is done, in [0, 1).
        """

    @property
    @abstractmethod
    def predictor(self) -> nn.Module | None:
        """The pose net that is evaluated and exported; None where a run makes no pose net."""

    @property
    def student(self) -> nn.Module | None:
        """The pose net that gradients move; the predictor itself where there is no teacher."""
        return self.predictor

    @property
    def style_net(self) -> StyleNet | None:
        """The style net that a run of this method makes; None where it makes something else."""
        return None

    @property
    def pose_prior(self) -> PosePrior | None:
        """The pose prior that a run of this method makes; None where it makes something else."""
        return None

    def optimisers(self, default: OptimiserConfig) -> dict[str, OptimiserConfig]:
        """The optimiser of each part; the run's for all of them unless the paper has its own."""
        return dict.fromkeys(self.parts(), default)

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        """A pass over all target images before the first step and, with ``refresh_every`` > 0, every so many steps.

        In a stream of images to predict it sees each batch once, just before that is predicted (:class:`OnTheFly`).
        """
        del targets

    def after_step(self, progress: float) -> None:
        """What follows the step's updates, such as a moving average."""
        del progress


def occluded(config: Occluding, batch: Batch, pseudo: Float[Tensor, "B K h w"], stride: float) -> Tensor:
    """The student's target images ``B×3×H×W``, a patch over one confident keypoint of some.

    Args:
        config: Whether, how often and how large.
        batch: Its target, and the step's random numbers.
        pseudo: Teacher heatmaps in the canonical frame.
        stride: Pixels a cell of them.
    """
    view = batch.target.student
    if not config.occlusion:
        return view.images
    return pseudo_labels.occlude_confident(
        view,
        pseudo,
        batch.draws,
        stride=stride,
        threshold=config.occlusion_threshold,
        probability=config.occlusion_probability,
        side=config.occlusion_side,
    )


def supervised(output: PoseOutput, labels: SourceBatch, stride: float, config: HeatmapConfig) -> Tensor:
    """Eq. 3 of ``output`` against heatmaps drawn from the labels."""
    size = (output.heatmaps.shape[-2], output.heatmaps.shape[-1])
    target, weight = heatmaps.encode(labels.keypoints, labels.visible, size, stride=stride, **config.model_dump())
    return losses.supervised(output.heatmaps.float(), target, weight)
