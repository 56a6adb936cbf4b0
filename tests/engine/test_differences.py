from collections.abc import Callable
from pathlib import Path

import pytest
from tests import tiny

from poseshift.engine.differences import differences, unlike
from poseshift.engine.run import Run
from poseshift.engine.train import train


def test_a_key_that_the_stored_configuration_lacks_has_its_default(
    finished: Run, copy_of: Callable[[Run], Run]
) -> None:
    """A run of an older version, before the key was there, goes on."""
    run = copy_of(finished)
    lines = (run.path / "run.yaml").read_text().splitlines(keepends=True)
    (run.path / "run.yaml").write_text("".join(line for line in lines if not line.startswith("oracle")))
    assert differences(run, tiny.settings()) == []
    assert differences(run, tiny.settings(change={"oracle": True})) == ["oracle is False there, True now"]


def test_a_parent_may_be_named_by_another_path(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an --out that is absolute once and relative the next time."""
    monkeypatch.chdir(tmp_path)
    tiny.run(Path("source"))
    child = tiny.run(Path("child"), change={"init": "source", "steps": 2})
    same, other = (
        tiny.settings(change={"init": str(path), "steps": 2}) for path in (tmp_path / "source", finished.path)
    )
    assert differences(child, same) == []
    assert train(same, tmp_path / "child", quiet=True).finished
    assert differences(child, other) == [f"init is 'source' there, {str(finished.path)!r} now"]


def test_trees_are_compared_leaf_by_leaf() -> None:
    one, other = {"a": {"b": 1, "c": [1, 2]}, "d": {}}, {"a": {"b": 2, "c": [1, 2]}, "e": None}
    assert unlike(one, one) == []
    assert unlike(one, other) == ["a.b is 1 there, 2 now", "d is {} there, None now"]
