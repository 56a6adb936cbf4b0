from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from poseshift.errors import UsageError
from poseshift.models.batch_norms import MixedNorms, TargetNorms, moments

IMAGES, CHANNELS = 7, 3


def net() -> nn.Sequential:
    """Its first BatchNorm sees the images themselves, the second what the first makes of them."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for layer in (made[0], made[3]):
        for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
            tensor.data.uniform_(0.5, 2)
    return made.train()


def images(seed: int = 1) -> Tensor:
    return 3 * torch.randn(IMAGES, CHANNELS, 8, 6, generator=torch.Generator().manual_seed(seed)) + 1


def slow(layer: nn.BatchNorm2d, seen: Tensor, prior: float) -> tuple[list[float], list[float]]:
    """The mixed mean and variance of each channel, from the formula, value by value."""
    means, variances = [], []
    for channel in range(seen.shape[1]):
        values = [float(v) for v in seen[:, channel].double().flatten()]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        n = len(seen)
        means.append((prior * float(layer.running_mean[channel]) + n * mean) / (prior + n))
        variances.append((prior * float(layer.running_var[channel]) + n * variance) / (prior + n))
    return means, variances


def assert_normalises_by(layer: nn.BatchNorm2d, expected: tuple[list[float], list[float]]) -> None:
    assert layer.running_mean.tolist() == pytest.approx(expected[0], rel=1e-5)
    assert layer.running_var.tolist() == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.parametrize("prior", [0.0, 2.5, 16.0])
@pytest.mark.parametrize("cut", [(7,), (1, 6), (3, 3, 1)])
def test_statistics_are_mixed_by_the_formula_however_batches_are_cut(prior: float, cut: tuple[int, ...]) -> None:
    changed = net()
    expected = slow(changed[0], images(), prior)
    norms = TargetNorms(changed, prior=prior)
    for part in images().split(cut):
        norms.observe(changed, part)
    assert_normalises_by(changed[0], expected)
    assert norms.seen.item() == IMAGES


def test_a_later_layer_is_given_what_the_earlier_ones_make_of_the_images_now() -> None:
    changed, source = net(), net()
    TargetNorms(changed, prior=4.0).observe(changed, images())
    assert changed.training
    with torch.no_grad():
        given = changed[2](changed[1](changed[0].eval()(images())))
    assert_normalises_by(changed[3], slow(source[3], given, 4.0))


def test_an_endless_prior_changes_nothing_and_none_makes_the_target_alone() -> None:
    still, moved = net(), net()
    TargetNorms(still, prior=1e12).observe(still, images())
    torch.testing.assert_close(still[0].running_mean, net()[0].running_mean)
    TargetNorms(moved, prior=0.0).observe(moved, images())
    torch.testing.assert_close(moved[0].running_mean, images().mean((0, 2, 3)))
    whitened = nn.functional.batch_norm(images(), moved[0].running_mean, moved[0].running_var)
    torch.testing.assert_close(whitened.var((0, 2, 3), correction=0), torch.ones(3), rtol=1e-3, atol=0)


def test_looking_leaves_no_hook_and_no_gradient() -> None:
    changed = net()
    norms = TargetNorms(changed, prior=1.0)
    norms.observe(changed, images())
    before = changed[0].running_mean.clone()
    changed.eval()(images(2))
    assert torch.equal(changed[0].running_mean, before)
    assert not changed[0].running_mean.requires_grad
    with pytest.raises(RuntimeError, match="Kernel size"):
        norms.observe(changed, images()[..., :2, :2])
    assert changed.training is False
    assert not any(layer._forward_pre_hooks for layer in norms.layers)


def test_weights_are_no_part_of_it_and_its_state_is_complete() -> None:
    one, other = net(), net()
    first, second = TargetNorms(one, prior=3.0), TargetNorms(other, prior=3.0)
    assert not list(first.parameters())
    first.observe(one, images())
    second.load_state_dict(first.state_dict())
    other.load_state_dict(one.state_dict())
    for norms, changed in ((first, one), (second, other)):
        norms.observe(changed, images(5))
    assert torch.equal(one[3].running_var, other[3].running_var)


@pytest.mark.parametrize("bare", [nn.Conv2d(3, 3, 1), nn.GroupNorm(1, 3), nn.BatchNorm2d(3, track_running_stats=False)])
def test_a_net_without_batch_norm_is_refused_in_one_line(bare: nn.Module) -> None:
    with pytest.raises(UsageError, match="no BatchNorm layer") as told:
        TargetNorms(bare, prior=16.0)
    assert "\n" not in str(told.value)


def teacher_and_student(share: float) -> tuple[MixedNorms, nn.Sequential, nn.Sequential]:
    student = net()
    teacher = copy.deepcopy(student).eval()
    return MixedNorms(student, teacher, share=share, momentum=0.25), student, teacher


def by_hand(layers: nn.Sequential, shown: Tensor, source: list[tuple[Tensor, Tensor]], share: float) -> Tensor:
    """What a net puts out whose layers normalise by the mix, from the formula."""
    x, known = shown, iter(source)
    for layer in layers:
        if not isinstance(layer, nn.BatchNorm2d):
            x = layer(x)
            continue
        mean, variance = next(known)
        mean = (1 - share) * mean + share * x.mean((0, 2, 3))
        variance = (1 - share) * variance + share * x.var((0, 2, 3), correction=0)
        scale = layer.weight / (variance + layer.eps).sqrt()
        x = (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)
    return x


def kept(layers: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """Copies of the running statistics."""
    return [(m.running_mean.clone(), m.running_var.clone()) for m in layers if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_a_teacher_normalises_between_the_source_and_its_batch(share: float) -> None:
    norms, _, teacher = teacher_and_student(share)
    known, shown = kept(teacher), images()
    with norms.of_batches():
        said = teacher(shown)
    assert torch.allclose(said, by_hand(teacher, shown, known, share), atol=1e-5)


def test_the_student_keeps_the_source_apart_from_the_target() -> None:
    norms, student, _ = teacher_and_student(0.75)
    alone, other = copy.deepcopy(student), copy.deepcopy(student)
    source, target = images(2), images(3)
    for _ in range(3):
        with norms.of_source():
            from_source = student(source)
        from_target = student(target)
        (from_source.sum() + from_target.sum()).backward()
        alone(source), other(target)
    both = [torch.cat([row[i] for row in kept(alone)]) for i in range(2)]
    assert torch.allclose(norms.student_source, torch.stack(both))
    for (mean, variance), (own_mean, own_variance) in zip(kept(other), kept(student), strict=True):
        assert torch.equal(mean, own_mean)
        assert torch.equal(variance, own_variance)


def test_evaluation_is_by_the_moving_averages() -> None:
    norms, student, teacher = teacher_and_student(0.75)
    start, shown = kept(student)[0], [images(seed) for seed in (4, 5)]
    with norms.of_batches():
        teacher(shown[0])
    with norms.of_batches():
        teacher(shown[1])
    with norms.of_source():
        student(images(6))
    seen = norms.student_source[0, :CHANNELS].clone()
    norms.update(decay=0.9)
    source = 0.9 * start[0] + 0.1 * seen
    target = (shown[0].mean((0, 2, 3)) + shown[1].mean((0, 2, 3))) / 2  # the second counts by half, as 1/2 > momentum
    assert torch.allclose(teacher[0].running_mean, 0.25 * source + 0.75 * target, atol=1e-6)


def test_moments_are_those_of_the_population() -> None:
    shown = 1e-2 * images() + 50  # far from zero, where a mean of squares would lose the variance
    variance, mean = torch.var_mean(shown.double(), (0, 2, 3), correction=0)
    found = moments(shown).double()
    assert torch.allclose(found[0], mean, rtol=1e-6)
    assert torch.allclose(found[1], variance, rtol=1e-3)


def test_a_net_without_layers_has_nothing_to_mix() -> None:
    with pytest.raises(UsageError, match="leave it out"):
        MixedNorms(nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), share=0.5)
