import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny
from tests.apps.compare.conftest import Made, state

from poseshift.apps.compare import compare, complaint, findings, summary, tasks
from poseshift.engine.evaluate import evaluate
from poseshift.engine.run import open_run
from poseshift.errors import DataError, Interrupted, TrainingError, UsageError
from poseshift.types import Annotations

Write = Callable[..., Path]


def test_each_number_is_that_of_the_runs(made: Made) -> None:
    """Against ``evaluate``, run by run, and means and standard errors written out."""
    (table,) = made.found.tables
    assert [line.row.name for line in table.lines] == ["source", "multilevel", "dann", "shot"]
    for line in table.lines:
        runs = [open_run(made.out / f"runs/seed-{seed}/{line.row.name}") for seed in (0, 1)]
        scores = [evaluate(run, tiny.TARGET, split="test")["visible"] for run in runs]
        assert line.mean is not None
        assert line.mean.mean == pytest.approx(np.mean([one["pck@0.05"] for one in scores]), abs=1e-9)
        a, b = (one["pck@0.05"] for one in scores)
        assert line.mean.error == pytest.approx(abs(a - b) / 2, abs=1e-9), "of two values"
        for group, cell in line.groups.items():
            assert cell is not None
            assert cell.mean == pytest.approx(np.mean([one["groups"][group] for one in scores]), abs=1e-9)
        if line.row.name == "source":
            assert not line.differences
            continue
        (base,) = [other for other in table.lines if other.row.name == "source"]
        assert base.mean is not None
        assert line.differences["mean"].value == pytest.approx(line.mean.mean - base.mean.mean, abs=2e-3)
        assert line.differences["mean"].seeds == 2
        assert set(line.differences) == {*table.groups, "mean"}


def test_a_method_that_fails_is_reported_and_the_others_go_on(made: Made) -> None:
    assert set(made.found.failed) == {"regda"}
    assert set(made.found.failed["regda"]) == {0, 1}
    assert all("not finite" in why and "\n" not in why for why in made.found.failed["regda"].values())
    for text in (summary(made.found), (made.out / "table.md").read_text(), (made.out / "report.html").read_text()):
        assert "regda, seed 1" in text
        assert "not finite" in text
    assert complaint(made.found) is None
    assert any(line.startswith("[") and "seed 1: regda: failed: step " in line for line in made.said)


def test_starts_are_shared_and_source_free_methods_get_no_source(made: Made) -> None:
    runs = made.out / "runs"
    assert {path.name for path in (runs / "seed-0").iterdir()} == {
        *("style", "source", "multilevel", "dann", "regda", "shot")
    }
    starts = [open_run(runs / "seed-0" / name).manifest["parents"] for name in ("multilevel", "dann", "shot")]
    assert len({one["init"]["sha256"] for one in starts}) == 1
    assert [set(one) for one in starts] == [{"init", "style"}, {"init"}, {"init"}], (
        "a style net where images are restyled"
    )
    assert open_run(runs / "seed-1/shot").manifest["parents"]["init"]["sha256"] != starts[0]["init"]["sha256"]
    shot = open_run(runs / "seed-0/shot")
    assert shot.config.source is None
    assert set(shot.manifest["data"]) == {"target"}
    assert not (runs / "seed-0/style/evaluation").exists(), "a start of others is not scored"
    configs = {name: open_run(runs / f"seed-0/{name}").config for name in ("multilevel", "dann")}
    assert configs["dann"].method.ema_decay == 0.5, "as evaluated for the last stage"
    assert (configs["dann"].method.domain_weight, configs["dann"].optimiser.rate) == (0.2, 0.003)
    own = {"method", "optimiser", "style"}
    assert configs["dann"].model_dump(exclude=own) == configs["multilevel"].model_dump(exclude=own)
    assert configs["dann"].optimiser.model_copy(update={"rate": 0.002}) == configs["multilevel"].optimiser


def test_the_same_again_trains_nothing_and_says_the_same(made: Made) -> None:
    before, text = state(made.out), (made.out / "table.md").read_text()
    said: list[str] = []
    names = ["source", "multilevel", "dann", "shot"]
    compare(
        made.recipe, made.out, methods=names, seeds=(0, 1), command="poseshift compare …", quiet=True, say=said.append
    )
    assert state(made.out) == before
    assert (made.out / "table.md").read_text() == text, "the failed method of before is still there"
    assert all(line.endswith("was there") for line in said[1:])


def test_a_table_grows(recipe: Write, tmp_path: Path) -> None:
    file, out = recipe(), tmp_path / "out"
    compare(file, out, methods=["source"], seeds=[1], quiet=True)
    before = state(out)
    found = compare(file, out, methods=["shot"], seeds=[0, 1], quiet=True)
    assert {name: when for name, when in state(out).items() if name in before and "." in name} == {
        name: when for name, when in before.items() if "." in name
    }
    assert {row.name: tuple(row.scored) for row in found.rows} == {"source": (1,), "shot": (0, 1)}
    assert found.baseline == "source"
    (line,) = [line for line in found.tables[0].lines if line.differences]
    assert (line.row.name, line.differences["mean"].seeds) == ("shot", 1)
    assert "(one seed)" in (out / "table.md").read_text()
    found = compare(file, out, methods=["source"], seeds=[1], baseline="shot", quiet=True)
    assert found.baseline == "shot"
    assert set(found.contents.seeds["shot"]) == {0, 1}


def test_stopped_and_gone_on_with(recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the second run ends the call; the same call finishes it and leaves the first as it was."""
    file, out, calls, real = recipe(), tmp_path / "out", list[Path](), tasks.train

    def train(settings: Any, folder: Path, **options: Any) -> Any:
        calls.append(folder)
        if len(calls) == 2:
            raise Interrupted(15, "stopped")
        return real(settings, folder, **options)

    monkeypatch.setattr(tasks, "train", train)
    with pytest.raises(Interrupted):
        compare(file, out, methods=["source", "shot"], seeds=[0], quiet=True)
    assert [folder.name for folder in calls] == ["source", "shot"]
    assert not (out / "table.md").exists()
    before = state(out)
    found = compare(file, out, methods=["source", "shot"], seeds=[0], quiet=True)
    assert {row.name: tuple(row.scored) for row in found.rows} == {"source": (0,), "shot": (0,)}
    now = state(out)
    assert {name: now[name] for name in before if "." in name} == {name: before[name] for name in before if "." in name}


def test_what_was_not_finished_is_not_hidden(recipe: Write, tmp_path: Path) -> None:
    """Rows of an earlier call that was stopped, where a later call asks for others."""
    file, out = recipe(), tmp_path / "out"
    found = compare(file, out, methods=["source"], seeds=[0], quiet=True)
    shutil.rmtree(out / "runs/seed-0/source/evaluation")
    found = compare(file, out, methods=["regda"], seeds=[0], quiet=True)
    assert found.failed["source"] == {0: "not finished; the same command goes on"}
    assert found.tables == ()
    assert "no run could be scored: source: not finished" in str(complaint(found))
    assert "No run has a score" in (out / "report.html").read_text()


def test_a_failed_start_fails_what_starts_from_it(recipe: Write, tmp_path: Path) -> None:
    file = recipe({"stages": {"source": {"optimiser": {"rate": 1e30}}}})
    found = compare(file, tmp_path / "out", methods=["dann", "multilevel"], seeds=[0], quiet=True)
    why = found.failed["dann"][0]
    assert why.startswith("it starts from 'source', which failed: step ")
    assert found.failed["multilevel"][0] == why


def test_a_mistake_in_a_method_leaves_its_traceback(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise IndexError("no such thing")

    monkeypatch.setattr(tasks, "train", broken)
    found = compare(recipe(), tmp_path / "out", methods=["source"], seeds=[3], quiet=True)
    assert found.failed == {"source": {3: "IndexError: no such thing (see failure-source-3.txt)"}}
    assert "in broken" in (tmp_path / "out/failure-source-3.txt").read_text()


def test_two_names_of_one_configuration_share_a_run(recipe: Write, tmp_path: Path) -> None:
    file = recipe({"stages": {"again": {"method": {"name": "source_only"}}}})
    found = compare(file, tmp_path / "out", methods=["source", "again"], seeds=[0], quiet=True)
    assert [path.name for path in (tmp_path / "out/runs/seed-0").iterdir()] == ["source"]
    (table,) = found.tables
    assert table.lines[0].mean == table.lines[1].mean
    assert table.lines[1].differences["mean"].verdict == "no clear difference"


def test_processes_do_as_one(recipe: Write, tmp_path: Path, made: Made) -> None:
    found = compare(made.recipe, tmp_path / "out", methods=["source", "shot"], seeds=[0], jobs=2, quiet=True)
    for row in found.rows:
        (same,) = [one for one in made.found.rows if one.name == row.name]
        assert np.array_equal(row.scored[0].hits["test"].right, same.scored[0].hits["test"].right)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"methods": ["dan"]},
        r"--methods: 'dan' is unknown; did you mean 'dann'\? stages of this recipe: style, source, ",
    ),
    ({"methods": ["bogus"]}, r"stages of this recipe: .*; methods: source_only, "),
    ({"methods": []}, "--methods: the list is empty"),
    ({"methods": ["source", "source"]}, "--methods: 'source' stands there 2 times"),
    ({"methods": ["style"]}, "'style': a run of 'style' makes no pose net to score; choose from source, multilevel"),
    ({"seeds": [0, 1, 0]}, "--seeds: 0 stands there 2 times"),
    ({"seeds": []}, "--seeds: the list is empty"),
    ({"seeds": [-1]}, "--seeds: -1 is negative"),
    ({"baseline": "dann"}, "--baseline 'dann': is no row of this table; choose from source"),
    ({"jobs": 0}, "--jobs: 0 is less than 1"),
    ({"overrides": ["common.stepps=3"]}, "stage 'source': unknown key 'stepps'"),
    ({"methods": ["dann"], "overrides": ["methods.dann.method.domain_weight=-1"]}, "domain_weight: .* found -1"),
    ({"methods": ["dann"], "overrides": ["methods.dann.method.wait=1"]}, "methods.dann: method: unknown key 'wait'"),
    ({"overrides": ["methods.dan.steps=1"]}, "--set: methods: unknown name 'dan'; known: source_only"),
    ({"overrides": ["methods.dann=1"]}, "methods.dann: found 1, expected a mapping"),
    ({"overrides": ["study.test.dat=1"]}, "study.test: unknown key 'dat'; did you mean 'data'"),
    ({"overrides": ["stages.source.seed=1"]}, "stage 'source': sets `seed`; remove it, seeds are those of --seeds"),
    ({"methods": ["multilevel"], "overrides": ["stages.multilevel.style=null"]}, "'multilevel' needs `style`, which"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_bad_input_starts_nothing(options: dict[str, Any], words: str, recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        compare(recipe(), tmp_path / "out", **{"methods": ["source"], "seeds": [0], "quiet": True, **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_recipe_without_a_test(recipe: Write, tmp_path: Path) -> None:
    file = recipe()
    file.write_text(file.read_text().partition("study:")[0])
    with pytest.raises(UsageError, match=r"tiny.yaml: no `study.test` section; say what labelled data to score on"):
        compare(file, tmp_path / "out", methods=["source"])


def test_a_folder_of_another_configuration(made: Made, tmp_path: Path) -> None:
    before = state(made.out)
    for change, words in (
        ("common.steps=3", r"holds a comparison of another configuration \(style.steps|another configuration \(source"),
        ("study.test.every=2", r"study.test.every is None there, 2 now"),
    ):
        with pytest.raises(UsageError, match=words):
            compare(made.recipe, made.out, methods=["source"], seeds=[0], overrides=[change], quiet=True)
    assert state(made.out) == before
    (tmp_path / "mine.txt").write_text("my notes")
    with pytest.raises(UsageError, match="exists and is no folder of `poseshift compare`; choose another --out"):
        compare(made.recipe, tmp_path, methods=["source"])
    with pytest.raises(UsageError, match="exists and is no folder"):
        compare(made.recipe, tmp_path / "mine.txt", methods=["source"])


def test_test_data_that_is_not_there_fails_before_anything_is_trained(recipe: Write, tmp_path: Path) -> None:
    file = recipe({"study": {"test": {"data": "lsp:nowhere"}}})
    with pytest.raises(DataError, match="nowhere"):
        compare(file, tmp_path / "out", methods=["source"], quiet=True)
    assert not (tmp_path / "out").exists()


def seen_anew(annotations: Annotations) -> Annotations:
    return replace(annotations, visible=2 - annotations.visible)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda now: now.select(range(5)), "12 instances of split test, which now has 5; restore the"),
        (lambda now: now.select([*range(12), 0]), "12 instances of split test, which now has 13; restore the"),
        (seen_anew, "12 instances of split test, whose labels are others now; restore the"),
    ],
)
def test_test_data_that_changed_is_refused(
    change: Callable[[Annotations], Annotations], words: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = findings.scoring.instances_of
    monkeypatch.setattr(findings.scoring, "instances_of", lambda *given: change(real(*given)))
    with pytest.raises(DataError, match=f"source, seed 0: scored on {words}"):
        findings.gather(made.out, made.found.contents, name="tiny", command="")


def test_a_process_that_dies_is_said(made: Made) -> None:
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    future: Future[Any] = Future()
    future.set_exception(BrokenProcessPool("gone"))
    task = tasks.Task(recipe=made.found.contents.plan.recipe, seed=2, stage="dann", folder=made.out, test=None)
    with pytest.raises(TrainingError, match="seed 2: dann: its process died, perhaps for lack of memory"):
        list(tasks.in_order(lambda task: future, [task], jobs=1))
