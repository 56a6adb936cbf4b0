from __future__ import annotations

from pathlib import Path

import torch

from poseshift.apps.bench import images
from poseshift.ops import color


def test_both_pipelines_give_two_views_of_every_file(tmp_path: Path) -> None:
    """Of enough files that the jitter averages out, and without the black that ours shows beside a whole picture."""
    torch.manual_seed(0)  # of torchvision
    images.write_jpegs(tmp_path, 16)
    students, teachers = images.PerSample(tmp_path, 64)()
    target = next(images._batches(tmp_path, 64, cache_bytes=10**7)).target
    low = ((0 - torch.tensor(color.MEAN)) / torch.tensor(color.STD)).view(1, 3, 1, 1)

    def shown(views: torch.Tensor) -> torch.Tensor:
        assert views.shape == (16, 3, 64, 64)
        black = ((views - low).abs() < 1e-3).all(1, keepdim=True)
        return views[~black.expand_as(views)]

    for views in (target.student.images, target.teacher[0].images):
        assert (shown(views).mean() - shown(students).mean()).abs() < 0.5, "the same kind of numbers"
        assert (shown(views).std() - shown(students).std()).abs() < 0.5
    assert not torch.equal(students, teachers)
    assert not torch.equal(target.student.images, target.teacher[0].images)


def test_threads_come_back() -> None:
    before = torch.get_num_threads()
    with images._one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
