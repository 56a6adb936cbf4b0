from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch

from poseshift.batches import View
from poseshift.models.mean_teacher import MeanTeacher
from poseshift.models.pose_net import PoseNet, PoseNetConfig
from poseshift.ops import affine


def pair(norm: Literal["batch", "ema"], decay: float = 0.9) -> MeanTeacher:
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(backbone="small", head="pyramid", width=16), keypoints=3)
    with torch.no_grad():
        net.final.weight.mul_(300)
    return MeanTeacher(net, decay=decay, norm=norm).train()


def view(count: int = 2, degrees: float = 0.0) -> View:
    angle = torch.full((count,), degrees).deg2rad()
    block = affine.rotation_shear_scale(angle, torch.zeros(count), torch.ones(count))
    matrix = affine.linear(block, centre=torch.tensor([47.5, 31.5]))
    return View(images=torch.randn(count, 3, 64, 96), matrix=matrix)


@pytest.mark.parametrize(("norm", "trains"), [("batch", True), ("ema", False)])
def test_modes(norm: Literal["batch", "ema"], trains: bool) -> None:
    nets = pair(norm)
    assert nets.student.training
    assert nets.teacher.training == trains
    assert {module.training for module in nets.teacher.modules()} == {trains}
    nets.eval()
    assert not nets.student.training
    assert not nets.teacher.training


@pytest.mark.parametrize(("norm", "moves"), [("batch", True), ("ema", False)])
def test_the_teachers_statistics_come_from_its_own_passes_only_under_batch(
    norm: Literal["batch", "ema"], moves: bool
) -> None:
    nets, shown = pair(norm), view()
    before = copy.deepcopy(dict(nets.teacher.named_buffers()))
    nets.pseudo_heatmaps([shown.images], (shown,))
    moved = [name for name, value in nets.teacher.named_buffers() if not torch.equal(value, before[name])]
    assert bool(moved) == moves
    nets.student(shown.images)
    held = copy.deepcopy(dict(nets.teacher.named_buffers()))
    nets.update()
    averaged = [name for name, value in nets.teacher.named_buffers() if not torch.equal(value, held[name])]
    assert bool(averaged) != moves


def test_update_is_the_moving_average() -> None:
    nets = pair("batch", decay=0.9)
    with torch.no_grad():
        for parameter in nets.student.parameters():
            parameter.add_(1.0)
    before = copy.deepcopy(dict(nets.teacher.named_parameters()))
    nets.update()
    for name, value in nets.teacher.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.1, atol=1e-5, rtol=0)


def test_the_teacher_starts_as_a_copy_without_gradients() -> None:
    nets = pair("ema")
    for one, other in zip(nets.student.parameters(), nets.teacher.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()
        assert one.requires_grad
        assert not other.requires_grad


def test_pseudo_heatmaps_are_in_the_canonical_frame_and_averaged() -> None:
    nets = pair("ema")
    shown = (view(degrees=0), view(degrees=30))
    found = nets.pseudo_heatmaps([v.images for v in shown], shown)
    assert found.shape == (2, 3, 16, 24)
    assert not found.requires_grad
    with torch.no_grad():
        raw = [nets.teacher(v.images).heatmaps for v in shown]
    turned = affine.unwarp_heatmaps(raw[1], shown[1].matrix, stride=4)
    torch.testing.assert_close(found, (raw[0] + turned) / 2, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(turned, raw[1], atol=1e-2)


def test_one_image_batch_for_each_view() -> None:
    nets, shown = pair("ema"), view()
    with pytest.raises(ValueError, match="zip"):
        nets.pseudo_heatmaps([shown.images, shown.images], (shown,))


def test_a_mirrored_view_exchanges_left_and_right() -> None:
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(backbone="small", head="pyramid", width=16), keypoints=4)
    nets = MeanTeacher(net, decay=0.9, norm="ema", pairs=((0, 2),))
    maps = torch.rand(2, 4, 16, 24)
    matrix = torch.stack([affine.mirror(96, like=maps), torch.eye(3)])
    found = nets.to_canonical(maps, View(images=torch.zeros(2, 3, 64, 96), matrix=matrix))
    torch.testing.assert_close(found[0], maps[0].flip(-1)[[2, 1, 0, 3]], atol=2e-5, rtol=0)
    torch.testing.assert_close(found[1], maps[1], atol=2e-5, rtol=0)


def test_what_mirrors_sides_is_no_part_of_a_checkpoint() -> None:
    assert not [name for name in pair("ema").state_dict() if "other_side" in name]


def test_with_a_mirror_a_picture_and_its_mirror_image_teach_the_same() -> None:
    nets = MeanTeacher(pair("ema").student, decay=0.9, norm="ema", pairs=((0, 2),)).eval()
    shown = view()
    image = shown.images
    flip = affine.mirror(image.shape[-1], like=shown.matrix).expand(len(image), 3, 3)
    other = View(images=image.flip(-1), matrix=flip)
    one = nets.pseudo_heatmaps(
        [image], (View(images=image, matrix=torch.eye(3).expand(len(image), 3, 3)),), mirrored=True
    )
    two = nets.pseudo_heatmaps([other.images], (other,), mirrored=True)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    alone = nets.pseudo_heatmaps([image], (View(images=image, matrix=torch.eye(3).expand(len(image), 3, 3)),))
    assert not torch.allclose(one, alone, atol=1e-3), "the mirror tells something else"
