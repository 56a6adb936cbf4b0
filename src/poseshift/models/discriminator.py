"""The discriminator of the feature level: one domain logit for each cell of the features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from poseshift.ops import adversarial


class Discriminator(nn.Module):
    """Four 3×3 convolutions, LeakyReLU(0.2) between, no norm: ``B×C×h×w`` features to ``B×1×h×w`` logits.

    Widths are ``C → C → C/2 → C/2 → 1``; with the published ``C = 256`` that is 1,033,857 parameters.
    """

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        half = channels // 2
        pairs = [(channels, channels), (channels, half), (half, half), (half, 1)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairs:
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 1 h w"]:
        """Logits ``B×1×h×w`` of features ``B×C×h×w``; positive says target."""
        logits: Tensor = self.layers(features)
        return logits

    def confusion(
        self, source: Float[Tensor, "B C h w"], target: Float[Tensor, "B C h w"], coefficient: float
    ) -> Float[Tensor, ""]:
        """Eq. 6 on features of both domains, behind a gradient reversal times ``coefficient``."""
        logits = [self(adversarial.reverse_gradient(features, coefficient)) for features in (source, target)]
        return adversarial.domain_cross_entropy(logits[0].float(), logits[1].float())
