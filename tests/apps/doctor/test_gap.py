from __future__ import annotations

from dataclasses import dataclass, replace
from math import erf

import numpy as np
import pytest

from poseshift.apps.doctor import features, gap, samples
from poseshift.apps.doctor.features import Features
from poseshift.apps.doctor.samples import Sample
from poseshift.data import formats
from poseshift.data.crops import CropConfig
from poseshift.types import ByteArray, Images


def of(values: np.ndarray) -> Features:
    parts = tuple("first" if column == 0 else "others" for column in range(values.shape[1]))
    return Features(values=values.astype(np.float32), parts=parts, name="made up")


def measured(source: np.ndarray, target: np.ndarray, seed: int = 0) -> gap.Gap:
    found = gap.measure(of(source), of(target), np.arange(len(source)), np.arange(len(target)), seed=seed)
    assert found is not None
    return found


def slow_energy(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    def mean(a: np.ndarray, b: np.ndarray, p: np.ndarray, q: np.ndarray, *, same: bool) -> float:
        total = weight = 0.0
        for i in range(len(a)):
            for j in range(len(b)):
                if not (same and i == j):
                    total += p[i] * q[j] * float(np.linalg.norm(a[i] - b[j]))
                    weight += p[i] * q[j]
        return total / weight

    across = mean(x, y, u, v, same=False)
    return (2 * across - mean(x, x, u, u, same=True) - mean(y, y, v, v, same=True)) / (2 * across)


def test_energy_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(0.4, 1.5, (5, 3))
    u, v = rng.integers(1, 4, 7).astype(float), rng.integers(1, 4, 5).astype(float)
    distances = gap._distances(x, y)
    assert gap.energy(distances) == pytest.approx(slow_energy(x, y, np.ones(7), np.ones(5)), abs=1e-9)
    assert gap.energy(distances, u, v) == pytest.approx(slow_energy(x, y, u, v), abs=1e-9)


def test_energy_of_two_points_is_one() -> None:
    assert gap.energy(gap._distances(np.zeros((4, 2)), np.ones((3, 2)))) == pytest.approx(1, abs=1e-6)


def test_two_gaussians_have_the_known_auc() -> None:
    """Shifted by one deviation in one of five columns: Φ(1/√2), and errors of Φ(−1/2)."""
    rng = np.random.default_rng(3)
    source, target = rng.normal(size=(500, 5)), rng.normal(size=(500, 5))
    target[:, 0] += 1
    found = measured(source, target)
    auc, error = (1 + erf(0.5)) / 2, (1 - erf(0.5 / np.sqrt(2))) / 2
    assert found.auc.low < auc < found.auc.high
    assert found.auc.value == pytest.approx(auc, abs=0.03)
    assert found.a_distance.value == pytest.approx(2 * (1 - 2 * error), abs=0.12)
    assert found.a_distance.low < found.a_distance.value < found.a_distance.high
    assert found.null_auc.low < 0.5 < found.null_auc.high
    assert found.size.low > found.null_size.high
    assert found.parts["first"] > 10 * abs(found.parts["others"])


def test_draws_of_one_distribution_have_no_gap() -> None:
    rng = np.random.default_rng(4)
    found = measured(rng.normal(size=(200, 6)), rng.normal(size=(220, 6)))
    assert found.auc.low < 0.5 < found.auc.high + 0.05
    assert found.size.low < 0 < found.size.high
    assert found.a_distance.value < 0.3


def test_scale_and_idle_columns_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    source, target = rng.normal(size=(60, 3)), rng.normal(0.5, 1, (60, 3))
    idle = np.full((60, 1), 7.0)
    other = [np.concatenate([side * [10, 0.1, 3] + 4, idle], axis=1) for side in (source, target)]
    assert measured(*other).size.value == pytest.approx(measured(source, target).size.value, abs=1e-5)
    assert measured(*other).auc.value == pytest.approx(measured(source, target).auc.value, abs=0.01)


def test_whole_groups_are_held_out() -> None:
    """Twelve videos of one distribution each, ten like frames in a video: nothing tells the domains apart."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(12), 10)
    source, target = (rng.normal(size=(12, 40))[groups] + rng.normal(0, 0.01, (120, 40)) for _ in range(2))
    together = gap.measure(of(source), of(target), groups, groups, seed=0)
    apart = gap.measure(of(source), of(target), np.arange(120), np.arange(120), seed=0)
    assert together is not None
    assert apart is not None
    assert together.grouped
    assert together.auc.low < 0.6
    assert apart.auc.value > 0.95, "frames of one video on both sides give the domain away"


def test_few_groups_are_divided_and_few_images_are_not_measured() -> None:
    rng = np.random.default_rng(7)
    some = rng.normal(size=(gap.LEAST, 4))
    found = gap.measure(of(some), of(some + 3), np.zeros(len(some), np.int64), np.arange(len(some)), seed=0)
    assert found is not None
    assert not found.grouped
    numbers = np.arange(gap.LEAST - 1)
    assert gap.measure(of(some[1:]), of(some), numbers, np.arange(gap.LEAST), seed=0) is None


def test_the_same_seed_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(8)
    source, target = rng.normal(size=(40, 4)), rng.normal(0.3, 1, (40, 4))
    assert measured(source, target) == measured(source, target)
    assert measured(source, target, seed=1).auc != measured(source, target).auc


@dataclass(frozen=True)
class Recoloured:
    """The same pictures in warmer light."""

    base: Images

    def __len__(self) -> int:
        return len(self.base)

    def key(self, index: int) -> str:
        return self.base.key(index)

    def read(self, index: int) -> ByteArray:
        return np.clip(self.base.read(index) * np.array([1.15, 1.0, 0.8]), 0, 255).astype(np.uint8)


def sample(spec: str, role: str, *, recoloured: bool = False) -> Sample:
    data = formats.read(spec)
    data = replace(data, images=Recoloured(data.images)) if recoloured else data
    return samples.draw(data, CropConfig(boxes="whole"), size=48, count=60, seed=0, role=role)


def test_procedural_domains_are_in_order() -> None:
    """Another draw, the same in another light, then domains that are further and further away."""
    source = sample("figures:plain,side=48", "source")
    sizes = []
    for target in (
        sample("figures:plain,side=48,seed=9", "target"),
        sample("figures:plain,side=48,seed=9", "target", recoloured=True),
        sample("figures:easy,side=48", "target"),
        sample("figures:hard,side=48", "target"),
    ):
        both = features.handmade(source), features.handmade(target)
        found = gap.measure(*both, source.groups, target.groups, seed=0)
        assert found is not None
        sizes.append(found.size)
    null, recoloured, near, far = sizes
    assert null.low <= 0 <= null.high
    assert null.high < recoloured.value < near.low
    assert near.high < far.low
