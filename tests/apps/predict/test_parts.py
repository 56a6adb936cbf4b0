from pathlib import Path

import pytest

from poseshift.apps.predict import parts
from poseshift.errors import UsageError


def test_a_folder_that_was_being_begun_is_begun_again_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / f".4711.{parts.PLAN}").write_text("half")
    parts.begun(folder, {"model": "one"})
    parts.begun(folder, {"model": "one"})
    with pytest.raises(UsageError, match="other inputs, options or model"):
        parts.begun(folder, {"model": "another"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(UsageError, match="no folder of `predict --engine ray`"):
        parts.begun(tmp_path / "mine", {"model": "one"})
