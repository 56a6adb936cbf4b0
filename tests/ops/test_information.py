from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poseshift.ops import heatmaps, information, losses, pseudo_labels

HEIGHT, WIDTH = 24, 40


def slow_entropy(logits: list[float]) -> float:
    top = max(logits)
    parts = [math.exp(value - top) for value in logits]
    return -sum(p / sum(parts) * math.log(p / sum(parts)) for p in parts if p > 0)


def random_maps(seed: int = 0, *, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, HEIGHT, WIDTH, dtype=torch.float64, generator=generator) * scale


def test_released_certainty_against_a_loop() -> None:
    maps, total = random_maps(), 0.0
    for b in range(3):
        for k in range(2):
            rows = [sum(maps[b, k, i].tolist()) / WIDTH for i in range(HEIGHT)]
            columns = [sum(maps[b, k, :, j].tolist()) / HEIGHT for j in range(WIDTH)]
            total += slow_entropy(rows) + slow_entropy(columns)
    assert information.released_certainty(maps).item() == pytest.approx(total / 6 / (HEIGHT * WIDTH), rel=1e-12)


def test_released_diversity_against_a_loop() -> None:
    maps, total = random_maps(), 0.0
    for k in range(2):
        total += slow_entropy([sum(maps[:, k].flatten(1)[:, i].tolist()) / 3 for i in range(HEIGHT * WIDTH)])
    assert information.released_diversity(maps).item() == pytest.approx(total / 2 / (HEIGHT * WIDTH), rel=1e-12)


def test_the_released_term_is_zero_at_uniform_maps() -> None:
    maps = torch.full((4, 3, 64, 64), 0.37, dtype=torch.float64)
    term = information.released_certainty(maps) - information.released_diversity(maps)
    assert abs(term.item()) < 1e-16  # 2·ln 64 = ln 4096


def test_calibrated_certainty_against_a_loop() -> None:
    maps, beta = random_maps(), 1.7
    weight = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    each = torch.zeros(3, 2, dtype=torch.float64)
    for b in range(3):
        for k in range(2):
            rows = [beta * max(maps[b, k, i].tolist()) for i in range(HEIGHT)]
            columns = [beta * max(maps[b, k, :, j].tolist()) for j in range(WIDTH)]
            each[b, k] = slow_entropy(rows) / math.log(HEIGHT) + slow_entropy(columns) / math.log(WIDTH)
    torch.testing.assert_close(information.certainty(maps, inverse_temperature=beta), each.mean())
    found = information.certainty(maps, inverse_temperature=beta, weight=weight)
    torch.testing.assert_close(found, (each * weight).sum() / 3)


def test_calibrated_diversity_is_on_mean_probabilities() -> None:
    maps, beta = random_maps(), 1.7
    mean = (beta * maps.flatten(-2)).softmax(-1).mean(0)
    expected = -(mean * mean.log()).sum(-1).mean() / math.log(HEIGHT * WIDTH)
    torch.testing.assert_close(information.diversity(maps, inverse_temperature=beta), expected)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), scale=st.floats(0, 50), beta=st.floats(0.1, 30))
def test_values_stay_in_their_bounds(seed: int, scale: float, beta: float) -> None:
    maps = random_maps(seed, scale=scale).float()
    assert -1e-5 <= information.certainty(maps, inverse_temperature=beta).item() <= 2 + 1e-5
    assert -1e-5 <= information.diversity(maps, inverse_temperature=beta).item() <= 1 + 1e-5


def test_the_bounds_are_reached() -> None:
    flat, spike = torch.zeros(2, 1, HEIGHT, WIDTH), torch.zeros(2, 1, HEIGHT, WIDTH)
    spike[:, :, 3, 5] = 1.0
    assert information.certainty(flat, inverse_temperature=10.0).item() == pytest.approx(2)
    assert information.certainty(spike, inverse_temperature=50.0).item() == pytest.approx(0, abs=1e-5)
    assert information.diversity(flat, inverse_temperature=10.0).item() == pytest.approx(1)
    assert information.diversity(spike, inverse_temperature=50.0).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("height", [0.0, 1.0, 30.0, -30.0, 1000.0])
def test_gradients_are_finite_where_a_softmax_underflows(height: float) -> None:
    maps = torch.zeros(2, 1, HEIGHT, WIDTH)
    maps[:, :, 3, 5] = height
    maps.requires_grad_()
    terms = information.certainty(maps, inverse_temperature=10.0) - information.diversity(
        maps, inverse_temperature=10.0
    )
    released = information.released_certainty(maps) - information.released_diversity(maps)
    (gradient,) = torch.autograd.grad(terms + released, maps)
    assert gradient.isfinite().all()


def test_certainty_sharpens_and_diversity_spreads() -> None:
    maps = heatmaps.draw(torch.tensor([[[12.0, 9.0]], [[13.0, 9.0]]]), (HEIGHT, WIDTH), 2.0) * 0.6
    maps.requires_grad_()
    (sharper,) = torch.autograd.grad(information.certainty(maps, inverse_temperature=10.0), maps)
    assert -sharper[0, 0, 9, 12] > 0, "a step down the certainty term raises the peak"
    (wider,) = torch.autograd.grad(-information.diversity(maps, inverse_temperature=10.0), maps)
    assert -wider[0, 0, 9, 12] < 0, "a step up the diversity term lowers a peak that all samples share"


def gradient_norm(loss: Tensor, maps: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, maps, retain_graph=True)
    return gradient.norm()


def gradient_ratios(seed: int, *, jitter: float) -> tuple[float, float]:
    """Norm of the pose term's gradient over the consistency term's, released (λ_c = 0.3) and calibrated (defaults)."""
    from poseshift.methods.multilevel import MultilevelConfig

    config = MultilevelConfig()
    torch.manual_seed(seed)
    centres = torch.rand(16, 16, 2, dtype=torch.float64) * 44 + 10

    def maps(at: Tensor) -> Tensor:
        peak = torch.rand(16, 16, 1, 1, dtype=torch.float64) * 0.5 + 0.4
        return heatmaps.draw(at, (64, 64), 2.0) * peak + 0.01 * torch.randn(16, 16, 64, 64, dtype=torch.float64)

    teacher, student = maps(centres), maps(centres + jitter * torch.randn_like(centres)).requires_grad_()
    _, peaks = heatmaps.peaks(teacher)
    mask = pseudo_labels.top_fraction(peaks, 0.5)
    consistency = gradient_norm(losses.consistency(student, heatmaps.rectify(teacher, 2.0), mask), student)
    released = 0.3 * (information.released_certainty(student) - information.released_diversity(student))
    beta = config.inverse_temperature
    calibrated = config.certainty_weight * information.certainty(student, inverse_temperature=beta)
    calibrated = calibrated - config.diversity_weight * information.diversity(student, inverse_temperature=beta)
    calibrated = calibrated / 64**2
    norms = [gradient_norm(loss, student) / consistency for loss in (released, calibrated)]
    return norms[0].item(), norms[1].item()


@pytest.mark.parametrize("jitter", [0.7, 3.0])
def test_the_released_term_moves_nothing(jitter: float) -> None:
    released, _ = gradient_ratios(0, jitter=jitter)
    assert 1e-6 < released < 2e-4


@pytest.mark.parametrize("jitter", [0.7, 3.0])
def test_the_calibrated_term_moves_something_and_not_everything(jitter: float) -> None:
    _, calibrated = gradient_ratios(0, jitter=jitter)
    assert 0.05 < calibrated < 0.3
