"""Prediction by Ray Data on this machine: two workers, one of them killed on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import tiny

from poseshift.apps.pack import pack
from poseshift.apps.predict import on_ray, predict
from poseshift.data.formats import read
from poseshift.engine.run import Run
from poseshift.errors import DataError, UsageError

ray = pytest.importorskip("ray", reason="Ray is not installed")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.timeout(300),
]
COUNT = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(tmp_path_factory.mktemp("ray") / "run", "source_only", {"steps": 2})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    images = read(f"figures:middle,count={COUNT},side=48").images
    for number in range(COUNT):
        Image.fromarray(images.read(number)).save(folder / f"{number:03}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def two_workers() -> object:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd() / "src"), os.environ.get("PYTHONPATH")]))
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.2", log_to_driver=False)
    yield
    ray.shutdown()


def workers() -> list[int]:
    """Process ids of the workers that predict."""
    told = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in told.splitlines() if "ray::" in line and "MapWorker" in line]


def kill_one(folder: Path, killed: list[int], over: threading.Event) -> None:
    """Ends one worker as soon as a first part lies there, however long the workers take to start."""
    while not killed and not over.is_set():
        if any(folder.glob("part-*.parquet")) and (there := workers()):
            os.kill(there[-1], signal.SIGKILL)
            killed.append(there[-1])
        time.sleep(0.01)


def test_a_killed_worker_loses_and_doubles_nothing(run: Run, photos: Path, two_workers: object, tmp_path: Path) -> None:
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_one, args=(tmp_path / "out", killed, over))
    killer.start()
    try:
        done = on_ray.predict(run.path, [photos], out=tmp_path / "out", workers=2, images=1)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert (done.parts, done.instances, done.failed, done.skipped) == (COUNT + 1, COUNT, 1, 0)
    table = pq.read_table(tmp_path / "out").to_pydict()
    assert Counter(table["file"]) == Counter(str(photos / f"{number:03}.png") for number in range(COUNT))
    predict(run, [photos], out=tmp_path / "alone.parquet")
    expected = pq.read_table(tmp_path / "alone.parquet").to_pydict()
    rows = {name: row for row, name in enumerate(expected["file"])}
    order = [rows[name] for name in table["file"]]
    np.testing.assert_allclose(table["neck_x"], np.array(expected["neck_x"])[order], atol=1e-3)

    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("part-*")}
    missing = tmp_path / "out" / "part-00003.parquet"
    missing.unlink()
    again = on_ray.predict(run.path, [photos], out=tmp_path / "out", workers=1, images=1)
    assert (again.instances, again.skipped) == (COUNT, COUNT)
    now = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("part-*")}
    assert {name for name in now if now[name] != before[name]} == {missing.name}
    with pytest.raises(UsageError, match="other inputs, options or model"):
        on_ray.predict(run.path, [photos], out=tmp_path / "out", images=2)


def test_packed_data_are_read_from_their_row_groups(run: Run, two_workers: object, tmp_path: Path) -> None:
    pack("figures:middle,count=6,side=32", tmp_path / "packed", group_bytes=4000)
    done = on_ray.predict(run.path, [tmp_path / "packed"], out=tmp_path / "out", workers=1)
    assert done.instances == 6
    assert done.parts > 1
    names = read(f"packed:{tmp_path / 'packed'}").images
    found = pq.read_table(tmp_path / "out").column("file").to_pylist()
    assert sorted(found) == sorted(names.key(number) for number in range(6))


def test_what_cannot_begin_leaves_nothing(run: Run, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "full")
    with pytest.raises(UsageError, match="no folder of `predict --engine ray`"):
        on_ray.predict(run.path, [photos], out=tmp_path / "full")
    with pytest.raises(DataError, match="no run folder"):
        on_ray.predict(tmp_path / "nothing", [photos], out=tmp_path / "out")
    with pytest.raises(DataError, match="no such file"):
        on_ray.predict(run.path, [tmp_path / "photos.parquet"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_ray_the_install_line_is_given(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'poseshift\[ray\]'"):
        on_ray.predict(run.path, [photos], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
