"""The shapes in the signatures are checked in every test: conftest.py installs the check."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from poseshift.batches import SourceBatch, TargetBatch, View
from poseshift.draws import Draws
from poseshift.models.adain import SmallDecoder, statistics
from poseshift.models.discriminator import Discriminator
from poseshift.ops import affine, color, heatmaps, losses, pseudo_labels

PEAKS, MAPS, IMAGES = torch.rand(2, 5), torch.rand(2, 5, 6, 10), torch.rand(2, 3, 24, 40)
MATRIX = torch.eye(3).expand(2, 3, 3)
VIEW = View(images=IMAGES, matrix=MATRIX)
IDS = torch.arange(2)
DRAWS = Draws(seed=0, step=0, start=0, count=2, total=2, device=torch.device("cpu"))

WRONG: dict[str, Callable[[], object]] = {
    "an axis too few": lambda: heatmaps.peaks(MAPS[0, 0, 0]),
    "a fixed axis": lambda: affine.invert(torch.eye(4)),
    "pictures without colour": lambda: color.normalise(IMAGES[:, :1]),
    "a dtype": lambda: affine.translation(IDS.view(1, 2)),
    "an axis that two arguments share": lambda: losses.supervised(MAPS, MAPS, PEAKS[:, :4]),
    "sizes that two arguments share": lambda: losses.consistency(MAPS, MAPS.mT, PEAKS),
    "an axis that is a sum": lambda: pseudo_labels.choose_confident(PEAKS, threshold=0.5, probability=0.5, draws=PEAKS),
    "a batch beside one matrix": lambda: affine.warp(IMAGES, MATRIX[:1], (12, 20)),
    "a method of a net": lambda: Discriminator(8)(torch.rand(8, 6, 10)),
    "channels of a net": lambda: SmallDecoder()(torch.rand(2, 32, 6, 10)),
    "a field": lambda: View(images=IMAGES, matrix=MATRIX[:1]),
    "a field of labels": lambda: SourceBatch(view=VIEW, keypoints=MAPS[..., 0, :2], visible=PEAKS[:, :4], ids=IDS),
    "a field that is no tensor": lambda: TargetBatch(student=VIEW, teacher=(VIEW,), ids=[0, 1]),
    "a view that is none": lambda: pseudo_labels.occlude_confident(
        IMAGES, MAPS, DRAWS, stride=4, threshold=0.5, probability=0.5, side=0.1
    ),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_shape_raises(call: Callable[[], object]) -> None:
    with pytest.raises(TypeCheckError):
        call()


def test_a_wrong_result_raises() -> None:
    net = Discriminator(8)
    net.layers = nn.Sequential(nn.Conv2d(8, 2, 1))
    with pytest.raises(TypeCheckError, match="return value"):
        net(torch.rand(2, 8, 6, 10))


def test_a_message_names_argument_and_shape() -> None:
    with pytest.raises(TypeCheckError, match=r"(?s)parameters of poseshift\.ops\.losses\.supervised.*weight"):
        losses.supervised(MAPS, MAPS, PEAKS[:, :4])


def test_what_is_right_passes() -> None:
    """An int for a float, any leading axes where a function takes them, half precision, and one centre for many."""
    assert affine.to_cells(torch.eye(3), 4).shape == (3, 3)
    block = torch.eye(2).expand(4, 5, 2, 2)
    assert affine.linear(block, centre=torch.zeros(2)).shape == (4, 5, 3, 3)
    assert affine.linear(block, centre=torch.zeros(4, 5, 2)).shape == (4, 5, 3, 3)
    assert statistics(MAPS.bfloat16()).mean.shape == (2, 5, 1, 1)
