import errno
import json
import os
import pickle
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from poseshift.engine import checkpoint
from poseshift.engine.checkpoint import Checkpoint
from poseshift.engine.run import Run
from poseshift.errors import CheckpointError

TENSORS = {
    "method": {
        "a": torch.arange(12.0).view(3, 4),
        "b": torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    }
}


def saved(folder: Path, step: int = 4) -> Checkpoint:
    return checkpoint.save(
        folder, step, tensors=TENSORS, state={"optimisers": {"x": torch.ones(3)}}, info={"scores": {}}
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    made = saved(tmp_path)
    assert (made.path, made.step, made.info) == (tmp_path / "step-4", 4, {"scores": {}})
    assert names(made.path) == ["manifest.json", "method.safetensors", "state.pt"]
    made.verify()
    assert all(torch.equal(TENSORS["method"][key], value) for key, value in made.tensors("method").items())
    assert torch.equal(made.state()["optimisers"]["x"], torch.ones(3))
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert manifest["schema"] == checkpoint.SCHEMA
    assert set(manifest["sha256"]) == {"method.safetensors", "state.pt"}


def test_a_step_that_is_saved_again_is_replaced(tmp_path: Path) -> None:
    saved(tmp_path)
    again = checkpoint.save(tmp_path, 4, tensors={"method": {"a": torch.zeros(1)}}, state={}, info={})
    again.verify()
    assert again.tensors("method")["a"].tolist() == [0]
    assert names(tmp_path) == ["step-4"]


def truncate(path: Path) -> None:
    file = path / "method.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def flip(path: Path) -> None:
    file = path / "method.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))


def flip_state(path: Path) -> None:
    file = path / "state.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(bytes(content))


def set_schema(path: Path, schema: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": schema}))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, r"method\.safetensors: sha256 .*the file is damaged"),
    "bit flipped": (flip, r"method\.safetensors: sha256 .*the file is damaged"),
    "state flipped": (flip_state, r"state\.pt: sha256 .*the file is damaged"),
    "missing": (lambda path: (path / "state.pt").unlink(), r"state\.pt: missing"),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), r"manifest\.json: no readable manifest"),
    "half a manifest": (lambda path: (path / "manifest.json").write_text('{"schema": 1,'), "no readable manifest") ,
    "empty manifest": (lambda path: (path / "manifest.json").write_text("{}"), "no readable manifest"),
    "newer schema": (lambda path: set_schema(path, 99), r"manifest\.json: schema 99, this version reads 1"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_with_file_and_reason(damage: str, tmp_path: Path) -> None:
    made = saved(tmp_path)
    break_it, words = DAMAGES[damage]
    break_it(made.path)
    with pytest.raises(CheckpointError, match=words) as caught:
        made.verify()
    assert str(made.path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_last_falls_back_loudly_and_best_is_refused(
    damage: str, finished: Run, copy_of: Callable[[Run], Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = copy_of(finished)
    assert run.checkpoint("last").step == 6
    run.point("best", run.checkpoint(6))
    DAMAGES[damage][0](run.checkpoints_path / "step-6")
    if damage in ("truncated", "bit flipped"):
        (run.checkpoints_path / "step-6" / "method.safetensors").touch()
    assert run.checkpoint("last").step == 4
    assert "step-6" in caplog.text
    assert "falling back to the checkpoint before it" in caplog.text
    for which in ("best", 6):
        with pytest.raises(CheckpointError, match="step-6"):
            run.checkpoint(which)  # type: ignore[arg-type]


def test_nothing_good_is_an_error(finished: Run, copy_of: Callable[[Run], Run]) -> None:
    run = copy_of(finished)
    for one in run.checkpoints():
        truncate(one.path)
    with pytest.raises(CheckpointError, match="the file is damaged"):
        run.checkpoint("last")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_bomb_is_not_executed(kind: str, tmp_path: Path) -> None:
    made, mark = saved(tmp_path), tmp_path / "exploded"
    file = made.path / "state.pt"
    file.write_bytes(pickle.dumps(Bomb(mark), protocol=2)) if kind == "pickle" else torch.save(Bomb(mark), file)
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["sha256"]["state.pt"] = checkpoint.digest(file)
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    made.verify()
    with pytest.raises(CheckpointError, match=r"state\.pt: cannot be read") as caught:
        made.state()
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    torch.load(file, weights_only=False) if kind == "torch" else pickle.loads(file.read_bytes())  # noqa: S301
    assert mark.exists(), "the bomb works, so the test can fail"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_hostile_state_gives_one_kind_of_error(tmp_path: Path) -> None:
    """Half of the files are changed inside torch's archive, half are bare pickles, which torch reads too."""
    file = saved(tmp_path).path / "state.pt"
    generator = np.random.default_rng(0)
    whole = [file.read_bytes(), pickle.dumps({"optimisers": {"x": [1.0] * 9}}, protocol=2)]
    refused = 0
    for number in range(200):
        content = bytearray(whole[number % 2])
        for place in generator.integers(len(content), size=3):
            content[place] = generator.integers(256)
        file.write_bytes(bytes(content))
        with suppress(CheckpointError):
            Checkpoint(file.parent).state()
            continue
        refused += 1
    assert refused > 50


def full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "place", ["save_file", "torch.save", "os.fsync", "Path.rename", "Path.write_text", "Path.mkdir"]
)
def test_a_full_disk_leaves_the_earlier_checkpoint(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved(tmp_path, 2)
    owner, _, name = place.rpartition(".")
    holders = {"": checkpoint, "torch": torch, "os": os, "Path": Path}
    with monkeypatch.context() as patch:
        patch.setattr(holders[owner], name, full)
        with pytest.raises(
            CheckpointError, match=r"step-4: cannot be written .*earlier checkpoints are intact"
        ) as caught:
            saved(tmp_path, 4)
    assert "No space left" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["step-2"]
    before.verify()


@pytest.mark.parametrize("large", ["tensors", "state"])
def test_the_systems_own_reason_is_told(large: str, tmp_path: Path) -> None:
    """With a limit that the system itself enforces."""
    small, big = torch.ones(3), torch.ones(50_000)
    tensors, state = (big, small) if large == "tensors" else (small, big)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step-4: cannot be written \(.*File too large.*\); earlier"):
            checkpoint.save(tmp_path, 4, tensors={"method": {"a": tensors}}, state={"x": state}, info={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    """As a read-only folder does; root may write into one, so a file stands where the folder should be."""
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written"):
        saved(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint.write_text(tmp_path / "checkpoints" / "last", "step-4")
    assert names(tmp_path) == ["checkpoints"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder(tmp_path: Path) -> None:
    before = saved(tmp_path, 2)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="Permission denied"):
            saved(tmp_path, 4)
    finally:
        tmp_path.chmod(0o700)
    before.verify()


@pytest.mark.parametrize("name", ["write_bytes", "replace"])
def test_small_files_are_replaced_whole_or_not_at_all(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deep" / "last"
    checkpoint.write_text(file, "step-2\n")
    with monkeypatch.context() as patch:
        patch.setattr(Path, name, full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            checkpoint.write_text(file, "step-4\n")
    assert file.read_text() == "step-2\n"
    assert names(file.parent) == ["last"]


def test_a_line_that_cannot_be_appended_is_one_error(tmp_path: Path) -> None:
    checkpoint.append_line(tmp_path / "a", "one")
    checkpoint.append_line(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"
    with pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint.append_line(tmp_path, "three")


def test_drafts_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / ".draft-6-1234").mkdir()
    checkpoint.clear_drafts(tmp_path)
    assert names(tmp_path) == ["step-4"]
