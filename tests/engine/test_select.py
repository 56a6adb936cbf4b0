from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from poseshift.batches import TargetBatch, View
from poseshift.engine import scoring, select
from poseshift.engine.run import Run
from poseshift.models.pose_net import PoseOutput
from poseshift.ops import affine, heatmaps


class Says(nn.Module):
    """Draws the same points (``K×2``, pixels of the view) whatever it sees."""

    stride = 4

    def __init__(self, points: list[tuple[float, float]]) -> None:
        super().__init__()
        self.points = torch.tensor(points)

    def forward(self, images: Tensor) -> PoseOutput:
        count, size = len(images), (images.shape[-2] // 4, images.shape[-1] // 4)
        points = self.points.expand(count, -1, -1)
        maps, _ = heatmaps.encode(points, torch.ones(points.shape[:2]), size, stride=4, sigma=1.5)
        return PoseOutput(maps, maps)


def pair(matrix: Tensor, count: int = 3) -> tuple[TargetBatch, TargetBatch]:
    images, ids = torch.zeros(count, 3, 64, 64), torch.arange(count)
    same = View(images=images, matrix=affine.identity(count, like=images))
    moved = View(images=images.clone(), matrix=matrix.expand(count, 3, 3))
    return TargetBatch(student=same, teacher=(same,), ids=ids), TargetBatch(student=moved, teacher=(same,), ids=ids)


@pytest.mark.parametrize(("off", "expected"), [(0.0, 100.0), (3.0, 100.0), (3.4, 50.0)])
def test_agreement_counts_what_lies_within_a_twentieth_of_the_side(off: float, expected: float) -> None:
    """5 % of 64 px are 3.2 px; the student's view is the plain one moved by (5, -2), so its points must be too."""
    move = affine.translation(torch.tensor([[5.0, -2.0]]))
    predictor = Says([(20.0, 30.0), (40.0, 25.0)])
    student = Says([(25.0 + off, 28.0), (45.0, 23.0)])
    found = select.label_free(predictor, student, [pair(move), pair(move, 2)], ())  # type: ignore[arg-type]
    assert found.agreement == pytest.approx(expected)
    assert np.isnan(found.coincidence)


@pytest.mark.parametrize(("sides", "expected"), [(((0, 1), (2, 3)), 50.0), (((0, 1),), 100.0), (((2, 3),), 0.0)])
def test_coincidence_counts_pairs_on_one_spot(sides: tuple[tuple[int, int], ...], expected: float) -> None:
    """Of 0 and 1 (3 px apart, the limit is 3.2) and 2 and 3 (far apart); what the student says does not count."""
    net, student = Says([(20.0, 30.0), (23.0, 30.0), (5.0, 9.0), (50.0, 9.0)]), Says([(9.0, 9.0)] * 4)
    found = select.label_free(net, student, [pair(affine.translation(torch.zeros(1, 2)))], sides)  # type: ignore[arg-type]
    assert found.coincidence == pytest.approx(expected)
    assert found.agreement == 0


class Watched(nn.Module):
    """A net of random weights that shows what is bright, and notes what it sees."""

    stride = 4

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, 4, 4, stride=4)
        nn.init.uniform_(self.layer.weight)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> PoseOutput:
        self.seen.append(images)
        maps = self.layer(images)
        return PoseOutput(maps, maps)


@torch.no_grad()
def test_one_pass_says_what_two_would() -> None:
    """To the bit, against each score counted on its own, point by point; each net sees each view once."""
    torch.manual_seed(0)
    predictor, student, sides = Watched(1), Watched(2), ((0, 2), (3, 1))
    views = [pair(affine.translation(torch.tensor([[2.0, 1.0]])), count) for count in (9, 7)]
    for batch in (one for both in views for one in both):
        batch.student.images.uniform_()
        batch.student.images[::2, :, 20:24, 32:36] += 5  # in every other image all points lie on this spot
    found = select.label_free(predictor, student, views, sides)  # type: ignore[arg-type]
    assert [len(images) for images in predictor.seen] == [len(images) for images in student.seen] == [9, 7]
    near, together = [], []
    for plain, moved in views:
        ours, _ = heatmaps.decode(predictor(plain.student.images).heatmaps, stride=4)
        theirs, _ = heatmaps.decode(student(moved.student.images).heatmaps, stride=4)
        theirs = theirs - torch.tensor([2.0, 1.0])
        for one, other in zip(ours, theirs, strict=True):
            near += [float((a - b).norm()) <= 3.2 for a, b in zip(one, other, strict=True)]
            together += [float((one[a] - one[b]).norm()) <= 3.2 for a, b in sides]
    assert 0 < sum(near) < len(near)
    assert 0 < sum(together) < len(together)
    assert found == select.LabelFree(
        agreement=100 * sum(near) / len(near), coincidence=100 * sum(together) / len(together)
    )


def test_coincidence_of_labels_counts_labelled_pairs() -> None:
    keypoints = np.array([[[0, 0], [3, 0]], [[0, 0], [3.3, 0]], [[0, 0], [0, 0]]], np.float32)
    visible = np.array([[2, 1], [2, 2], [2, 0]], np.uint8)
    assert select.labelled_coincidence(keypoints, visible, ((0, 1),), size=64) == pytest.approx(50)
    assert np.isnan(select.labelled_coincidence(keypoints, visible * 0, ((0, 1),), size=64))


def test_modes_are_given_back() -> None:
    one, other = Says([(20.0, 30.0)]), Says([(20.0, 30.0)])
    one.train(), other.eval()
    select.label_free(one, other, [pair(affine.translation(torch.zeros(1, 2)))], ())  # type: ignore[arg-type]
    assert (one.training, other.training) == (True, False)
    assert select.label_free(one, other, [], ((0, 0),)) == select.LabelFree(agreement=0, coincidence=0)  # type: ignore[arg-type]


def test_selection_picks_the_highest_agreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([30.0, 70.0, 50.0])
    monkeypatch.setattr(
        scoring.select, "label_free", lambda *args: select.LabelFree(agreement=next(said), coincidence=0.0)
    )
    run = tiny.run(tmp_path / "run", "multilevel", {"method": {"levels": []}})
    assert run.checkpoint("best").step == 4
    assert run.checkpoint("last").step == 6
    assert run.checkpoint("best").info["scores"]["agreement"] == 70
    assert run.manifest["selection"].startswith("label-free: teacher-student agreement")


@pytest.mark.parametrize(
    ("scores", "selection", "expected"),
    [
        ({2: 10.0, 4: 80.0, 6: 20.0}, "label-free", 4),
        ({2: 80.0, 4: 80.0, 6: 20.0}, "label-free", 4),
        ({2: 90.0, 4: 80.0, 6: 20.0}, "last", 6),
        ({2: None, 4: None, 6: None}, "label-free", 6),
        ({2: 70.0, 3: 95.0, 4: 80.0}, "label-free", 4),  # 3 was saved by a stop
    ],
)
def test_best_of_the_checkpoints_that_there_are(
    scores: dict[int, float | None], selection: str, expected: int, finished: Run, copy_of: Callable[[Run], Run]
) -> None:
    from poseshift.engine import checkpoint

    run = copy_of(finished)
    for step, score in scores.items():
        info = {"scores": {} if score is None else {"agreement": score, "monitor": -step}}
        checkpoint.save(run.checkpoints_path, step, tensors={}, state={}, info=info)
    assert scoring.best(run, tiny.settings(change={"selection": selection, "save_every": 2})).step == expected
