"""The two generators as annotations: determinism, splits, columns, boxes, pickling, messages."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseshift.data.boxes import SizedImages
from poseshift.data.synth import FIGURE_DOMAINS, QUADRUPED_DOMAINS, figures, pictures, quadrupeds
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Images

BOTH = pytest.mark.parametrize("draw", [figures, quadrupeds])
_DOMAINS = tuple(FIGURE_DOMAINS)


def test_the_domains_of_both_kinds_are_named_alike() -> None:
    assert tuple(FIGURE_DOMAINS) == tuple(QUADRUPED_DOMAINS) == ("source", "random", "plain", "easy", "middle", "hard")


@BOTH
@pytest.mark.parametrize("domain", _DOMAINS)
def test_columns_and_pixels(draw: Callable[..., Annotations], domain: str) -> None:
    data = draw(domain, split="val", count=6, side=72)
    assert isinstance(data.images, Images)
    assert len(data) == len(data.images) == 6
    assert data.keypoints.dtype == np.float32
    assert data.visible.dtype == np.uint8
    assert data.boxes.dtype == np.float32
    assert set(np.unique(data.visible)) <= {0, 1, 2}
    image = data.images.read(4)
    assert image.shape == (72, 72, 3)
    assert image.dtype == np.uint8
    assert image.std() > 3


@BOTH
def test_default_counts(draw: Callable[..., Annotations]) -> None:
    assert [len(draw(split=split)) for split in ("train", "val", "test")] == [4000, 500, 1000]


@BOTH
def test_an_instance_does_not_depend_on_the_count(draw: Callable[..., Annotations]) -> None:
    few, many = draw("middle", count=5), draw("middle", count=2_500)
    assert np.allclose(few.keypoints, many.keypoints[:5], atol=1e-3)
    assert np.array_equal(few.visible, many.visible[:5])
    assert np.allclose(few.boxes, many.boxes[:5], atol=1e-3)
    assert np.array_equal(few.images.read(3), many.images.read(3))
    assert list(few.categories) == list(many.categories[:5])


@BOTH
def test_splits_and_seeds_are_other_draws(draw: Callable[..., Annotations]) -> None:
    sets = [draw(split=split, count=200) for split in ("train", "val", "test")] + [draw(count=200, seed=1)]
    poses = [{row.tobytes() for row in data.keypoints} for data in sets]
    for i, one in enumerate(poses):
        assert len(one) == 200
        assert all(not one & other for other in poses[i + 1 :])


@BOTH
def test_random_shows_the_bodies_of_source(draw: Callable[..., Annotations]) -> None:
    source, random = draw("source", count=30), draw("random", count=30)
    assert np.array_equal(source.boxes, random.boxes)
    assert not np.array_equal(source.images.read(0), random.images.read(0))


def test_bytes_are_the_same_in_another_process() -> None:
    code = (
        "import hashlib; from poseshift.data.synth import figures, quadrupeds\n"
        "print(*[hashlib.sha256(d('hard', side=80, seed=3).images.read(17).tobytes()).hexdigest()"
        " for d in (figures, quadrupeds)])"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    images = [draw("hard", side=80, seed=3).images for draw in (figures, quadrupeds)]
    assert there == [hashlib.sha256(each.read(17).tobytes()).hexdigest() for each in images]


@BOTH
def test_images_pickle_small_and_draw_the_same(draw: Callable[..., Annotations]) -> None:
    images = draw("easy", count=100_000 if draw is figures else 100, side=64).images
    images.read(41)  # what it posed for this stays behind
    frozen = pickle.dumps(images)
    thawed = pickle.loads(frozen)  # noqa: S301 (our own bytes)
    assert len(frozen) < 10_000
    assert np.array_equal(images.read(42), thawed.read(42))
    assert thawed.key(42) == images.key(42)


@BOTH
def test_the_order_of_reading_changes_no_pixel(
    draw: Callable[..., Annotations], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies are posed in blocks, of which a few are kept: what was posed before must not matter."""
    alone = {index: draw("middle", side=32).images.read(index) for index in (0, 17, 3)}
    monkeypatch.setattr(pictures, "_KEPT", 1)
    images = draw("middle", side=32).images
    for index in (3, 17, 0, 3):
        np.testing.assert_array_equal(images.read(index), alone.get(index))
    assert len(images._blocks) == 1


def test_keys_name_kind_domain_split_and_number() -> None:
    assert figures("source").images.key(17) == "figures/source/train/000017"
    assert quadrupeds("hard", split="test").images.key(0) == "quadrupeds/hard/test/000000"


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(_DOMAINS), st.integers(0, 50), st.integers(40, 200), st.booleans())
def test_boxes_hold_the_labelled_joints(domain: str, seed: int, side: int, animal: bool) -> None:
    data = (quadrupeds if animal else figures)(domain, count=200, side=side, seed=seed)
    assert data.boxes.min() >= -0.5
    assert data.boxes.max() <= side - 0.5
    labelled = data.visible > 0
    low, high = data.boxes[:, None, :2], data.boxes[:, None, 2:]
    holds = ((data.keypoints >= low - 1e-2) & (data.keypoints <= high + 1e-2)).all(-1)
    assert np.all(holds[labelled])
    assert np.all(data.keypoints[~labelled] == 0)


def test_animals_are_half_dogs_half_sheep() -> None:
    names, counts = np.unique(quadrupeds(count=2_000).categories, return_counts=True)
    assert list(names) == ["dog", "sheep"]
    assert abs(counts[0] / 2_000 - 0.5) < 0.05
    assert set(figures(count=20).categories) == {"person"}


@BOTH
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"domain": "nowhere"}, "known: source, random"),
        ({"split": "dev"}, "known: train, val, test"),
        ({"count": 0}, "count >= 1"),
        ({"side": 3}, "side >= 16"),
    ],
)
def test_what_cannot_be_is_refused(draw: Callable[..., Annotations], options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draw(**options)


@BOTH
@pytest.mark.parametrize("index", [-1, 4])
def test_an_image_that_is_not_there(draw: Callable[..., Annotations], index: int) -> None:
    with pytest.raises(DataError, match=r"expected 0\.\.3"):
        draw(count=4).images.read(index)


def test_the_size_is_known_without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = figures("source", count=2, side=40).images
    monkeypatch.setattr(type(images), "read", None)
    assert isinstance(images, SizedImages)
    assert images.size(1) == (40, 40)
