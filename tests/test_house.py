"""The rules of the house (docs/design.md) that no tool holds by itself."""

from __future__ import annotations

import ast
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PACKAGE = SRC / "poseshift"
FILES = sorted(PACKAGE.rglob("*.py"))

FUNCTION_LINES, MODULE_LINES, METHOD_LINES = 60, 300, 200

# Exceptions to the three limits: "path" or "path::function" -> its own limit and the reason. Keep it short.
LONGER: dict[str, tuple[int, str]] = {}

# Where the engine or an app may say a word that is also a method's name: "path::word" -> the reason.
NAMED: dict[str, str] = {
    "apps/bench/steps.py::style": "the stream of random numbers that decides on restyling, not the method",
}

DRAWERS = {"utils", "util", "misc", "common", "helpers", "helper", "tools"}
TORCH_FREE = ("poseshift", "poseshift.cli", "poseshift.types", "poseshift.errors")
TORCH_FREE_PACKAGES = ("poseshift.data.formats", "poseshift.data.synth", "poseshift.apps.predict")
NEEDS_TORCH = ("poseshift.apps.predict.torch_estimator",)


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function under ``node`` with its qualified name, nested ones too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        inner = f"{prefix}{child.name}." if isinstance(child, ast.FunctionDef | ast.ClassDef) else prefix
        yield from functions(child, inner)


def method_files() -> list[Path]:
    return [path for path in sorted((PACKAGE / "methods").glob("*.py")) if path.stem not in {"__init__", "base"}]


def too_long() -> dict[str, tuple[int, int]]:
    """Name -> (lines, limit) of everything that is longer than the general limits."""
    found = {}
    for path in FILES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = METHOD_LINES if path in method_files() else MODULE_LINES
        if lines > limit:
            found[relative(path)] = (lines, limit)
        for name, node in functions(tree(path)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found[f"{relative(path)}::{name}"] = (length, FUNCTION_LINES)
    return found


def test_functions_and_modules_are_short() -> None:
    found = too_long()
    offenders = {
        name: f"{lines} lines, at most {LONGER.get(name, (limit,))[0]}"
        for name, (lines, limit) in found.items()
        if lines > LONGER.get(name, (limit,))[0]
    }
    assert not offenders
    assert set(LONGER) <= set(found), "an exception that is no longer needed: remove it"
    assert all(reason.strip() for _, reason in LONGER.values())


def test_no_drawers() -> None:
    places = [path for folder in (SRC, ROOT / "tests", ROOT / "benchmarks") for path in folder.rglob("*")]
    assert not [str(p.relative_to(ROOT)) for p in places if p.stem.strip("_") in DRAWERS and p.suffix in {"", ".py"}]


def test_no_bare_assert() -> None:
    """An assert vanishes under ``-O`` and tells a user nothing."""
    found = [f"{relative(p)}:{n.lineno}" for p in FILES for n in ast.walk(tree(p)) if isinstance(n, ast.Assert)]
    assert not found


def test_no_notes_to_self() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    lines = [(p, i, text) for p in FILES for i, text in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)]
    assert not [f"{relative(p)}:{i}" for p, i, text in lines if words.search(text)]


def method_words() -> set[str]:
    """Names by which code could single a method out: keys of ``METHODS`` (the files' names) and public classes."""
    classes = {n.name for p in method_files() for n in tree(p).body if isinstance(n, ast.ClassDef)}
    return {p.stem for p in method_files()} | {c for c in classes if not c.startswith("_") and c != "Config"}


def words_of(node: ast.AST) -> list[str]:
    """What a node says: a string that is one word, an identifier, an attribute, or the last parts of an import."""
    match node:
        case ast.Constant(value=str(value)):
            return [value]
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return [name]
        case ast.ImportFrom(module=module, names=names):
            return [(module or "").rpartition(".")[2], *(alias.name for alias in names)]
        case ast.Import(names=names):
            return [alias.name.rpartition(".")[2] for alias in names]
        case _:
            return []


def test_engine_and_apps_name_no_method() -> None:
    places = [*(PACKAGE / "engine").rglob("*.py"), *(PACKAGE / "apps").rglob("*.py")]
    methods = method_words()
    found = {
        f"{relative(path)}::{word}": node.lineno
        for path in places
        for node in ast.walk(tree(path))
        for word in words_of(node)
        # A class of ours, a quoted name, or an import of a method's file; a variable called `style` names no method.
        if word in methods and not (isinstance(node, ast.Name | ast.Attribute) and word.islower())
    }
    assert not {name: line for name, line in found.items() if name not in NAMED}
    assert set(NAMED) <= set(found), "an exception that is no longer needed: remove it"


def test_every_method_file_is_registered() -> None:
    if not method_files():
        pytest.skip("no method file yet")
    from poseshift.methods import METHODS

    assert set(METHODS) == {path.stem for path in method_files()}


WATCH = """
import importlib, os, random, signal, sys, threading, warnings
names = sys.argv[1:]
for name in names:              # once, so that what third parties do at import is done
    importlib.import_module(name)
import numpy, torch
for name in [n for n in sys.modules if n.partition(".")[0] == "poseshift"]:
    del sys.modules[name]

def state():
    return {
        "threads": threading.active_count(), "environment": dict(os.environ), "folder": os.getcwd(),
        "random": random.getstate(), "numpy": repr(numpy.random.get_state()), "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(), "grad": torch.is_grad_enabled(), "cores": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "filters": list(warnings.filters),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
    }

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
WATCHED = {"os.mkdir", "os.remove", "os.rename", "os.system", "subprocess.Popen", "socket.connect"}
seen, watching = [], False

def hook(event, args):
    if watching and (event in WATCHED or (event == "open" and isinstance(args[2], int) and args[2] & WRITES)):
        seen.append(f"{event} {args}")

sys.addaudithook(hook)
before = state()
for name in names:
    watching = True
    importlib.import_module(name)
    watching = False
    after = state()
    seen += [f"changed {key}" for key in before if before[key] != after[key]]
    if seen:
        raise SystemExit(f"importing {name}: {seen}")
"""


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(SRC), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=240)


def test_importing_does_no_work(tmp_path: Path) -> None:
    done = python("-c", WATCH, *[module_name(path) for path in FILES if path.stem != "__main__"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.iterdir())


def torch_free_modules() -> list[str]:
    names = [name for name in map(module_name, FILES) if name not in NEEDS_TORCH]
    return [n for n in names if n in TORCH_FREE or any(f"{n}.".startswith(f"{p}.") for p in TORCH_FREE_PACKAGES)]


def test_modules_that_need_no_torch_import_none(tmp_path: Path) -> None:
    script = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = {"torch", "torchvision", "timm", "lightning_fabric"} & set(sys.modules)
    if heavy:
        raise SystemExit(f"{name} imports {sorted(heavy)}")
"""
    done = python("-c", script, *torch_free_modules(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def cpu_seconds(*arguments: str, cwd: Path) -> float:
    """Least processor time of three runs: unlike the clock, it does not depend on what else the machine does."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = python(*arguments, cwd=cwd)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr[-2000:]
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize(
    ("script", "times"),
    [
        pytest.param("import poseshift", 10, id="import"),
        pytest.param("import sys; sys.argv[1:] = ['--help']; from poseshift.cli import main; main()", 25, id="help"),
    ],
)
def test_quick_to_start(script: str, times: float, tmp_path: Path) -> None:
    """0.2 s and 0.5 s where a bare interpreter starts in 0.02 s; the ratio, since machines and their load differ."""
    lines = [
        "import atexit, sys",
        "atexit.register(lambda: print('TORCH' if 'torch' in sys.modules else 'NO TORCH'))",
        script,
    ]
    done = python("-c", "\n".join(lines), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "NO TORCH"
    assert cpu_seconds("-c", script, cwd=tmp_path) < times * cpu_seconds("-c", "pass", cwd=tmp_path)


def committed_files() -> list[Path]:
    """What git tracks, and what it would take: everything that is not ignored."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


# Written so that this file does not match itself.
HOSTS = re.compile(rb"pyp[i]\.org|python[h]osted|registry\.np[m]js|deb\.deb[i]an")
MACHINE = re.compile(rb"(?<![\w.])/(?:wor[k]|roo[t]|far[m]|tm[p])/[\w.]|/op[t]/(?:wheel|pyp)")


@pytest.mark.parametrize(
    "pattern", [pytest.param(HOSTS, id="registry hosts"), pytest.param(MACHINE, id="machine paths")]
)
def test_no_host_and_no_path_of_a_machine(pattern: re.Pattern[bytes]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in committed_files()
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_committed_files_are_small() -> None:
    """Data, weights and runs stay out of git."""
    assert not [str(p.relative_to(ROOT)) for p in committed_files() if p.stat().st_size > 1024 * 1024]


def test_the_version_has_one_source() -> None:
    from importlib.metadata import PackageNotFoundError, version

    declared = re.findall(r'^__version__ = "(.+)"$', (PACKAGE / "version.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(declared) == 1
    assert f"\nversion: {declared[0]}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {declared[0]} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    others = [ROOT / "pyproject.toml", *(path for path in FILES if path != PACKAGE / "version.py")]
    assert not [path.name for path in others if f'"{declared[0]}"' in path.read_text(encoding="utf-8")]
    try:
        assert version("poseshift") == declared[0]
    except PackageNotFoundError:
        pytest.skip("poseshift is not installed here")


def test_torch_and_torchvision_come_from_one_build() -> None:
    """A torch of one build beside the torchvision of another dies at import."""
    pins = re.findall(
        r"^torch(?:vision)?==\S+", (ROOT / "requirements/pins.in").read_text(encoding="utf-8"), re.MULTILINE
    )
    lock = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    assert len(pins) == 2
    assert [pin for pin in pins if f"\n{pin} \\\n" not in lock] == []
