from __future__ import annotations

from pathlib import Path

import torch

from poseshift.apps.bench import images


def test_both_pipelines_give_two_views_of_every_file(tmp_path: Path) -> None:
    images.write_jpegs(tmp_path, 3)
    students, teachers = images.PerSample(tmp_path, 64)()
    assert students.shape == teachers.shape == (3, 3, 64, 64)
    target = next(images._batches(tmp_path, 64, cache_bytes=10**7)).target
    for views in (target.student.images, target.teacher[0].images):
        assert views.shape == (3, 3, 64, 64)
        assert (views.mean() - students.mean()).abs() < 0.5, "the same kind of numbers"
        assert (views.std() - students.std()).abs() < 0.5
    assert not torch.equal(target.student.images, target.teacher[0].images)


def test_threads_come_back() -> None:
    before = torch.get_num_threads()
    with images._one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
