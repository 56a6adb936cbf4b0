"""The style net of the image level (AdaIN, Huang & Belongie, ICCV 2017; section 2.3): encoder, decoder, their training.

Terms
    ``reconstruction``  mean squared error of g(f(x)) to x, both domains; trains the small encoder and the decoder.
    ``content``         mean squared error of f(g(t)) to t = AdaIN(f(content), f(style)).
    ``style``           mean squared error of channel means and deviations of g(t) to the style's, at every level.

Content is half source, half target, and so is style, crossed. The content and style terms move the decoder alone.

Deviations from the paper: the small encoder is not a classification net but is trained here, by reconstruction, so its
features are only those that a picture is made of. Deviations from the authors' code: images are normalised in the same
way for both; with VGG-19, zero padding and another origin of weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from poseshift.batches import Batch
from poseshift.methods.base import Context, Method, MethodConfig, Term, Update
from poseshift.models.adain import StyleNet, StyleNetConfig, adain, statistics


class StyleConfig(MethodConfig):
    """Options of the training of a style net."""

    name: Literal["style"] = "style"
    net: StyleNetConfig = StyleNetConfig()
    style_weight: float = Field(0.1, ge=0, description="Of the style term; the content term has 1.")
    reconstruction_weight: float = Field(1.0, ge=0, description="Of the reconstruction; 0 with VGG-19, as published.")

    def without_weights(self) -> StyleConfig:
        """For a run folder, which holds the encoder's weights itself."""
        return self.model_copy(update={"net": self.net.model_copy(update={"weights": None})})


class Style(Method):
    """Trains a style net; makes no pose net."""

    Config = StyleConfig
    makes = "style net"

    def __init__(self, config: StyleConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config = config
        self.net = StyleNet(config.net)

    def parts(self) -> dict[str, nn.Module]:
        if self.config.net.encoder == "vgg19":
            return {"decoder": self.net.decoder}  # the encoder is frozen
        return {"encoder": self.net.encoder, "decoder": self.net.decoder}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        source, target = batch.source.view.images, batch.target.student.images
        draws = batch.draws
        half = max(0, min(draws.count, draws.total // 2 - draws.start))  # of this process's share of the first half
        content = torch.cat((source[:half], target[half:]))
        styles = torch.cat((target[:half], source[half:]))

        if self.config.reconstruction_weight:
            again = self.net.decoder(self.net.encode(content))
            reconstruction = Term(F.mse_loss(again, content), self.config.reconstruction_weight)
            yield Update(terms={"reconstruction": reconstruction}, on=tuple(self.parts()))

        with torch.no_grad():
            wanted = self.net.encoder(styles)
            restyled = adain(self.net.encode(content), statistics(wanted[-1]))
        found = self.net.encoder(self.net.decoder(restyled))
        terms = {
            "content": Term(F.mse_loss(found[-1], restyled)),
            "style": Term(_style_distance(found, wanted), self.config.style_weight),
        }
        yield Update(terms=terms, on=("decoder",))

    @property
    def predictor(self) -> None:
        return None

    @property
    def style_net(self) -> StyleNet:
        return self.net


def _style_distance(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    total = found[0].new_zeros(())
    for one, other in zip(found, wanted, strict=True):
        a, b = statistics(one), statistics(other)
        total = total + F.mse_loss(a.mean, b.mean) + F.mse_loss(a.std, b.std)
    return total
