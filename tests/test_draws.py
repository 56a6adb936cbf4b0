from __future__ import annotations

import numpy as np
import pytest
import torch

from poseshift.draws import Draws, generator


def draws(*, seed: int = 3, step: int = 7, start: int = 0, count: int = 8, total: int = 8) -> Draws:
    return Draws(seed=seed, step=step, start=start, count=count, total=total, device=torch.device("cpu"))


def test_numbers_are_uniform_float32() -> None:
    numbers = draws(count=5000, total=5000).per_sample("a", 4)
    assert numbers.shape == (5000, 4)
    assert numbers.dtype == torch.float32
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.01)
    assert numbers.var().item() == pytest.approx(1 / 12, abs=0.005)


def test_two_processes_draw_what_one_does() -> None:
    whole = draws().per_sample("a", 5)
    parts = [draws(start=start, count=4).per_sample("a", 5) for start in (0, 4)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(draws(start=4, count=4).shared("b", 3), draws().shared("b", 3))
    assert [draws(start=4, count=4, step=step).coin("c", 0.5) for step in range(50)] == [
        draws(step=step).coin("c", 0.5) for step in range(50)
    ]


def test_a_resumed_run_draws_what_the_uninterrupted_one_did() -> None:
    straight = [draws(step=step).per_sample("a", 2) for step in range(10)]
    resumed = [draws(step=step).per_sample("a", 2) for step in range(6, 10)]
    assert all(torch.equal(one, other) for one, other in zip(straight[6:], resumed, strict=True))


def test_asking_for_one_stream_does_not_move_another() -> None:
    one = draws()
    before = one.per_sample("a", 3)
    one.coin("b", 0.5)
    one.shared("c")
    assert torch.equal(one.per_sample("a", 3), before)


@pytest.mark.parametrize("change", [{"seed": 4}, {"step": 8}, {"stream": "b"}])
def test_seed_step_and_stream_each_change_the_numbers(change: dict) -> None:
    stream = change.pop("stream", "a")
    one = draws(count=3000, total=3000).per_sample("a", 1).flatten()
    other = draws(count=3000, total=3000, **change).per_sample(stream, 1).flatten()
    assert abs(np.corrcoef(one.numpy(), other.numpy())[0, 1]) < 0.06


def test_the_global_generators_play_no_part() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = draws().per_sample("a", 3)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(draws().per_sample("a", 3), before)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_coin(probability: float) -> None:
    share = np.mean([draws(step=step).coin("style", probability) for step in range(1000)])
    assert share == pytest.approx(probability, abs=0.04)


def test_generator_is_a_function_of_its_arguments() -> None:
    assert generator(1, "x", 2).random() == generator(1, "x", 2).random()
    assert generator(1, "x", 2).random() != generator(1, "x", 3).random()


def test_beta_is_shared_and_has_the_moments_of_its_distribution() -> None:
    numbers = np.array([draws(step=step).beta("mixup", 0.75) for step in range(4000)])
    assert numbers.mean() == pytest.approx(0.5, abs=0.02)
    assert numbers.var() == pytest.approx(1 / (4 * (2 * 0.75 + 1)), abs=0.006)
    assert draws(start=4, count=4).beta("mixup", 0.75) == draws().beta("mixup", 0.75)
