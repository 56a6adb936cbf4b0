import json
import shutil
from pathlib import Path

import pytest
from tests.apps.compare.conftest import Made

from poseshift.apps.compare import compare, folder
from poseshift.errors import DataError, UsageError


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    out, words = tmp_path / "out", "out: another process is at work there"
    with folder.alone(out), pytest.raises(UsageError, match=words), folder.alone(out):
        pass
    with folder.alone(tmp_path / "out"):
        assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "plan.json: not a plan"),
        ("[]", "plan.json: not a plan"),
        ('{"schema": 99}', "plan.json: schema 99, this version reads up to 1; install a newer poseshift"),
        ('{"schema": 1}', "plan.json: has no 'baseline'"),
    ],
)
def test_a_broken_plan(content: str, words: str, made: Made, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(DataError, match=words):
        compare(made.recipe, tmp_path, methods=["source"])


def test_a_folder_of_another_command(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copyfile(made.out / "plan.json", out / "plan.json")
    plan = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps({**plan, "kind": "sweep"}))
    with pytest.raises(UsageError, match="out: holds a sweep, not a comparison; choose another --out"):
        compare(made.recipe, out, methods=["source"])


def test_reasons_come_and_go(tmp_path: Path) -> None:
    folder.note_failure(tmp_path, "dann", 0, None)
    assert not (tmp_path / "failures.json").exists()
    folder.note_failure(tmp_path, "dann", 0, "why")
    folder.note_failure(tmp_path, "dann", 1, "so")
    assert folder.failures(tmp_path) == {"dann": {"0": "why", "1": "so"}}
    folder.note_failure(tmp_path, "dann", 0, None)
    assert folder.failures(tmp_path) == {"dann": {"1": "so"}}
    folder.note_failure(tmp_path, "dann", 1, None)
    assert folder.failures(tmp_path) == {}


def test_a_plan_that_was_being_written_when_its_process_died_is_written_again(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".plan.json.4711").write_text("half")
    plan = folder.joined(made.out, made.found.contents.plan, baseline=None)
    assert folder.joined(out, made.found.contents.plan, baseline=None).plan.rows == plan.plan.rows
    folder.write_plan(out, plan)
    assert [file.name for file in out.iterdir()] == ["plan.json"]
