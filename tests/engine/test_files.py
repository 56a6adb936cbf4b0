from pathlib import Path

import pytest

from poseshift.engine import files
from poseshift.errors import CheckpointError


def test_a_file_is_replaced_and_no_draft_is_left(tmp_path: Path) -> None:
    file = tmp_path / "new" / "one.json"
    for text in ("first", "second"):
        files.write_text(file, text)
        assert [(found.name, found.read_text()) for found in file.parent.iterdir()] == [("one.json", text)]
    files.append_line(file, " line")
    assert file.read_text() == "second line\n"


def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for write in (files.write_text, files.append_line):
        with pytest.raises(CheckpointError, match=r"file/one\.json: cannot be written") as caught:
            write(tmp_path / "file" / "one.json", "text")
        assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_drafts_of_killed_processes_are_known_by_their_names(tmp_path: Path) -> None:
    drafts = [tmp_path / name for name in (".run.yaml.12", ".manifest.json.7")]
    others = [tmp_path / name for name in (".lock", ".hidden.yaml", "run.yaml.12", ".12", "run.yaml")]
    for file in drafts + others:
        file.write_text("")
    assert sorted(files.drafts(tmp_path)) == sorted(drafts)
    assert files.drafts(tmp_path, "run.yaml", "other") == drafts[:1]
    files.clear_drafts(tmp_path, "run.yaml")
    assert sorted(tmp_path.iterdir()) == sorted([drafts[1], *others])
    files.clear_drafts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    assert files.drafts(tmp_path / "nothing") == []
