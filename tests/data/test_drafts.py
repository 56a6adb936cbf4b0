from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from poseshift.data.drafts import draft, left_of, refuse_existing, replacement, staged
from poseshift.errors import DataError


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """The system refuses files of more than ``free`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_draft_takes_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "labels.pkg.json"
    with draft(target) as temporary:
        temporary.write_text("a")
        assert (temporary.parent, temporary.suffix, target.exists()) == (tmp_path, ".json", False)
    assert target.read_text() == "a"
    assert everything(tmp_path) == ["labels.pkg.json"]


def drafted(target: Path, content: bytes = b"new", error: BaseException | None = None) -> None:
    with draft(target) as temporary:
        temporary.write_bytes(content)
        if error is not None:
            raise error


def put_on_stage(folder: Path, content: bytes = b"new", error: BaseException | None = None) -> None:
    with staged(folder) as stage:
        assert stage.parent == folder
        (stage / "images").mkdir()
        (stage / "images/a.png").write_bytes(content)
        (stage / "labels.json").write_bytes(content)
        if error is not None:
            raise error


def test_what_exists_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    for name in "ab":
        with pytest.raises(DataError, match=f"{name}' exists already and is never overwritten"):
            refuse_existing(tmp_path / name)
        with pytest.raises(DataError, match="exists already"):
            drafted(tmp_path / name)
    write_bytes = Path.write_bytes

    def meanwhile(path: Path, content: bytes) -> int:
        (tmp_path / "c").write_text("came in between")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", meanwhile)
    with pytest.raises(DataError, match="exists already"):
        drafted(tmp_path / "c")
    assert (tmp_path / "c").read_text() == "came in between"
    assert everything(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), DataError("mine")])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        drafted(tmp_path / "file", error=error)
    with pytest.raises(type(error)):
        put_on_stage(tmp_path / "new/deep", error=error)
    assert everything(tmp_path) == []


def test_a_draft_may_be_a_folder(tmp_path: Path) -> None:
    with draft(tmp_path / "labels") as temporary:
        temporary.mkdir()
        (temporary / "a.txt").write_text("a")
    assert everything(tmp_path) == ["labels", "labels/a.txt"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    for write, name in ((drafted, "a.txt"), (put_on_stage, "new")):
        with full_disk(1000), pytest.raises(DataError) as caught:
            write(tmp_path / name, bytes(5000))
        assert str(caught.value) == (
            f"{str(tmp_path / name)!r} cannot be written (File too large); make room or mend the folder, then retry"
        )
    assert everything(tmp_path) == []


def test_folders_above_are_made_and_go_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        drafted(tmp_path / "new/deep/file", error=ValueError("no"))
    assert everything(tmp_path) == []
    drafted(tmp_path / "new/deep/file")
    assert everything(tmp_path) == ["new", "new/deep", "new/deep/file"]


def test_an_error_about_another_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    """What is read while something is written may fail too, and the message must name that."""
    for write in (drafted, put_on_stage):
        with pytest.raises(FileNotFoundError, match=r"beside\.jpg"):
            write(tmp_path / "new", error=FileNotFoundError(2, "No such file", str(tmp_path / "beside.jpg")))
        for ours in (tmp_path, tmp_path / "new/images"):
            with pytest.raises(DataError, match=r"new' cannot be written \(Permission denied\)"):
                write(tmp_path / "new", error=PermissionError(13, "Permission denied", str(ours)))
    assert everything(tmp_path) == []


def test_a_message_names_the_place_that_the_user_knows(tmp_path: Path) -> None:
    def fill() -> None:
        with staged(tmp_path / "new") as stage:
            drafted(stage / "a.txt", bytes(5000))

    with full_disk(1000), pytest.raises(DataError) as caught:
        fill()
    assert str(caught.value).startswith(f"{str(tmp_path / 'new/a.txt')!r} cannot be written")


def test_a_stage_moves_up_beside_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    put_on_stage(tmp_path)
    assert everything(tmp_path) == ["images", "images/a.png", "labels.json", "old.txt"]


def test_a_stage_whose_last_entry_exists_takes_the_others_back(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("old")
    with pytest.raises(DataError, match=r"labels\.json' exists already"):
        put_on_stage(tmp_path)
    assert everything(tmp_path) == ["labels.json"]
    assert (tmp_path / "labels.json").read_text() == "old"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"out' cannot be written \(File exists\)"):
        put_on_stage(tmp_path / "out")


def test_a_replacement_takes_the_place_of_a_file_and_of_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("before")
    with pytest.raises(KeyError), replacement(target) as file:  # noqa: PT012 (a failure after half of the work)
        file.write_text("half")
        raise KeyError
    assert target.read_text() == "before"
    with replacement(target) as file:
        assert file.suffix == ".csv"
        file.write_text("after")
        assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert target.read_text() == "after"
    with pytest.raises(DataError, match="is a folder, expected the name of a file"), replacement(tmp_path):
        pass


def test_what_killed_processes_left_of_a_file(tmp_path: Path) -> None:
    left = tmp_path / ".4711.plan.json"
    for name in (left.name, ".4711.other.json", ".x.plan.json", "plan.json", ".plan.json"):
        (tmp_path / name).write_text("")
    assert left_of(tmp_path / "plan.json") == [left]
    assert left_of(tmp_path / "missing" / "plan.json") == []
