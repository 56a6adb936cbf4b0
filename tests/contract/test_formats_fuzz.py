"""Damaged files: whatever bit is flipped and wherever a file is cut, a reader raises nothing but the project's errors.

Each module of ``tests/data/formats/miniatures`` writes a small valid data set for the format of its name. Formats whose
files go through compiled code are read in a process of their own, whose memory is bounded: a crash of that code shows.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import random
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType

import pytest

MINIATURES = Path(__file__).parents[1] / "data/formats/miniatures"
SRC = Path(__file__).parents[2] / "src"
NATIVE = {".parquet", ".h5", ".hdf5", ".slp", ".mat", ".mp4", ".avi", ".mov", ".mkv", ".webm"}
DAMAGES, SECONDS, MEMORY = 30, 5.0, 1 << 30


def miniature(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"miniature_{name}", MINIATURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def writers() -> list[tuple[str, str]]:
    """``(format, function)`` of every ``write…(root)`` among the miniatures."""
    names = [module.name for module in pkgutil.iter_modules([str(MINIATURES)])]
    return [
        (name, function)
        for name in names
        for function, value in vars(miniature(name)).items()
        if function.startswith("write") and _wants_only_a_root(value)
    ]


def _wants_only_a_root(function: object) -> bool:
    root, *others = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return root.name == "root" and all(other.default is not other.empty for other in others)


def damaged(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The bytes with a few bits flipped, or cut; and what was done, to be repeated from a message."""
    if draw.random() < 0.3:
        length = draw.randrange(len(content))
        return content[:length], f"cut to {length} of {len(content)}"
    changed, bits = bytearray(content), sorted(draw.choices(range(8 * len(content)), k=draw.choice((1, 4, 16))))
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed), f"flipped bits {bits}"


def read_all(name: str, path: str) -> None:
    """Read the data set and decode the images of its first instances."""
    data = importlib.import_module(f"poseshift.data.formats.{name}").read(path)
    for image in data.image_index[:3].tolist():
        data.images.read(image)


def trouble(name: str, path: str) -> str | None:
    """What reading says, None where it succeeds (a file may not be needed)."""
    from poseshift.errors import DataError

    try:
        read_all(name, path)
    except DataError as error:
        return str(error)
    return None


def attack(name: str, function: str, root: Path, path: str) -> list[str]:
    """What escaped or took too long, of :data:`DAMAGES` damages that are the same in every run."""
    from poseshift.errors import PoseshiftError

    files = sorted(file for file in root.rglob("*") if file.is_file() and file.stat().st_size)
    draw, found = random.Random(f"{name} {function}"), []
    for _ in range(DAMAGES):
        file = draw.choice(files)
        content = file.read_bytes()
        changed, what = damaged(content, draw)
        case = f"{name}.{function}: {file.relative_to(root)} {what}"
        print(case, file=sys.stderr, flush=True)  # the last line before a crash
        file.write_bytes(changed)
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_all(name, path)
        except PoseshiftError as error:
            found += [f"{case}: {str(error)!r} is more than a line"] if "\n" in str(error) else []
        except Exception as error:  # noqa: BLE001 - what this test is about
            found.append(f"{case}: {type(error).__name__}: {error}")
        if (took := time.process_time() - start) > SECONDS:
            found.append(f"{case}: took {took:.1f} s")
        file.write_bytes(content)
    return found


@pytest.mark.parametrize(("name", "function"), writers())
def test_damaged_files_raise_only_our_errors(name: str, function: str, tmp_path: Path) -> None:
    path = getattr(miniature(name), function)(tmp_path)
    read_all(name, path)
    if not any(file.suffix.lower() in NATIVE for file in tmp_path.rglob("*")):
        assert not attack(name, function, tmp_path, path)
        return
    command = [sys.executable, __file__, name, function, str(tmp_path), path]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"exit status {done.returncode} after {done.stderr[-2000:]}"
    assert done.stdout == ""


def test_json_nested_too_deeply_is_our_error(tmp_path: Path) -> None:
    refused: set[str] = set()
    for name, function in writers():
        root = tmp_path / name / function
        root.mkdir(parents=True)
        path = getattr(miniature(name), function)(root)
        for file in root.rglob("*.json"):
            content = file.read_bytes()
            file.write_text("[" * 200_000)
            error = trouble(name, path)
            assert error is None or ("no JSON" in error and "\n" not in error), f"{name}: {error}"
            refused |= {name} if error else set()
            file.write_bytes(content)
    assert refused >= {"coco", "animalpose", "label_studio", "badja", "h3d", "mpii"}


def main(name: str, function: str, root: str, path: str) -> None:
    read_all(name, path)  # loads the libraries, whose own memory does not count
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in attack(name, function, Path(root), path):
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
