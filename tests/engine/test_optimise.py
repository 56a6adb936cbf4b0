import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import Tensor, nn

from poseshift.batches import Batch
from poseshift.engine import optimise
from poseshift.engine.optimise import Optimisers
from poseshift.methods.base import Method, OptimiserConfig, Term, Update

FABRIC = Fabric(accelerator="cpu", devices=1)


class TwoParts(Method):
    """y = b·(a·x), each factor a part with an optimiser of its own."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)

    def parts(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    def optimisers(self, default: OptimiserConfig) -> dict[str, OptimiserConfig]:
        return {"first": default, "second": default.model_copy(update={"name": "sgd", "rate": 0.5, "momentum": 0.0})}

    def updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        yield from ()  # the tests hand their own updates to the optimisers

    @property
    def predictor(self) -> None:
        return None


@pytest.fixture
def method() -> TwoParts:
    torch.manual_seed(0)
    return TwoParts()


def update(method: TwoParts, on: tuple[str, ...], factor: float = 1.0) -> Update:
    features = method.first(torch.tensor([[1.0, 2.0, -3.0], [0.5, 1.0, 4.0]]))
    out = method.second(features).square().mean()
    return Update(terms={"a": Term(out, factor), "b": Term(features.sum(), 0.1)}, on=on, probe=(features,))


def slow_rate(config: OptimiserConfig, progress: float) -> float:
    """The schedule in the words of its options."""
    rate = config.rate
    if progress < config.warmup:
        rate = rate * progress / config.warmup
    if config.schedule == "cosine":
        rate = rate * (1 + math.cos(math.pi * progress)) / 2
    if config.schedule == "steps":
        for milestone in config.milestones:
            if progress >= milestone:
                rate = rate * config.factor
    if config.schedule == "inverse":
        rate = rate / math.exp(config.power * math.log1p(config.decay * progress))
    if config.schedule == "poly":
        rate = rate * math.exp(config.power * math.log1p(-progress))
    return rate


@given(
    progress=st.floats(0, 1, exclude_max=True),
    rate=st.floats(1e-6, 1),
    schedule=st.sampled_from(["constant", "steps", "cosine", "inverse", "poly"]),
    milestones=st.lists(st.floats(0, 1), max_size=3),
    warmup=st.sampled_from([0.0, 0.02, 0.5]),
    power=st.floats(0.1, 3),
    decay=st.floats(0, 20),
)
def test_rates_follow_the_slow_formula(
    progress: float, rate: float, schedule: str, milestones: list[float], warmup: float, power: float, decay: float
) -> None:
    config = OptimiserConfig(
        rate=rate,
        schedule=schedule,
        milestones=tuple(milestones),
        warmup=warmup,
        power=power,
        decay=decay,
        factor=0.3,  # type: ignore[arg-type]
    )
    assert optimise.rate(config, progress) == pytest.approx(slow_rate(config, progress), rel=1e-12, abs=1e-15)


def test_each_part_has_its_own_optimiser_and_rate(method: TwoParts) -> None:
    optimisers = Optimisers(method, OptimiserConfig(rate=0.25, schedule="cosine"), clip=0)
    assert type(optimisers.optimisers["first"]) is torch.optim.Adam
    assert type(optimisers.optimisers["second"]) is torch.optim.SGD
    assert optimisers.set_rates(0.5) == pytest.approx({"first": 0.125, "second": 0.25})
    assert optimisers.optimisers["first"].param_groups[0]["lr"] == pytest.approx(0.125)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_kinds(name: str, kind: type) -> None:
    made = optimise.build(OptimiserConfig(name=name, rate=0.1, weight_decay=0.2), nn.Linear(2, 2))  # type: ignore[arg-type]
    assert type(made) is kind
    assert made.param_groups[0]["weight_decay"] == 0.2


def test_sgd_has_nesterov_momentum() -> None:
    made = optimise.build(OptimiserConfig(name="sgd", momentum=0.9), nn.Linear(2, 2))
    assert (made.param_groups[0]["nesterov"], made.param_groups[0]["momentum"]) == (True, 0.9)
    assert optimise.build(OptimiserConfig(name="sgd", momentum=0), nn.Linear(2, 2)).param_groups[0]["nesterov"] is False


def test_frozen_parameters_have_no_optimiser() -> None:
    part = nn.Linear(2, 2)
    part.bias.requires_grad_(False)
    assert len(optimise.build(OptimiserConfig(), part).param_groups[0]["params"]) == 1


def test_gradients_are_those_of_the_weighted_sum(method: TwoParts) -> None:
    optimisers = Optimisers(method, OptimiserConfig(), clip=0)
    one = update(method, ("first", "second"), 2.0)
    expected = torch.autograd.grad(2 * one.terms["a"].value + 0.1 * one.terms["b"].value, list(method.parameters()))
    norm, _ = optimisers.gradients(FABRIC, update(method, ("first", "second"), 2.0))
    for parameter, gradient in zip(method.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)
    assert float(norm) == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in expected)), rel=1e-5)


def test_what_is_not_named_gets_no_gradient_and_stands_still(method: TwoParts) -> None:
    optimisers = Optimisers(method, OptimiserConfig(rate=0.1), clip=0)
    before = [p.detach().clone() for p in method.parameters()]
    optimisers.gradients(FABRIC, update(method, ("second",)))
    optimisers.step(("second",))
    assert method.first.weight.grad is None
    assert torch.equal(method.first.weight, before[0])
    assert not torch.equal(method.second.weight, before[1])


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_clipping_keeps_the_direction(method: TwoParts, clip: float) -> None:
    free = Optimisers(method, OptimiserConfig(), clip=0)
    whole, _ = free.gradients(FABRIC, update(method, ("first", "second")))
    expected = [p.grad.clone() for p in method.parameters() if p.grad is not None]
    optimisers = Optimisers(method, OptimiserConfig(), clip=clip)
    norm, _ = optimisers.gradients(FABRIC, update(method, ("first", "second")))
    assert float(norm) == pytest.approx(float(whole)), "the norm before clipping is what is logged"
    for parameter, gradient in zip(method.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient * min(1.0, clip / float(norm)), rtol=1e-4, atol=1e-9)


def test_states_come_back(method: TwoParts) -> None:
    def trained(optimisers: Optimisers, steps: int) -> list[Tensor]:
        for _ in range(steps):
            optimisers.gradients(FABRIC, update(method, ("first", "second")))
            optimisers.step(("first", "second"))
        return [p.detach().clone() for p in method.parameters()]

    optimisers = Optimisers(method, OptimiserConfig(rate=0.01), clip=0)
    trained(optimisers, 2)
    state, weights = optimisers.state_dict(), [p.detach().clone() for p in method.parameters()]
    state = {name: torch.load(_roundtrip(one), weights_only=True) for name, one in state.items()}
    expected = trained(optimisers, 2)
    with torch.no_grad():
        for parameter, value in zip(method.parameters(), weights, strict=True):
            parameter.copy_(value)
    again = Optimisers(method, OptimiserConfig(rate=0.01), clip=0)
    again.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(trained(again, 2), expected, strict=True))


def _roundtrip(state: object) -> object:
    import io

    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


def test_norms_of_terms_at_the_probe(method: TwoParts) -> None:
    one = update(method, ("first",), 2.0)
    norms = optimise.term_norms(one)
    features = one.probe[0]
    (gradient,) = torch.autograd.grad(2 * one.terms["a"].value, features, retain_graph=True)
    assert float(norms["a"]) == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert float(norms["b"]) == pytest.approx(0.1 * math.sqrt(features.numel()), rel=1e-5)
    assert optimise.term_norms(Update(terms=one.terms, on=("first",))) == {}


def test_average_over_one_process_changes_nothing() -> None:
    gradients = [torch.ones(3), torch.arange(4.0)]
    optimise.average(gradients)
    assert gradients[1].tolist() == [0, 1, 2, 3]


def test_average_over_two_processes_fills_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has the same gradients plus 2; a bucket of five numbers splits the list."""
    sizes = []

    def all_reduce(flat: Tensor) -> None:
        sizes.append(len(flat))
        flat.add_(flat.clone() + 2)

    monkeypatch.setattr(optimise.collective, "processes", lambda: 2)
    monkeypatch.setattr(optimise.dist, "all_reduce", all_reduce)
    monkeypatch.setattr(optimise, "BUCKET", 5)
    gradients = [torch.ones(3), torch.zeros(2, 2), torch.full((1,), 7.0)]
    optimise.average(gradients)
    assert sizes == [7, 1]
    assert [g.tolist() for g in gradients] == [[2, 2, 2], [[1, 1], [1, 1]], [8]]
