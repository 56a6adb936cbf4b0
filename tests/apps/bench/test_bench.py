"""That the benchmark measures what it says; never how long anything takes."""

from __future__ import annotations

import json

import pytest
import torch
from tests import tiny

from poseshift.apps import bench
from poseshift.apps.bench import rows
from poseshift.apps.bench.rows import ROWS, Row
from poseshift.apps.bench.timing import Measured
from poseshift.errors import UsageError


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Rows ``a`` and ``b`` of one measurement, and the calls of it."""
    calls: list[bool] = []

    def measure(quick: bool) -> dict[str, Measured]:
        calls.append(quick)
        return {"a": Measured(value=0.123456, detail={"samples": 3}), "b": Measured(value=4.0)}

    for name in list(ROWS):
        monkeypatch.delitem(rows.ROWS, name)
    monkeypatch.setitem(rows.ROWS, "a", Row(what="first", measure=measure, goal="<=0.2"))
    monkeypatch.setitem(rows.ROWS, "b", Row(what="second", measure=measure, goal=">=5", unit="MiB"))
    return calls


def test_rows_of_one_measurement_are_measured_once(two: list[bool]) -> None:
    said: list[str] = []
    found = bench.bench(quick=True, say=said.append)
    assert two == [True]
    assert said == ["measuring a, b"]
    assert list(found) == ["a", "b"]
    assert (found["a"]["value"], found["a"]["goal"], found["a"]["met"]) == (0.1235, "<=0.2", True)
    assert (found["b"]["met"], found["b"]["unit"]) == (False, "MiB")
    assert found["a"]["detail"]["samples"] == 3
    assert found["a"]["detail"]["threads"] == torch.get_num_threads()


def test_some_rows_in_the_order_that_was_asked_for(two: list[bool]) -> None:
    assert list(bench.bench(["b", "a"])) == ["b", "a"]
    assert list(bench.bench(["b"])) == ["b"]
    with pytest.raises(UsageError, match=r"--rows: unknown row 'c'; known: a, b"):
        bench.bench(["a", "c"])
    assert two == [False, False]


def test_a_row_without_what_it_needs_is_left_out_unless_it_is_named(
    two: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(quick: bool) -> dict[str, Measured]:
        raise UsageError("c needs what is not installed")

    monkeypatch.setitem(rows.ROWS, "c", Row(what="third", measure=measure, goal=">=1"))
    said: list[str] = []
    assert list(bench.bench(say=said.append)) == ["a", "b"]
    assert said == ["measuring a, b", "measuring c", "left out: c needs what is not installed"]
    with pytest.raises(UsageError, match="c needs"):
        bench.bench(["c"])


def test_the_table_says_what_was_missed(two: list[bool]) -> None:
    lines = bench.text(bench.bench()).splitlines()
    assert lines[2] == "| a | first | 0.123 | <=0.2 | met |"
    assert lines[3] == "| b | second | 4 MiB | >=5 MiB | MISSED |"


@pytest.mark.parametrize(("goal", "value", "met"), [("<=1.15", 1.15, True), ("<=1.15", 1.16, False),
                                                    (">=5", 5.0, True), (">=5", 4.9, False)])  # fmt: skip
def test_goals(goal: str, value: float, met: bool) -> None:
    assert Row(what="", measure=lambda quick: {}, goal=goal).met(value) == met


def test_the_command(two: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.call(monkeypatch, "bench", "--rows", "a", "--json", "--quick") == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["a"]["goal"] == "<=0.2"
    assert out.err == "measuring a\n"
    assert tiny.call(monkeypatch, "bench") == 0
    assert "MISSED" in capsys.readouterr().out
    assert tiny.call(monkeypatch, "bench", "--rows", "none") == 2
    assert two == [True, False]
