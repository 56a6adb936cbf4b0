import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict import made
from tests.apps.predict.films import LSP, film

from poseshift.apps.predict import Asked, estimate
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.inputs import open_inputs
from poseshift.errors import UsageError

parquet = pytest.importorskip("pyarrow.parquet")


def test_a_row_for_each_instance_of_a_mix(tmp_path: Path) -> None:
    entries = [film(tmp_path / "a.mp4", [0, 3, 20]), *tiny.photos(tmp_path / "photos", 1)]
    result = estimate(made.Moves(), Asked(open_inputs(entries), out=tmp_path / "out.parquet"), Looks())
    table = parquet.read_table(tmp_path / "out.parquet")
    columns = table.to_pydict()
    assert columns["file"] == [*[str(entries[0])] * 3, str(entries[1])]
    assert columns["frame"] == [0, 1, 2, None]
    assert columns["time"][:3] == pytest.approx([0, 0.03, 0.2], abs=2e-3)
    assert (columns["time"][3], columns["id"]) == (None, [None] * 4)
    assert columns["box_x1"] == [63.5, 63.5, 63.5, 51.5]
    for number, name in enumerate(LSP.keypoints):
        for place, part in enumerate(("x", "y", "score")):
            np.testing.assert_array_equal(columns[f"{name}_{part}"], result.triples[:, number, place])
    about = json.loads(table.schema.metadata[b"poseshift"])
    assert about == {"skeleton": "lsp", "keypoints": list(LSP.keypoints), "calibrated": False}


def test_individuals_have_their_id(tmp_path: Path) -> None:
    made.of_two(tmp_path, out=tmp_path / "out.parquet")
    columns = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert columns["id"] == ["left one", "other, one", "other, one"]
    assert columns["frame"] == [0, 0, 2]


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'poseshift\[pack\]'"):
        made.of_video(tmp_path, out=tmp_path / "out.parquet")
