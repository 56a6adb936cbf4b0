import re

import pytest

from poseshift.engine import progress
from poseshift.engine.progress import Progress


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_on_a_pipe_a_line_now_and_then_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = clock(monkeypatch)
    with Progress(100, label="adapt") as bar:
        for done in range(1, 41):
            now[0] += 3.0
            bar.advance(done, {"supervised": 0.0125})
    lines = capsys.readouterr().err.splitlines()
    # a line each 21 s of 3 s steps; 3 s a step: 93 steps left after the first line
    assert len(lines) == 5
    assert lines[0] == "adapt: 7/100, 4.7 min left  supervised 0.0125"
    assert [int(re.findall(r": (\d+)/", line)[0]) for line in lines] == [7, 14, 21, 28, 35]


def test_a_resumed_run_reckons_from_its_own_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = clock(monkeypatch)
    with Progress(100, label="run") as bar:
        for done in (91, 92):
            now[0] += 30.0
            bar.advance(done, {})
    assert "92/100, 4.0 min left" in capsys.readouterr().err


def test_the_last_step_is_always_said_and_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, label="run") as bar:
        bar.advance(1, {})
        bar.advance(2, {"a": 1.0})
    assert capsys.readouterr().err == "run: 2/2, 0.0 min left  a 1\n"
    with Progress(2, label="run", quiet=True) as bar:
        bar.advance(2, {})
    out = capsys.readouterr()
    assert (out.out, out.err) == ("", "")


def test_on_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(4, label="adapt") as bar:
        bar.advance(3, {"domain": 0.5})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "adapt" in shown
    assert "3/4" in shown
    assert "domain 0.5" in shown
