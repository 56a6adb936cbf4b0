from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from poseshift.engine import checkpoint, scoring, select
from poseshift.engine.run import Run

NUMBERS = st.integers(0, 4).map(float)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=7)
NAMES = ("agreement", "entropy", "information")


def scores_of(rows: list[tuple[float, ...]]) -> dict[int, dict[str, float]]:
    return {10 * number: dict(zip(NAMES, row, strict=True)) for number, row in enumerate(rows, 1)}


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_ranks_are_places_in_the_sorted_list(values: list[float]) -> None:
    places = [[place for place, other in enumerate(sorted(values), 1) if other == value] for value in values]
    assert select.ranks(values) == [sum(found) / len(found) for found in places]


@given(ROWS)
def test_mean_ranks_are_what_a_slow_count_says(rows: list[tuple[float, ...]]) -> None:
    """Of each candidate: those that it beats, and half of those that it equals, in each score on its own."""
    scores = scores_of(rows)
    for step, found in select.mean_ranks(scores, NAMES).items():
        expected = 0.0
        for name in NAMES:
            sign = -1 if name == "entropy" else 1
            mine = sign * scores[step][name]
            others = [sign * scores[other][name] for other in scores]
            expected += sum(other < mine for other in others) + (1 + sum(other == mine for other in others)) / 2
        assert found == pytest.approx(expected / 3)


@given(ROWS, st.sampled_from(NAMES))
def test_of_one_score_the_best_wins_and_of_equals_the_latest(rows: list[tuple[float, ...]], name: str) -> None:
    scores = scores_of(rows)
    sign = -1 if name == "entropy" else 1
    assert select.running(scores, [name]) == max(scores, key=lambda step: (sign * scores[step][name], step))


@given(ROWS)
def test_a_winner_is_known_without_those_that_lost_before(rows: list[tuple[float, ...]]) -> None:
    """So the weights of two are enough at any time: of the best so far and of the newcomer."""
    scores = scores_of(rows)
    steps = list(scores)
    winners = [select.running({step: scores[step] for step in steps[: n + 1]}, NAMES) for n in range(len(steps))]
    for number in range(1, len(steps)):
        assert winners[number] in (winners[number - 1], steps[number])


def test_a_score_that_not_all_have_does_not_count() -> None:
    scores = {1: {"agreement": 1.0, "validation": 99.0}, 2: {"agreement": 2.0}}
    assert select.mean_ranks(scores, ["agreement", "validation"]) == {1: 1.0, 2: 2.0}
    assert select.mean_ranks(scores, ["validation"]) == {1: 0.0, 2: 0.0}
    assert select.running(scores, ["validation"]) == 2


def test_what_is_less_may_be_better() -> None:
    rows = {1: {name: 1.0 for name in select.BETTER}, 2: {name: 2.0 for name in select.BETTER}}
    won = {name: select.running(rows, [name]) for name in select.BETTER}
    less = {"equivariance", "entropy", "plausibility", "coincidence"}
    assert {name for name, step in won.items() if step == 1} == less


def test_a_run_is_scored_and_the_best_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([30.0, 70.0, 50.0])
    monkeypatch.setattr(scoring.label_free, "label_free", lambda *args: tiny.scored(agreement=next(said)))
    run = tiny.run(tmp_path / "run", "multilevel", {"method": {"levels": []}})
    assert run.checkpoint("best").step == 4
    assert run.checkpoint("last").step == 6
    assert run.checkpoint("best").info["scores"] == {"agreement": 70}
    assert run.manifest["selection"].startswith("label-free: mean rank of agreement,")
    assert "negative_transfer" not in run.manifest


@pytest.mark.parametrize(
    ("scores", "selection", "expected"),
    [
        ({2: 10.0, 4: 80.0, 6: 20.0}, "label-free", 4),
        ({2: 80.0, 4: 80.0, 6: 20.0}, "label-free", 4),
        ({2: 90.0, 4: 80.0, 6: 20.0}, "last", 6),
        ({2: 90.0, 4: 80.0, 6: 20.0}, "agreement", 2),
        ({2: 90.0, 4: 80.0, 6: 20.0}, "coincidence", 6),
        ({2: None, 4: None, 6: None}, "label-free", 6),
        ({2: 70.0, 3: 95.0, 4: 80.0}, "label-free", 4),  # 3 was saved by a stop
        ({3: 95.0, 5: 80.0}, "label-free", 3),  # there is no other
    ],
)
def test_best_of_the_checkpoints_that_there_are(
    scores: dict[int, float | None], selection: str, expected: int, empty: Run
) -> None:
    for step, score in scores.items():
        info = {"scores": {} if score is None else {"agreement": score, "coincidence": score, "monitor": -step}}
        checkpoint.save(empty.checkpoints_path, step, tensors={}, state={}, info=info)
    change = {"selection": selection, "save_every": 2, "method": {"name": "source_only"}}
    assert select.best(empty, tiny.settings(change=change)).checkpoint.step == expected


@pytest.fixture
def empty(finished: Run, copy_of: Callable[[Run], Run]) -> Run:
    """A run without checkpoints and log."""
    run = copy_of(finished)
    for one in run.checkpoints():
        run.set_aside_beyond(one.step - 1)
    (run.path / "metrics.jsonl").unlink()
    return run
