import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from poseshift.engine.signals import Signals, ignored, requeue


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted_and_the_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Signals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number
        with pytest.raises(SystemExit) as caught:
            os.kill(os.getpid(), number)
        assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_what_torchrun_passes_on_is_no_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    with Signals() as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        with pytest.raises(SystemExit) as caught:
            os.kill(os.getpid(), signal.SIGINT)
        assert caught.value.code == 130


def test_a_time_that_is_over_ends_what_was_asked_to_requeue() -> None:
    with Signals() as signals:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received == signal.SIGUSR1
        with pytest.raises(SystemExit) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.code == 143


def test_what_is_written_down_is_not_stopped() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ignored():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with Signals() as signals, ignored():
            seen.append((signals.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


@pytest.mark.parametrize(
    ("number", "job", "calls"),
    [
        (signal.SIGUSR1, "71", ["requeue 71"]),
        (signal.SIGUSR1, None, []),
        (signal.SIGTERM, "71", []),
    ],
)
def test_slurm_is_asked_to_requeue(
    number: int, job: str | None, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on SIGTERM: ``scancel`` sends it, too, and who cancels a job wants it to end."""
    scontrol(tmp_path, monkeypatch, "")
    if job is None:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    else:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    requeue(number)
    asked = tmp_path / "asked"
    assert (asked.read_text().splitlines() if asked.is_file() else []) == calls


@pytest.mark.parametrize("program", ["echo no such job >&2; exit 1", None])
def test_a_job_that_is_not_requeued_is_said(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    if program is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        scontrol(tmp_path, monkeypatch, program)
    with caplog.at_level(logging.WARNING):
        requeue(signal.SIGUSR1)
    assert "job 71 is not requeued" in caplog.text
    assert ("no such job" in caplog.text) == (program is not None)
    assert "submit it again" in caplog.text


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """A stand-in on the path that writes down what it is asked."""
    file = folder / "scontrol"
    file.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{program}\n', encoding="utf-8")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
