import copy
import signal
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from poseshift.apps.compare import tasks
from poseshift.apps.compare.tasks import Done, Task
from poseshift.apps.recipes import Recipe
from poseshift.errors import DataError, Interrupted

STAGES: dict[str, dict[str, Any]] = {
    "style": {},
    "source": {},
    "other": {"init": "a/path"},
    "middle": {"init": "source"},
    "last": {"init": "middle", "style": "style"},
}
RECIPE = Recipe(common={}, stages=STAGES)


def task(stage: str, seed: int = 0) -> Task:
    return Task(recipe=RECIPE, seed=seed, stage=stage, folder=Path("nowhere"), test=None)


def at_once(did: list[tuple[str, int]], **wrong: Exception) -> Any:
    def submit(one: Task) -> Future[Done]:
        did.append(one.key)
        future: Future[Done] = Future()
        if one.stage in wrong:
            future.set_exception(wrong[one.stage])
        else:
            future.set_result(Done(task=one))
        return future

    return submit


@pytest.mark.timeout(30)
@pytest.mark.parametrize("jobs", [2, 4])
@pytest.mark.parametrize("stages", [["source", "middle", "style", "last"], ["middle", "last"], ["last"]])
def test_a_stage_waits_for_its_starts_among_the_tasks(stages: list[str], jobs: int) -> None:
    began: list[tuple[str, int]] = []

    def perform(one: Task) -> Done:
        began.append(one.key)
        return Done(task=one)

    todo = [task(stage, seed) for stage in stages for seed in (0, 1)]
    with ThreadPoolExecutor(jobs) as pool:
        found = list(tasks.in_order(lambda one: pool.submit(perform, one), todo, jobs=jobs))
    assert {done.task.key for done in found} == {one.key for one in todo}
    for seed in (0, 1):
        order = [stage for stage, own in began if own == seed]
        assert order.index("last") == len(stages) - 1
        if "source" in stages:
            assert order.index("source") < order.index("middle")


def test_one_job_goes_in_order_and_never_ahead() -> None:
    """One at a time, so that a stop ends the work at once."""
    did: list[tuple[str, int]] = []
    todo = [task(stage) for stage in ("source", "style", "middle", "last")]
    with pytest.raises(Interrupted):
        list(tasks.in_order(at_once(did, style=Interrupted(2, "stopped")), todo, jobs=1))
    assert did == [("source", 0), ("style", 0)]


def test_never_more_than_jobs_at_a_time() -> None:
    waiting: list[tuple[Task, Future[Done]]] = []

    def submit(one: Task) -> Future[Done]:
        future: Future[Done] = Future()
        waiting.append((one, future))
        assert len(waiting) <= 2
        if len(waiting) == 2:
            first, ready = waiting.pop(0)
            ready.set_result(Done(task=first))
        return future

    todo = [task("source", seed) for seed in range(3)]
    steps = tasks.in_order(submit, todo, jobs=2)
    assert next(steps).task.seed == 2, "with several at a time the last ones come first"


def test_a_failure_takes_down_what_starts_from_it_and_nothing_else() -> None:
    did: list[tuple[str, int]] = []
    todo = [task(stage) for stage in STAGES]
    found = {
        done.task.stage: done for done in tasks.in_order(at_once(did, source=DataError("no images")), todo, jobs=1)
    }
    assert [stage for stage, _ in did] == ["style", "source", "other"]
    assert str(found["source"].failure) == "no images"
    assert str(found["middle"].failure) == "it starts from 'source', which failed: no images"
    assert "it starts from 'middle', which failed: it starts from 'source'" in str(found["last"].failure)
    assert found["other"].failure is found["style"].failure is None


def test_nothing_to_do() -> None:
    assert list(tasks.perform_all([], jobs=3)) == []


def test_a_stop_passes_from_process_to_process() -> None:
    """As pickle and copy take it apart and put it together."""
    found = copy.copy(Interrupted(15, "saved at step 3"))
    assert (type(found), found.exit_code, str(found)) == (Interrupted, 143, "saved at step 3")


def test_a_failure_holds_nothing_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the memory of a run that ran out of it would never be free again."""
    alive: list[weakref.ref[Any]] = []

    class Large:
        pass

    def train(*arguments: Any, **options: Any) -> Any:
        large = Large()
        alive.append(weakref.ref(large))
        raise DataError(f"out of memory with {type(large).__name__}")

    monkeypatch.setattr(tasks, "train", train)
    recipe = Recipe(common={}, stages={"one": {"method": {"name": "source_only"}}})
    (done,) = tasks.perform_all([Task(recipe=recipe, seed=0, stage="one", folder=Path("nowhere"), test=None)], jobs=1)
    assert str(done.failure) == "out of memory with Large"
    assert alive[0]() is None


def test_a_stop_reaches_the_processes_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """They get the signal that they save at; this process then ends as one that was stopped."""
    before, ended = signal.getsignal(signal.SIGTERM), list[str]()

    class Child:
        def terminate(self) -> None:
            ended.append("terminated")

    monkeypatch.setattr(tasks.multiprocessing, "active_children", lambda: [Child(), Child()])
    with pytest.raises(Interrupted, match="runs were saved at their last step") as caught, tasks._stopped_together():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert ended == ["terminated", "terminated"]
    assert signal.getsignal(signal.SIGTERM) is before
