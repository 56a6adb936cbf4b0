from __future__ import annotations

from poseshift.apps.bench import timing


def test_jobs_are_called_in_both_orders_and_warm_up_first() -> None:
    calls: list[str] = []
    found = timing.medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert "".join(calls) == "abbaabba"
    assert set(found) == {"a", "b"}
    assert all(value >= 0 for value in found.values())


def test_the_middle_of_all_rounds_counts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    clock = iter([0, 9, 10, 11, 20, 25, 30, 32])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert timing.medians({"a": lambda: None}, repeats=3) == {"a": 2}
