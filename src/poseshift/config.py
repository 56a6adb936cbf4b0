"""The run configuration: typed, strict, frozen; it composes each component's own configuration.

Unknown keys are errors that list the known ones. ``--set a.b=c`` changes one value; values are read as YAML.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from poseshift.data.augment_config import AugmentConfig
from poseshift.data.crops import CropConfig
from poseshift.data.skeletons import Partner
from poseshift.errors import ConfigError
from poseshift.methods import METHODS
from poseshift.methods.base import HeatmapConfig, MethodConfig, OptimiserConfig
from poseshift.models.pose_net import PoseNetConfig

if TYPE_CHECKING:
    MethodConfigs = MethodConfig
else:
    MethodConfigs = Annotated[Union[tuple(method.Config for method in METHODS.values())], Field(discriminator="name")]  # noqa: UP007


Selection = Literal[
    "label-free", "last", "agreement", "equivariance", "entropy", "information", "plausibility", "coincidence",
    "validation",
]  # fmt: skip
"""Rules that choose a checkpoint: the combination of scores without target labels, the last one, or one score."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: a run's configuration is read in a tenth of the time."""

PARENTS = ("init", "style", "prior")
"""Fields of :class:`RunConfig` that name a parent run."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _partner(value: Any) -> Any:
    """One name, or two different ones; an own message, since that of a union would name its types."""
    two = isinstance(value, (list, tuple)) and len(value) == len({str(name) for name in value}) == 2
    if not (isinstance(value, str) or (two and all(isinstance(name, str) and name for name in value))):
        raise ValueError("expected the name of a source keypoint, or two different ones as [left_hip, right_hip]")
    return value


PartnerName = Annotated[Partner, BeforeValidator(_partner)]


class DataConfig(CropConfig):
    """One data set and how instances are cut from it."""

    data: str = Field(description="FORMAT:PATH, for example coco:train.json.")
    split: str | None = Field(None, description="Split of that format, or groups_0_80; None for its default.")
    limit: int | None = Field(None, gt=0, description="Use only the first so many instances.")
    mapping: Mapping[str, PartnerName] = Field(
        default_factory=dict,
        description="Target keypoint name to source keypoint name, or to two whose middle it is: [name, name].",
    )
    label_boxes: bool = Field(
        False,
        description="Of a target: cut by the boxes that its format computes from labels, as published protocols do.",
    )


class ViewsConfig(_Strict):
    """Augmentation of each role."""

    source: AugmentConfig = AugmentConfig()
    student: AugmentConfig = AugmentConfig()
    teacher: AugmentConfig = AugmentConfig()
    teachers: int = Field(1, ge=1, description="Views of the teacher (k).")


class RunConfig(_Strict):
    """Everything a run is made of; training from it again repeats the run."""

    method: MethodConfigs
    model: PoseNetConfig = PoseNetConfig()
    heatmap: HeatmapConfig = HeatmapConfig()
    source: DataConfig | None = Field(None, description="Labelled images.")
    target: DataConfig | None = Field(None, description="Images to adapt to; their labels are dropped when read.")
    validation: DataConfig | None = Field(None, description="Held-out labelled source images, scored as training goes.")
    held_out: int = Field(
        256,
        ge=0,
        description="Without `validation`: source instances (at most a 20th) that are scored, not learned.",
    )
    monitor: DataConfig | None = Field(
        None,
        description="Labelled target images to score as training goes; uses target labels, and the report says so.",
    )
    augment: ViewsConfig = ViewsConfig()
    input_size: int = Field(256, ge=32, description="Side of the square input, pixels.")
    margin: float = Field(
        0.125, ge=0, le=1, description="Margin around the crop for augmentation, fraction of the side."
    )
    steps: int = Field(15000, ge=1)
    batch_size: int = Field(32, ge=2, description="Of each stream, over all processes.")
    optimiser: OptimiserConfig = OptimiserConfig()
    gradient_clip: float = Field(0.0, ge=0, description="Largest norm of an update's gradient; 0 for no limit.")
    init: str | None = Field(None, description="A finished run whose pose net is the start.")
    style: str | None = Field(None, description="A finished run of the method that trains style nets.")
    prior: str | None = Field(None, description="A finished run of the method that trains pose priors.")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, mps.")
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = Field(False, description="torch.compile of the pose nets; a minute or two before the first step.")
    workers: int = Field(0, ge=0, description="Loader processes for each stream.")
    cache_mib: int = Field(2048, ge=0, description="Memory for decoded crops of each stream; above it, a file.")
    disk_cache_mib: int = Field(
        16384,
        ge=0,
        description="That temporary file (TMPDIR or /var/tmp) for each stream; above it, images are decoded each time.",
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="Where a loss or gradient is not finite: stop before the step, or leave it out."
    )
    nonfinite_limit: int = Field(10, ge=1, description="Steps of the run that may be left out so.")
    log_every: int = Field(20, ge=1)
    save_every: int = Field(500, ge=1)
    keep: int = Field(2, ge=1, description="Newest checkpoints that are kept, beside those that a pointer names.")
    norms_every: int = Field(100, ge=0, description="Steps between measurements of gradient norms; 0 for never.")
    agreement_images: int = Field(256, ge=1, description="Target images that score a checkpoint without labels.")
    selection: Selection = Field("label-free", description="What `best` points to: a combination, or one score.")
    oracle: bool = Field(False, description="The source is the target's own labelled data: an oracle; reports say so.")

    @property
    def logit_sigma(self) -> float | None:
        """Sigma of the Gaussian that the softmax of the net's maps is trained to be; None where they are no logits."""
        return self.heatmap.sigma if self.method.makes_logits else None

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        if self.input_size % 32:
            raise ValueError(
                f"input_size {self.input_size} is no multiple of 32; choose {round(self.input_size / 32) * 32}"
            )
        return self


def load(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A YAML mapping with ``a.b=c`` overrides applied. Raises :class:`ConfigError`."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - either is safe
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration ({error.strerror}); give a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({_one_line(error)}); fix the file") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path}: found {type(raw).__name__}, expected a mapping such as `method: {{name: source_only}}`"
        )
    return override(raw, overrides)


def override(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``raw`` with each ``a.b=value`` set; the value is read as YAML. Raises :class:`ConfigError`."""
    result = merge({}, raw)
    for text in overrides:
        path, separator, value = text.partition("=")
        if not separator or not all(path.split(".")):
            raise ConfigError(f"--set {text!r}: expected KEY.KEY=VALUE, for example --set optimiser.rate=0.001")
        try:
            tree: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text!r}: the value is not YAML ({_one_line(error)}); quote it") from error
        for key in reversed(path.split(".")):
            tree = {key: tree}
        result = merge(result, tree)
    return result


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``change`` laid over it; mappings are merged, all else is replaced."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        result[key] = merge(old if isinstance(old, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return result


def parse(raw: Mapping[str, Any], model: type[BaseModel] = RunConfig, *, origin: str = "configuration") -> Any:
    """``raw`` as a validated ``model``. Raises :class:`ConfigError`: one line, the known keys beside an unknown one."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        # pydantic names the chosen method after "method"; elsewhere such a word is a key, such as `style`
        tagged = first["loc"][:1] == ("method",) and len(first["loc"]) > 1
        places = [str(part) for part in (first["loc"][:1] + first["loc"][2:] if tagged else first["loc"])]
        where = ".".join(places) or "top level"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"])
            near = difflib.get_close_matches(places[-1], known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{origin}: unknown key {where!r}; {hint}known: {', '.join(known)}{more}") from None
        if first["type"].startswith("union_tag_"):
            name = first["ctx"].get("tag")
            what = "has no `name`" if name is None else f"unknown name {name!r}"
            raise ConfigError(f"{origin}: {where}: {what}; known: {', '.join(METHODS)}{more}") from None
        given = first.get("input")
        found = "" if isinstance(given, Mapping) else f", found {_short(given)}"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{origin}: {where}: {_one_line(message)}{found}{more}") from None


def _known_keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for index, part in enumerate(place[:-1]):
        if index == 1 and place[0] == "method" and part in METHODS:
            current = METHODS[str(part)].Config
        elif isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            options = [
                current.model_fields[str(part)].annotation,
                *get_args(current.model_fields[str(part)].annotation),
            ]
            current = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), current)
    return sorted(current.model_fields)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def dump(config: BaseModel) -> str:
    """A configuration as YAML text that :func:`load` and :func:`parse` read back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
