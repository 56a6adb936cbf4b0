from __future__ import annotations

import torch

from poseshift.ops import losses


def test_supervised_against_a_loop() -> None:
    prediction, target = torch.rand(2, 3, 5, 7), torch.rand(2, 3, 5, 7)
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    total = 0.0
    for b in range(2):
        for k in range(3):
            total += 0.5 * float(weight[b, k]) * float(((prediction[b, k] - target[b, k]) ** 2).sum())
    torch.testing.assert_close(losses.supervised(prediction, target, weight), torch.tensor(total / (2 * 3 * 5 * 7)))


def test_consistency_counts_masked_maps_in_the_mean_and_has_no_half() -> None:
    student, rectified = torch.ones(2, 2, 4, 6), torch.zeros(2, 2, 4, 6)
    mask = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert losses.consistency(student, rectified, mask).item() == 0.25


def test_masked_maps_get_no_gradient() -> None:
    student = torch.rand(2, 2, 4, 6, requires_grad=True)
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    losses.consistency(student, torch.zeros(2, 2, 4, 6), mask).backward()
    assert student.grad is not None
    assert student.grad.abs().sum((-2, -1)).gt(0).tolist() == mask.bool().tolist()
