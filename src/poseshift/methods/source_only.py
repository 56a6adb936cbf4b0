"""Source only: supervised training on labelled synthetic images (section 3.1), the baseline of every table.

Terms
    ``supervised``  Eq. 3.

Options that keep the comparison fair: ``stylise`` restyles source images with target styles, as the published
pre-training does (unlabelled target images then shape the source images); ``ema_decay`` evaluates a moving average of
the net, which every mean-teacher method has anyway.

The oracle of a table is this method given the target's labelled training split as its source.

Deviations from the paper: none. Deviations from the authors' code: no target labels select the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch, TargetBatch
from poseshift.errors import UsageError
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update, supervised
from poseshift.models.averaged import Averaged
from poseshift.models.style_bank import StyleBank


class SourceOnlyConfig(MethodConfig):
    """Options of source-only training."""

    name: Literal["source_only"] = "source_only"
    stylise: bool = Field(
        False, description="Restyle source images with target styles (image level); needs a style run."
    )
    style_probability: float = Field(0.5, ge=0, le=1, description="Of a batch to be restyled.")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="Evaluate a moving average of the net; 0 evaluates the net.")

    @property
    def needs(self) -> frozenset[str]:
        """Target images only where they lend their styles."""
        return frozenset({"source", "target"}) if self.stylise else frozenset({"source"})

    @property
    def needs_style(self) -> bool:
        return self.stylise


class SourceOnly(Method):
    """Supervised training on the source."""

    Config = SourceOnlyConfig
    moving_buffers = frozenset({"average"})

    def __init__(self, config: SourceOnlyConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config, self.heatmap = config, context.heatmap
        self.nets = Averaged(context.net(), decay=config.ema_decay)
        self.styles = _style_bank(context) if config.stylise else None

    def parts(self) -> dict[str, nn.Module]:
        return {"net": self.nets.net}

    def refresh(self, targets: Iterator[TargetBatch]) -> None:
        if self.styles is not None:
            self.styles.fill_from(targets)

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        output = self.nets.net(self._images(batch))
        term = Term(supervised(output, batch.source, self.nets.net.stride, self.heatmap))  # Eq. 3
        yield Update(terms={"supervised": term}, on=("net",), probe=(output.features,))

    def _images(self, batch: Batch) -> Tensor:
        images = batch.source.view.images
        if self.styles is None:
            return images
        return self.styles.restyled(images, batch.target.ids, batch.draws, probability=self.config.style_probability)

    def after_step(self, progress: float) -> None:
        self.nets.update()

    @property
    def predictor(self) -> nn.Module:
        return self.nets.predictor

    @property
    def student(self) -> nn.Module:
        return self.nets.net


def _style_bank(context: Context) -> StyleBank:
    if context.style is None:
        raise UsageError("method.stylise: no style net; give `style: RUN`, a finished run of the method 'style'")
    return StyleBank(context.style, context.targets)
