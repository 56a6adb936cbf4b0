from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from poseshift.ops import ema


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    teacher = copy.deepcopy(student)
    student(torch.rand(2, 3, 6, 9))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.rand_like(parameter))
    return teacher, student


@pytest.mark.parametrize("buffers", [True, False])
def test_parameters_and_both_rules_for_buffers(buffers: bool) -> None:
    teacher, student = nets()
    before = copy.deepcopy(teacher.state_dict())
    ema.update(teacher, student, 0.9, buffers=buffers)
    after, source = teacher.state_dict(), student.state_dict()
    names = {name for name, _ in teacher.named_parameters()}
    for name, old in before.items():
        averaged = 0.9 * old.double() + 0.1 * source[name].double()
        if name in names:
            expected = averaged
        elif not buffers:
            expected = old
        else:
            expected = averaged if old.is_floating_point() else source[name]
        torch.testing.assert_close(after[name].double(), expected.double(), atol=1e-6, rtol=0)
    assert source["1.num_batches_tracked"] == 1
    assert not torch.equal(before["1.running_mean"], source["1.running_mean"])


def test_the_student_is_left_alone_and_no_graph_is_made() -> None:
    teacher, student = nets()
    before = copy.deepcopy(student.state_dict())
    ema.update(teacher, student, 0.5, buffers=True)
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert all(parameter.grad_fn is None for parameter in teacher.parameters())


def test_a_net_without_parameters_or_buffers() -> None:
    ema.update(nn.ReLU(), nn.ReLU(), 0.9, buffers=True)
