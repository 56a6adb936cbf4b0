"""The published modes against inputs and outputs of the released code's own functions."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from poseshift import metrics
from poseshift.models.adain import adain, statistics
from poseshift.models.discriminator import Discriminator
from poseshift.ops import heatmaps, information, losses, pseudo_labels

STRIDE = 4


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> SimpleNamespace:
    with np.load(shared_data / "parity" / "reference.npz") as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return SimpleNamespace(**tensors, scalars=json.loads((shared_data / "parity" / "reference.json").read_text()))


def float32_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.float(), expected.float(), rtol=1e-5, atol=1e-6)


def test_targets(reference: SimpleNamespace) -> None:
    maps, weight = heatmaps.encode(
        reference.joints,
        reference.visible,
        (64, 64),
        stride=STRIDE,
        sigma=2.0,
        convention="published_human",
    )
    float32_equal(maps, reference.target)
    assert torch.equal(weight.float(), reference.target_weight)
    assert 0 < weight.mean() < 1, "some joints of the fixture lie outside or are not visible"


def test_supervised(reference: SimpleNamespace) -> None:
    found = losses.supervised(reference.student, reference.target, reference.target_weight)
    assert found.item() == pytest.approx(reference.scalars["supervised"], rel=1e-6)


def test_mask_and_threshold(reference: SimpleNamespace) -> None:
    _, peaks = heatmaps.peaks(reference.teacher)
    mask = pseudo_labels.top_fraction(peaks, 0.5)
    assert torch.equal(mask.bool(), reference.mask)
    threshold = reference.scalars["mask_threshold"]
    assert peaks[~mask.bool()].max().item() == pytest.approx(threshold, rel=1e-6)
    assert peaks[mask.bool()].min().item() > threshold


@pytest.mark.parametrize("sigma", [2, 1])
def test_rectified(reference: SimpleNamespace, sigma: int) -> None:
    float32_equal(heatmaps.rectify(reference.teacher, sigma), getattr(reference, f"rectified_sigma{sigma}"))


def test_consistency(reference: SimpleNamespace) -> None:
    _, peaks = heatmaps.peaks(reference.teacher)
    mask = pseudo_labels.top_fraction(peaks, 0.5)
    found = losses.consistency(reference.student, heatmaps.rectify(reference.teacher, 2.0), mask)
    assert found.item() == pytest.approx(reference.scalars["consistency"], rel=1e-5)


def test_released_pose_term_and_its_gradient_in_float64(reference: SimpleNamespace) -> None:
    student = reference.student.double().requires_grad_()
    term = information.released_certainty(student) - information.released_diversity(student)
    assert term.item() == pytest.approx(reference.scalars["pose_float64"], abs=1e-16, rel=0)
    (gradient,) = torch.autograd.grad(term, student)
    error = (gradient - reference.pose_grad).norm() / reference.pose_grad.norm()
    assert error < 1e-6


def test_adain(reference: SimpleNamespace) -> None:
    float32_equal(adain(reference.content, statistics(reference.style)), reference.adain)


def test_reference_pck(reference: SimpleNamespace) -> None:
    cells, _ = heatmaps.peaks(reference.student)
    true_cells, _ = heatmaps.peaks(reference.target)
    hits = metrics.reference_hits(cells.numpy(), true_cells.numpy(), (64, 64))
    per_joint = metrics.pck_by_batch(hits)
    np.testing.assert_allclose(per_joint, reference.accuracy_per_joint.numpy(), rtol=1e-12)
    assert metrics.mean_of(per_joint) == pytest.approx(reference.scalars["accuracy_mean"], rel=1e-12)


def test_discriminator_shapes(reference: SimpleNamespace) -> None:
    found = [tuple(parameter.shape) for parameter in Discriminator(256).parameters()]
    assert found == [tuple(shape) for shape in reference.scalars["discriminator_shapes"].values()]
    assert sum(np.prod(shape) for shape in found) == reference.scalars["discriminator_parameters"]
