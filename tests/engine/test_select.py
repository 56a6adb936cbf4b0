import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests import tiny

from poseshift.engine import checkpoint, scoring, select
from poseshift.engine.label_free import LabelFree
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
    rows = {1: dict.fromkeys(select.BETTER, 1.0), 2: dict.fromkeys(select.BETTER, 2.0)}
    won = {name: select.running(rows, [name]) for name in select.BETTER}
    less = {"equivariance", "entropy", "plausibility", "coincidence"}
    assert {name for name, step in won.items() if step == 1} == less


START = {"agreement": 50.0, "entropy": 70.0, "information": 12.0, "plausibility": 30.0, "validation": 80.0}
BETTER = {"agreement": 80.0, "entropy": 50.0, "information": 20.0, "plausibility": 25.0, "validation": 79.0}
CONSTANT = {"agreement": 100.0, "entropy": 5.0, "information": 0.0, "plausibility": 22.0, "validation": 5.0}
ONE_SPOT = {"agreement": 95.0, "entropy": 5.0, "information": 60.0, "plausibility": 60.0, "validation": 75.0}
FORGETFUL = {"agreement": 95.0, "entropy": 30.0, "information": 30.0, "plausibility": 29.0, "validation": 38.0}
BROKEN = {"agreement": 3.0, "entropy": 99.0, "information": 0.5, "plausibility": 90.0, "validation": 2.0}


@pytest.mark.parametrize(
    ("adapted", "expected"),
    [
        (START, ""),
        (BETTER, ""),
        (CONSTANT, "validation 80.0 to 5.0, information 12.0 to 0.0"),
        (ONE_SPOT, "plausibility 30.0 to 60.0"),
        (FORGETFUL, "validation 80.0 to 38.0"),
        (START | {"agreement": 37.0}, "agreement 50.0 to 37.0"),
        (BROKEN, "plausibility 30.0 to 90.0, validation 80.0 to 2.0, information 12.0 to 0.5, agreement 50.0 to 3.0"),
    ],
)
def test_what_is_sharp_and_agrees_with_itself_may_be_worse(adapted: dict[str, float], expected: str) -> None:
    assert select.worse(START, adapted) == expected
    assert select.choose({0: START, 5: adapted}) == (0 if expected else 5, expected)


def test_a_constant_answer_is_seen_without_source_and_poses() -> None:
    """A source-free run has no validation, and no poses where its parent has none."""
    names = ("agreement", "entropy", "information")
    start, found = ({name: row[name] for name in names} for row in (START, CONSTANT))
    assert select.worse(start, found) == "information 12.0 to 0.0"


@pytest.mark.parametrize("name", select.LIMITS)
def test_a_limit_is_a_share_of_the_start(name: str) -> None:
    limit = -select.BETTER[name] * select.LIMITS[name]
    start = {name: 20.0}
    assert not select.worse(start, {name: 20 * (1 + 0.99 * limit)})
    assert select.worse(start, {name: 20 * (1 + 1.01 * limit)}) == f"{name} 20.0 to {20 * (1 + 1.01 * limit):.1f}"


@pytest.mark.parametrize(
    ("together", "far", "expected"),
    [
        (59.0, 30.0, ""),
        (61.0, 30.0, "coincidence 20.0 to 61.0"),  # of the 80 % that were apart, more than a half
        (61.0, 26.0, ""),  # with poses that are more plausible
        (61.0, 28.0, "coincidence 20.0 to 61.0"),
        (61.0, None, ""),
    ],
)
def test_left_and_right_that_fall_together_count_where_poses_got_no_better(
    together: float, far: float | None, expected: str
) -> None:
    start, found = {"coincidence": 20.0, "plausibility": 30.0}, {"coincidence": together}
    assert select.worse(start, found if far is None else found | {"plausibility": far}) == expected


def test_a_net_that_knew_nothing_has_nothing_to_lose() -> None:
    start = {"plausibility": 3.0, "coincidence": 99.9, "validation": 0.5, "information": 0.01}
    assert not select.worse(start, {"plausibility": 3.9, "coincidence": 100.0, "validation": 0.0, "information": 0.0})


def test_without_witnesses_nothing_is_worse() -> None:
    assert select.worse({"entropy": 10.0, "equivariance": 2.0}, {"entropy": 90.0, "equivariance": 40.0}) == ""


def test_the_start_is_no_candidate_beside_the_others() -> None:
    """Adaptation must only not be worse than it; in a mean of ranks it would stand among what it is compared with."""
    assert select.choose({0: START, 5: START | {"agreement": 49.0}, 9: START | {"agreement": 40.0}})[0] == 5
    assert select.choose({0: START}) == (0, "")


def test_a_run_that_sees_no_target_has_its_last(empty: Run) -> None:
    for step, value in ((2, 80.0), (4, 70.0)):
        checkpoint.save(empty.checkpoints_path, step, tensors={}, state={}, info={"scores": {"validation": value}})
    assert select.best(empty, tiny.settings(change={"save_every": 2})).checkpoint.step == 4
    assert select.rule(tiny.settings(), targets=False) == "last checkpoint"
    by_source = tiny.settings(change={"save_every": 2, "selection": "validation"})
    assert select.best(empty, by_source).checkpoint.step == 2
    assert select.rule(by_source, targets=False) == "label-free: highest validation"


def test_what_was_removed_has_its_say_from_the_log(empty: Run) -> None:
    """Step 2 lost to 4 and was removed; ranks are still among all three, whatever is on the disk."""
    rows = {2: (1.0, 9.0, 5.0), 4: (2.0, 8.0, 6.0), 6: (3.0, 9.5, 4.0)}
    named = {step: dict(zip(("agreement", "entropy", "information"), row, strict=True)) for step, row in rows.items()}
    expected = select.choose(named)[0]
    with (empty.path / "metrics.jsonl").open("w") as log:
        for step, scores in named.items():
            log.write(json.dumps({"step": step, "scores": scores}) + "\n")
    for step in (4, 6):
        checkpoint.save(empty.checkpoints_path, step, tensors={}, state={}, info={"scores": named[step]})
    config = tiny.settings(change={"save_every": 2})
    assert list(select.history(empty, empty.checkpoints())) == [2, 4, 6]
    assert select.best(empty, config).checkpoint.step == expected == 4


def test_where_the_chosen_one_is_gone_another_is(empty: Run) -> None:
    lines = [{"step": 2, "scores": {"agreement": 9.0}}, {"step": 4, "scores": {"agreement": 1.0}}]
    (empty.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    checkpoint.save(empty.checkpoints_path, 4, tensors={}, state={}, info={"scores": {"agreement": 1.0}})
    assert select.best(empty, tiny.settings(change={"save_every": 2})).checkpoint.step == 4


def test_what_is_worse_than_the_start_is_no_candidate() -> None:
    """By agreement and entropy a constant answer would win."""
    assert select.choose({0: START, 2: BETTER, 4: CONSTANT, 6: CONSTANT}) == (2, "")
    assert select.choose({0: START, 2: BROKEN, 4: BETTER, 6: CONSTANT}) == (4, "")
    step, why = select.choose({0: START, 2: BROKEN, 4: CONSTANT})
    assert step == 0
    assert why == "validation 80.0 to 5.0, information 12.0 to 0.0"


@pytest.fixture
def collapse() -> list[LabelFree]:
    """What a start and three checkpoints of a net that falls to one answer would score."""
    rows = [{name: value for name, value in row.items() if name != "validation"} for row in (START, CONSTANT)]
    return [tiny.scored(**row) for row in (rows[0], *[rows[1]] * 3)]


def test_an_adaptation_that_made_things_worse_ends_with_its_start(
    collapse: list[LabelFree], change: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    said = iter(collapse)
    monkeypatch.setattr(scoring.label_free, "label_free", lambda *args: next(said))
    run = tiny.run(tmp_path / "run", "multilevel", {**change, "method": {"levels": []}})
    assert run.finished
    assert [one.step for one in run.checkpoints()] == [0, 4, 6]
    assert run.checkpoint("best").step == 0
    init = load_file(run.path / "parents/init/predictor.safetensors")
    assert tiny.same_tensors(run.checkpoint("best").tensors("predictor"), init)
    assert run.manifest["negative_transfer"] == "information 12.0 to 0.0"
    assert "negative transfer: information 12.0 to 0.0" in caplog.text
    assert "negative transfer" in (run.path / "log.txt").read_text()


def test_who_asks_for_one_score_gets_no_guard(
    collapse: list[LabelFree], change: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(collapse)
    monkeypatch.setattr(scoring.label_free, "label_free", lambda *args: next(said))
    run = tiny.run(tmp_path / "run", "multilevel", {**change, "method": {"levels": []}, "selection": "entropy"})
    assert run.checkpoint("best").step == 6
    assert run.manifest["selection"] == "label-free: lowest entropy"
    assert "negative_transfer" not in run.manifest


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
