"""Two processes predict together: every image once, in the same order, with the bits of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny
from tests.forks import Forks

from poseshift.apps.predict.pipeline import Look
from poseshift.apps.predict.shares import Shares
from poseshift.engine.run import Run

PHOTOS, BROKEN = 45, "photo07.jpg"


def looks(count: int) -> list[Look]:
    return [Look(image=image, rows=(image,)) for image in range(count)]


@pytest.mark.parametrize("total", [0, 1, 15, 16, 17, 47, 48, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_look_is_that_of_one_process(total: int, count: int) -> None:
    shares = [list(Shares(index=index, count=count).mine(looks(total), 16)) for index in range(count)]
    assert sorted(one.image for share in shares for one in share) == list(range(total))
    for share in shares:
        batches = [share[at : at + 16] for at in range(0, len(share), 16)]
        assert all(batch[0].image % 16 == 0 for batch in batches), "the batches of one process"
        assert all(batch[-1].image - batch[0].image == len(batch) - 1 for batch in batches)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, finished: Run) -> Path:
    """With a run, photographs of which one does not decode, and boxes, some images with several."""
    made = tmp_path_factory.mktemp("shared")
    (made / "run").symlink_to(finished.path)
    photos = tiny.photos(made / "photos", PHOTOS)
    (made / "photos" / BROKEN).write_bytes(photos[7].read_bytes()[:300])
    rows = [(number, 2 * copy) for number in range(PHOTOS) for copy in range(1 + number % 3)]
    boxes: dict[str, Any] = {
        "images": [{"id": number, "file_name": photo.name} for number, photo in enumerate(photos)],
        "annotations": [
            {"id": row, "image_id": number, "category_id": 1, "bbox": [at, at, 30, 24]}
            for row, (number, at) in enumerate(rows)
        ],
    }
    (made / "boxes.json").write_text(json.dumps(boxes))
    return made


@pytest.mark.parametrize("more", [(), ("--boxes", "boxes.json")], ids=["whole images", "boxes"])
def test_two_processes_predict_what_one_does(more: tuple[str, ...], folder: Path, forks: Forks) -> None:
    said, written = [], []
    for count in (1, 2):
        found = forks.run_ranks(count, "predict", "run", "photos", "--out", "out.json", *more, cwd=folder)
        assert [code for code, _, _ in found] == [0] * count, found
        assert [bool(out) for _, out, _ in found] == [True, False][:count], "one of them speaks"
        assert all(not errors for _, _, errors in found[1:])
        said.append((found[0][1], [line for line in found[0][2].splitlines() if BROKEN in line]))
        written.append((folder / "out.json").read_bytes())
    assert said[0] == said[1]
    assert said[0][1], "who found the broken one need not be the one that says so"
    assert written[0] == written[1], "bit for bit, in the same order"
    instances = json.loads(written[0])
    names = [Path(one["file_name"]).name for one in instances]
    expected = [f"photo{number:02}.jpg" for number in range(PHOTOS) for _ in range(1 + number % 3 if more else 1)]
    assert names == [name for name in expected if name != BROKEN]
    assert all(np.isfinite(one["keypoints"]).all() for one in instances)


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "study.yaml", "--methods", "multilevel", "--seeds", "0", "--out", "study"),
        ("export", "run"),
        ("predict", "model.onnx", "photos"),
        ("predict", "run", "photos", "--engine", "ray"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_one_process_does_refuses_several_in_one_line(words: tuple[str, ...], folder: Path, forks: Forks) -> None:
    before = sorted(folder.iterdir())
    found = forks.run_ranks(2, *words, cwd=folder)
    assert [code for code, _, _ in found] == [2, 2]
    (line,) = [line for _, _, errors in found for line in errors.splitlines()]
    assert "is the work of one process, and torchrun started 2; start it without torchrun" in line
    assert sorted(folder.iterdir()) == before
