"""Every command shown in README, docs and recipes is executed.

Each documented command stands in ``EXECUTED`` with how it is run in miniature, or in ``ELSEWHERE`` with what runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)```(?:bash|console|sh)[ \t]*\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command line, continuation lines joined, prompt and comment removed."""

    text: str
    place: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """How a documented command is run small.

    Attributes:
        replace: Words of the command to what stands in their place; ``{work}`` is a folder that all commands share.
        add: Words that are added at the end.
        creates: Files, below ``{work}``, that must be there afterwards.
    """

    replace: Mapping[str, str] = field(default_factory=dict)
    add: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()


# A command as it is shown, spaces normalised -> its miniature, in the order in which they must run.
EXECUTED: dict[str, Miniature] = {}

# Commands that no test here can run -> the file that runs them, and the text in it that shows it.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "make env": (".ci/run", "make env"),
    "make test": (".ci/run", "make test"),
    "make check": (".ci/run", "make check"),
    "make demo": (".ci/run", "make demo"),
    "make format": ("Makefile", "format: $(STAMP)"),
}

# How a user gets the code: needs a network or a repository, and starts no code of ours.
NO_CODE_OF_OURS = re.compile(r"^(git clone|cd) \S+$")


def fenced_commands(text: str, place: str) -> list[Command]:
    """Commands of all ``bash``, ``console`` and ``sh`` blocks; where lines start with ``$``, those alone."""
    commands = []
    for block in FENCE.finditer(text):
        body = block["body"].replace("\\\n", " ")
        lines = [line.strip() for line in body.splitlines()]
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        commands += [part.strip() for line in prompted or lines for part in re.split(r"\s&&\s|;\s", line)]
    commands = [" ".join(re.sub(r"(?<=\s)#.*$", "", c).split()) for c in commands if c and not c.startswith("#")]
    return [Command(text=text, place=place) for text in commands if text]


def header_commands(text: str, place: str) -> list[Command]:
    """Commands in the comment at the head of a recipe."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    joined = "\n".join(lines).replace("\\\n", " ")
    found = re.findall(
        r"^(?:command:\s*)?(?:\$\s+)?((?:poseshift|python|make) .*)$", joined, re.MULTILINE | re.IGNORECASE
    )
    return [Command(text=" ".join(command.split()), place=place) for command in found]


@cache
def documented() -> tuple[Command, ...]:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [c for p in pages if p.exists() for c in fenced_commands(p.read_text(encoding="utf-8"), p.name)]
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        found += header_commands(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    return tuple(found)


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``poseshift WORDS`` with this interpreter, with wide and plain output."""
    plain = {"COLUMNS": "400", "TERM": "dumb", "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", "from poseshift.cli import main; main()", *words]
    environment = os.environ | plain
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=280)


@cache
def options_of(command: str) -> frozenset[str]:
    """The options that ``poseshift COMMAND --help`` lists; empty where there is no such command."""
    done = run(command, "--help", cwd=ROOT)
    return frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", done.stdout)) if done.returncode == 0 else frozenset()


def test_the_collector_reads_blocks_prompts_and_continuations() -> None:
    text = (
        "a\n```bash\nposeshift train x.yaml \\\n  --out runs/x  # why\n# only a comment\nmake demo && make test\n```\n"
    )
    text += "```console\n$ poseshift info\nposeshift 0.1.0\n```\n```python\nposeshift.train()\n```\n"
    texts = [command.text for command in fenced_commands(text, "page")]
    assert texts == ["poseshift train x.yaml --out runs/x", "make demo", "make test", "poseshift info"]


def test_the_collector_reads_headers_of_recipes() -> None:
    head = ["# Some paper, table 2", "# command: poseshift train recipes/a.yaml \\", "#   --out runs/a", "# hours: 2"]
    text = "\n".join([*head, "seed: 0", "# poseshift info"])
    found = [command.text for command in header_commands(text, "recipe")]
    assert found == ["poseshift train recipes/a.yaml --out runs/a"]


def test_each_documented_option_exists() -> None:
    """The sub-command's ``--help`` lists each option that is used."""
    wrong = []
    for command in documented():
        if command.words[0] != "poseshift" or len(command.words) < 2 or command.words[1].startswith("-"):
            continue
        used = {word.partition("=")[0] for word in command.words[2:] if re.match(r"--?[a-zA-Z]", word)}
        missing = used - options_of(command.words[1]) - {"--help"}
        if missing or not options_of(command.words[1]):
            wrong.append(f"{command.place}: {command.text}: unknown {sorted(missing) or command.words[1]}")
    assert not wrong


def test_each_documented_command_is_executed() -> None:
    unknown = [
        f"{command.place}: {command.text}"
        for command in documented()
        if command.text not in EXECUTED and command.text not in ELSEWHERE and not NO_CODE_OF_OURS.match(command.text)
    ]
    assert not unknown, "give each a miniature in EXECUTED, or what runs it in ELSEWHERE"


def test_the_tables_hold_nothing_that_is_not_documented() -> None:
    shown = {command.text for command in documented()}
    assert not set(EXECUTED) - shown


@pytest.mark.parametrize("command", sorted(ELSEWHERE))
def test_what_runs_elsewhere_does(command: str) -> None:
    file, text = ELSEWHERE[command]
    assert text in (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_documented_commands_run_in_miniature(tmp_path: Path) -> None:
    """All in one folder and in order, since one command uses what another made."""
    if not EXECUTED:
        pytest.skip("no command is documented yet")
    for text, small in EXECUTED.items():
        words = [small.replace.get(word, word) for word in shlex.split(text)[1:]] + list(small.add)
        done = run(*[word.replace("{work}", str(tmp_path)) for word in words], cwd=tmp_path)
        assert done.returncode == 0, f"{text}: exit code {done.returncode}: {done.stderr[-2000:]}"
        assert not [name for name in small.creates if not (tmp_path / name).exists()], text
