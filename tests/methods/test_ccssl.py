from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from tests import tiny

from poseshift.batches import Batch, TargetBatch, View
from poseshift.engine.train import Session, train
from poseshift.methods.base import Context
from poseshift.methods.ccssl import Ccssl, CcsslConfig, percentile
from poseshift.ops import affine

Contexts, Batches = Callable[..., Context], Callable[..., Batch]


def made(context: Contexts, targets: TargetBatch, **options: object) -> Ccssl:
    method = Ccssl(CcsslConfig(**options), context(style=False)).train()
    method.refresh(iter([targets]))
    return method


def test_the_curriculum_is_that_of_sixty_epochs() -> None:
    for epoch in range(60):
        passed = epoch - epoch % 10
        assert percentile(epoch / 60) == pytest.approx(max(1 - 0.02 * (passed + 10), 0.2)), epoch
    assert [round(percentile(sixth / 6), 3) for sixth in range(6)] == [0.8, 0.6, 0.4, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("progress", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("flip", [False, True])
def test_terms_are_those_of_the_formula(
    context: Contexts, batch: Batches, targets: TargetBatch, flip: bool, progress: float
) -> None:
    """Half the mean squared error of the maps to Gaussians at the accepted labels in the view, in loops."""
    method, given = made(context, targets), batch()
    method.labels.other_side = torch.tensor([2, 1, 0])
    target = given.target
    if flip:
        matrix = affine.mirror(96, like=target.student.matrix) @ target.student.matrix
        view = View(images=target.student.images, matrix=matrix)
        target = TargetBatch(student=view, teacher=target.teacher, ids=target.ids)
        given = Batch(draws=given.draws, source=given.source, target=target)
    (update,) = method.updates(given, progress)
    fresh = made(context, targets)
    with torch.no_grad():
        fresh.nets.net(given.source.view.images)
        maps = fresh.nets.net(target.student.images).heatmaps.double()
    ranks = method.labels.rank.flatten().tolist()
    assert sorted(ranks) == list(range(18)), "no two labels are equally certain"
    total, accepted = 0.0, 0
    for b in range(4):
        matrix = target.student.matrix[b].double()
        for k in range(3):
            kept = 2 - k if flip else k
            point = torch.cat((method.labels.points[target.ids[b], kept].double(), torch.ones(1).double()))
            x, y = ((matrix @ point)[:2] - 1.5).div(4).tolist()
            sure = int(method.labels.rank[target.ids[b], kept]) > int(percentile(progress) * 18)
            if sure and -0.5 <= x < 23.5 and -0.5 <= y < 15.5:
                accepted += 1
                label = [[math.exp(-((c - x) ** 2 + (r - y) ** 2) / 8) for c in range(24)] for r in range(16)]
                total += 0.5 * float((maps[b, k] - torch.tensor(label, dtype=torch.float64)).square().sum())
    assert 0 < accepted < 12
    assert update.terms["pseudo_label"].value.item() == pytest.approx(total / (12 * 16 * 24), rel=1e-4)
    assert {name: term.weight for name, term in update.terms.items()} == {"supervised": 1.0, "pseudo_label": 10.0}
    assert update.on == ("net",)


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in ({"pseudo_label_weight": -1}, {"refresh_every": -1}, {"ema_decay": 1.0}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            CcsslConfig(**wrong)


# --- videos, from the file to the weights -----------------------------------------------------------------------------


def film(path: Path, count: int, *, seed: int) -> None:
    """A picture that moves by (1.5, -1) of 48 pixels a frame, and fades: what a net says of it changes."""
    import av

    large = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(96, 96, 3)), (2, 2, 0))
    large = 60 * large / large.std()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 48, "yuv420p", 4_000_000
        for number in range(count):
            moved = ndimage.shift(large, (-number, 1.5 * number, 0), order=1, mode="nearest")[24:72, 24:72]
            picture = np.clip(128 + moved * 0.8**number, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def change(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run on two videos of six frames changes in the settings of a tiny one."""
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        film(folder / f"{number}.mp4", 6, seed=number)
    init = tiny.run(tmp_path_factory.mktemp("init") / "run", change={"steps": 20, "save_every": 20})
    target = {"data": f"video:{folder}@all", "boxes": "whole"}
    return {"target": target, "init": str(init.path), "steps": 7, "method": {"refresh_every": 3}}


def session(folder: Path, change: dict[str, Any], *, temporal: bool) -> Session:
    options = {**change, "method": {**change["method"], "temporal": temporal}}
    return Session(tiny.settings("ccssl", options), folder, None, command="", quiet=True)


def test_labels_of_a_video_are_carried_on(change: dict[str, Any], tmp_path: Path) -> None:
    with_time, without = (session(tmp_path / str(on), change, temporal=on) for on in (True, False))
    for one in (with_time, without):
        one.method.refresh(one.batches.plain_targets(batch_size=4))
    assert isinstance(with_time.method, Ccssl)
    assert isinstance(without.method, Ccssl)
    assert with_time.method.labels.previous.tolist() == [-1, 0, 1, 2, 3, 4, -1, 6, 7, 8, 9, 10]
    assert without.method.labels.previous.tolist() == [-1] * 12
    here, there = with_time.method.labels.points, without.method.labels.points
    differ = (here != there).any(-1)
    assert not differ[[0, 6]].any(), "first frames have none before them"
    assert differ[[1, 2, 3, 4, 5]].any()
    steps = (here[1:] - here[:-1])[differ[1:]]
    assert (steps - torch.tensor([1.0, -2 / 3])).norm(dim=-1).max() < 0.5, "pixels of the input, 32 for 48 of the film"


def test_a_run_on_videos_goes_on_as_if_never_stopped(change: dict[str, Any], tmp_path: Path) -> None:
    """From the labels of the second pass, through a third one."""
    settings = tiny.settings("ccssl", {**change, "save_every": 5})
    whole = train(settings, tmp_path / "whole", quiet=True)
    cut = train(settings, tmp_path / "cut", quiet=True)
    shutil.rmtree(cut.path / "checkpoints" / "step-7")
    manifest = json.loads((cut.path / "manifest.json").read_text())
    (cut.path / "manifest.json").write_text(json.dumps(manifest | {"outcome": "interrupted"}))
    again = train(settings, cut.path, quiet=True)
    assert again.finished
    assert {"labels.points", "labels.rank"} <= tiny.weights(again).keys()
    assert tiny.same_tensors(tiny.weights(again), tiny.weights(whole))
    assert tiny.lines(again) == tiny.lines(whole)
