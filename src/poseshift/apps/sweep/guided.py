"""A guided search over settings by Optuna; the only file that imports it.

What guides it is the score without labels of each run's selected checkpoint (``agreement``, as logged by the run), a
mean over seeds. No label is read here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseshift.apps.sweep.axes import Axis, mark
from poseshift.engine.run import Run
from poseshift.errors import UsageError

if TYPE_CHECKING:
    import optuna

GUIDE = "agreement"
"""The label-free score that also selects a run's checkpoint; higher is better."""
JOURNAL = "trials.journal"
PLACE = "place"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting that the search tried, here or elsewhere.

    Attributes:
        number: In the study.
        values: By key.
        score: Without labels; None for one that failed.
        state: ``complete``, ``fail`` or ``running``.
        here: Whether its runs lie in this folder.
    """

    number: int
    values: Mapping[str, Any]
    score: float | None
    state: str
    here: bool


def label_free(runs: Sequence[Run]) -> float | None:
    """Mean score of the runs' selected checkpoints; None where one has none."""
    found = [run.checkpoint("best").info["scores"].get(GUIDE) for run in runs]
    known = [float(score) for score in found if score is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def installed() -> Any:
    """Optuna. Raises :class:`UsageError` where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UsageError("--guided needs Optuna, which is not installed; pip install 'poseshift[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def search(
    axes: Sequence[Axis],
    out: Path,
    *,
    name: str,
    trials: int,
    batch: int,
    storage: str | None,
    train: Callable[[Sequence[Mapping[str, Any]]], Sequence[float | None]],
) -> list[Trial]:
    """Asks Optuna for settings and tells it their scores until the study has so many trials, those of others included.

    Args:
        axes: Values, or a range, of each key.
        out: The folder in which ``train`` works.
        name: Of the study; processes that share a storage and a name share the study.
        trials: How many the study is to have.
        batch: How many are asked for before their scores are told.
        storage: Optuna's storage URL, or the path of a journal file; None keeps a journal in ``out``.
        train: Trains settings and returns their scores without labels; None for one that failed.

    Raises:
        UsageError: Optuna is missing, or the storage cannot be opened.
    """
    optuna = installed()
    place = f"{platform.node()}:{out.resolve()}"
    study = _study(out, storage, name)
    states = optuna.trial.TrialState
    # Of a call that was stopped: their runs go on.
    asked = [
        (one.number, _values(axes, one.params))
        for one in study.get_trials(deepcopy=False, states=(states.RUNNING,))
        if one.user_attrs.get(PLACE) == place and {axis.key for axis in axes} <= set(one.params)
    ]
    while True:
        taken = len(study.get_trials(deepcopy=False, states=(states.COMPLETE, states.FAIL, states.RUNNING)))
        while len(asked) < batch and taken < trials:
            trial = study.ask()
            trial.set_user_attr(PLACE, place)
            asked.append((trial.number, _suggested(trial, axes)))
            taken += 1
        if not asked:
            return [_told(one, axes, place) for one in study.get_trials(deepcopy=False)]
        for (number, _), score in zip(asked, train([values for _, values in asked]), strict=True):
            study.tell(number, score, state=None if score is not None else states.FAIL)
        asked = []


def _study(out: Path, storage: str | None, name: str) -> optuna.Study:
    import optuna
    from optuna.storages import journal

    text = str(out / JOURNAL) if storage is None else storage
    try:
        opened = journal.JournalStorage(journal.JournalFileBackend(text)) if "://" not in text else text
        # Processes that share a storage must not draw the same settings; one alone repeats itself.
        sampler = optuna.samplers.TPESampler(seed=0 if storage is None else None)
        found = optuna.create_study(
            storage=opened, study_name=name, direction="maximize", load_if_exists=True, sampler=sampler
        )
    except Exception as error:  # whatever a data base's driver raises
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--storage {text}: cannot be opened ({reason}); give Optuna's storage URL, such as sqlite:///trials.db, "
            "or the path of a journal file"
        ) from error
    return found


def _suggested(trial: optuna.Trial, axes: Sequence[Axis]) -> dict[str, Any]:
    for axis in axes:
        if axis.span is None:
            trial.suggest_categorical(axis.key, [mark(value) for value in axis.values])
        else:
            trial.suggest_float(axis.key, axis.span.low, axis.span.high, log=axis.span.logarithmic)
    return _values(axes, trial.params)


def _values(axes: Sequence[Axis], params: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial's parameters mean; numbers of a range to six digits, as folders and tables show them."""
    found = {}
    for axis in axes:
        value = params.get(axis.key)
        if axis.span is None:
            found[axis.key] = next((own for own in axis.values if mark(own) == value), None)
        else:
            found[axis.key] = None if value is None else float(f"{value:.6g}")
    return found


def _told(one: optuna.trial.FrozenTrial, axes: Sequence[Axis], place: str) -> Trial:
    return Trial(
        number=one.number,
        values=_values(axes, one.params),
        score=one.value,
        state=one.state.name.lower(),
        here=one.user_attrs.get(PLACE) == place,
    )
