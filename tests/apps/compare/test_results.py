"""Scores of runs whose folders are not at hand: what is written is read back, and what does not fit is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.apps.compare.conftest import Made, write_recipe

from poseshift.apps.compare import compare, results
from poseshift.errors import DataError, UsageError

Write = Callable[..., Path]
NAMES = ["source", "multilevel", "dann", "shot"]


def rewritten(file: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(file.read_text())
    change(content)
    out.write_text(json.dumps(content))
    return out


def test_scores_come_back_as_they_were(made: Made) -> None:
    known = made.found.known
    again = results.loaded(json.loads((made.out / "scores.json").read_text()), origin="scores.json")
    assert {row: set(seeds) for row, seeds in again.rows.items()} == {row: set(s) for row, s in known.rows.items()}
    assert {row for row, seeds in again.rows.items() if seeds} == set(NAMES)
    for row, seeds in known.rows.items():
        for seed, one in seeds.items():
            other = again.rows[row][seed]
            assert replace(other, scored=one.scored) == one
            assert {**vars(other.scored), "hits": None} == {**vars(one.scored), "hits": None}
            for split, hits in one.scored.hits.items():
                np.testing.assert_array_equal(other.scored.hits[split].counted, hits.counted)
                np.testing.assert_array_equal(other.scored.hits[split].right & hits.counted, hits.right & hits.counted)
    for split, instances in known.instances.items():
        assert asdict(again.instances[split].skeleton) == asdict(instances.skeleton)
        for key in ("categories", "image_index", "counted"):
            np.testing.assert_array_equal(getattr(again.instances[split], key), getattr(instances, key))
    assert again.starts == known.starts


def test_a_folder_without_runs_shows_the_same_tables(made: Made, tmp_path: Path) -> None:
    out, said = tmp_path / "out", list[str]()
    options: dict[str, Any] = {"methods": NAMES, "seeds": (0, 1), "quiet": True, "command": "poseshift compare …"}
    compare(made.recipe, out, add=[made.out / "scores.json"], say=said.append, **options)
    assert said == [f"0 runs, 1 at a time, in {out}"]
    assert not (out / "runs").exists()
    here, there = ((one / "table.md").read_text() for one in (out, made.out))
    assert here == there.partition("\n## Without a score")[0], "all but the reasons of the method that failed there"
    text = (out / "table.csv").read_text()
    compare(made.recipe, out, **options)
    assert (out / "table.csv").read_text() == text, "what was added stays"


def test_seeds_of_another_machine_stand_beside_those_of_this(made: Made, tmp_path: Path) -> None:
    """The data lie elsewhere there; a run of this folder counts instead of an added one."""
    scores = rewritten(
        made.out / "scores.json",
        tmp_path / "there.json",
        lambda content: content["common"]["model"].update(weights=None),
    )
    out = tmp_path / "out"
    found = compare(made.recipe, out, methods=["source"], seeds=[2], add=[scores], quiet=True)
    assert {row.name: tuple(row.scored) for row in found.rows if row.scored} == {
        "source": (2, 0, 1),
        **dict.fromkeys(NAMES[1:], (0, 1)),
    }
    assert [path.name for path in (out / "runs").iterdir()] == ["seed-2"]
    (table,) = found.tables
    means = {line.row.name: line.mean for line in table.lines}
    own = found.known.rows["source"][2].scored.tables["test"]["visible"]["pck@0.05"]
    before = [one.scored.tables["test"]["visible"]["pck@0.05"] for one in made.found.known.rows["source"].values()]
    assert means["source"] is not None
    assert means["source"].mean == pytest.approx(np.mean([own, *before]))
    differences = {line.row.name: line.differences["mean"].seeds for line in table.lines if line.differences}
    assert differences == dict.fromkeys(NAMES[1:], 2)
    shutil.copyfile(out / "scores.json", tmp_path / "both.json")
    third = compare(made.recipe, tmp_path / "third", methods=["source"], seeds=[0], add=[tmp_path / "both.json"])
    assert set(third.known.rows["source"]) == {0, 1, 2}, "and so on to the next"


def test_a_start_of_a_row_that_is_lacking_is_trained_though_its_scores_are_there(made: Made, tmp_path: Path) -> None:
    def without_shot(content: dict[str, Any]) -> None:
        del content["results"]["shot"], content["rows"]["shot"], content["stages"]["shot"]

    scores = rewritten(made.out / "scores.json", tmp_path / "there.json", without_shot)
    found = compare(made.recipe, tmp_path / "out", methods=["source", "shot"], seeds=[0], add=[scores], quiet=True)
    assert {path.name for path in (tmp_path / "out/runs/seed-0").iterdir()} == {"source", "shot"}
    ours, theirs = (one.known.rows["shot"][0].scored for one in (found, made.found))
    np.testing.assert_array_equal(ours.hits["test"].right, theirs.hits["test"].right)


def other_rate(content: dict[str, Any]) -> None:
    content["stages"]["source"]["optimiser"] = {"rate": 0.5}


def other_kind(content: dict[str, Any]) -> None:
    content["kind"] = "sweep"


def other_format(content: dict[str, Any]) -> None:
    content["test"]["data"] = "coco:there/test.json"


def no_scores(content: dict[str, Any]) -> None:
    del content["results"]


def no_bits(content: dict[str, Any]) -> None:
    content["instances"]["test"]["counted"] = "AAAA"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (other_rate, UsageError, r"there.json: holds a comparison of another configuration \(source.optimiser.rate"),
        (other_kind, UsageError, "there.json: holds a sweep, not a comparison; choose another file to --add"),
        (other_format, UsageError, "there.json: holds a comparison of another configuration .study.test.data is"),
        (no_scores, DataError, r"there.json: no scores of a comparison \(KeyError\('results'\)\)"),
        (no_bits, DataError, "there.json: no scores of a comparison"),
    ],
)
def test_what_does_not_fit(
    change: Callable[[dict[str, Any]], None], error: type[Exception], words: str, made: Made, tmp_path: Path
) -> None:
    scores = rewritten(made.out / "scores.json", tmp_path / "there.json", change)
    with pytest.raises(error, match=words):
        compare(made.recipe, tmp_path / "out", methods=["source"], add=[scores])
    assert not (tmp_path / "out").exists(), "nothing was started"


def test_a_file_that_is_not_there(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--add: .*nowhere\.json is no file; give the scores.json of a comparison"):
        compare(made.recipe, tmp_path / "out", methods=["source"], add=[tmp_path / "nowhere.json"])


def test_scores_on_other_instances(made: Made, tmp_path: Path) -> None:
    """The same path, yet other labels: rows that were scored on different things are not put side by side."""

    def fewer(content: dict[str, Any]) -> None:
        known = results.loaded(content, origin="here")
        counted = known.instances["test"].counted.copy()
        counted[0] = ~counted[0]
        whole = replace(known, instances={"test": replace(known.instances["test"], counted=counted)})
        content.update(results.dumped(whole))

    scores = rewritten(made.out / "scores.json", tmp_path / "there.json", fewer)
    with pytest.raises(DataError, match=r"seed \d: scored on 12 instances of split test, whose labels are others now"):
        compare(made.recipe, tmp_path / "out", methods=["source"], seeds=[2], add=[scores], quiet=True)


def test_the_folder_of_data_is_no_difference(recipe: Write, tmp_path: Path, made: Made) -> None:
    def elsewhere(content: dict[str, Any]) -> None:
        content["common"]["model"]["weights"] = "there/net.safetensors"

    file = recipe({"common": {"model": {"weights": "here/net.safetensors"}}})
    scores = rewritten(made.out / "scores.json", tmp_path / "there.json", elsewhere)
    found = compare(file, tmp_path / "out", methods=NAMES, seeds=[0, 1], add=[scores], quiet=True)
    assert {row.name for row in found.rows if row.scored} == set(NAMES)
    other = write_recipe(tmp_path / "other.yaml", {"common": {"model": {"weights": "here/other.safetensors"}}})
    with pytest.raises(UsageError, match=r"weights is 'net.safetensors' there, 'other.safetensors' now"):
        compare(other, tmp_path / "new", methods=NAMES, seeds=[0, 1], add=[scores], quiet=True)
