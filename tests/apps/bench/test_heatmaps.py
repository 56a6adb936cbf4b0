from __future__ import annotations

import torch

from poseshift.apps.bench import heatmaps
from poseshift.ops.heatmaps import peaks


def test_batched_and_looped_do_the_same_work() -> None:
    """The loop goes to the nearest cell three times, so its maps are near ours and not the same."""
    work = heatmaps.Work(12, 64)
    work.angle.mul_(0.2)
    work.shear.mul_(0.2)
    again = heatmaps.Work(12, 64)
    for batched, looped in zip(work.batched(), work.looped(), strict=True):
        assert batched.shape == looped.shape
        assert batched.isfinite().all()
        assert looped.isfinite().all()
    straight = heatmaps.Work(12, 64)
    straight.matrix = torch.eye(3).repeat(12, 1, 1)
    for values in (straight.angle, straight.shear, straight.shift):
        values.zero_()
    straight.scale.fill_(1.0)
    ours, theirs = straight.batched(), straight.looped()
    for index in range(3):
        torch.testing.assert_close(ours[index], theirs[index], atol=1e-4, rtol=0)
    assert torch.equal(work.images, again.images), "neither changes the images that it is given"


def test_a_gaussian_is_pasted_at_the_peak_and_cut_at_the_border() -> None:
    one = torch.zeros(20, 30)
    one[1, 28] = 0.7
    pasted = heatmaps._gaussian_at_peak(one)
    assert peaks(pasted[None, None])[0].tolist() == [[[28.0, 1.0]]]
    assert pasted.max() == 1
    assert int((pasted > 0).sum()) == 8 * 8


def test_a_batch_is_much_faster_than_a_loop() -> None:
    """A fifth is the goal at full size; a half is certain on any machine."""
    assert heatmaps.measure(quick=True)["heatmaps"].value < 0.5
