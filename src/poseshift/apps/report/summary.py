"""The report in words: one sentence, the numbers of the head, the facts, and what each run was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from poseshift.apps.report.comparison import Comparison
from poseshift.apps.report.entries import MONITORS, USES_LABELS, Entry, base
from poseshift.apps.report.tables import Row, Table, sentence
from poseshift.config import DataConfig
from poseshift.engine import quarantine
from poseshift.errors import CheckpointError

BOXES = {
    "auto": "the annotated boxes where all have one (made square, times {padding:g}), else the whole image",
    "given": "the annotated boxes, made square, times {padding:g}",
    "from_keypoints": "boxes around the labelled keypoints, made square, times {padding:g}",
    "whole": "the whole image, padded to a square",
}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number of the head with its 95 % interval, in words that need no context."""

    value: str
    interval: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The head of the report."""

    sentence: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True, kw_only=True)
class About:
    """What the report says about one run beside its numbers.

    Attributes:
        entry: The run.
        facts: Name to text.
        selection: The rule, and where the pointers stand.
        worse: What says that adaptation made the model worse, so that its start was kept; empty where nothing does.
        data: Role to what is known about it.
        matching: How the source's keypoints became the run's: rows of target, source and how; empty where they are the
            same.
        matched: The same in a few words.
        unused: Keypoints of the source that are not used.
        quarantine: Lines ``key<TAB>reason<TAB>stream``.
        command: Repeats the run.
        configuration: ``run.yaml``.
    """

    entry: Entry
    facts: Mapping[str, str]
    selection: str
    worse: str
    pointers: Mapping[str, str]
    data: Mapping[str, str]
    matching: tuple[tuple[str, str, str], ...]
    matched: str
    unused: str
    quarantine: tuple[str, ...]
    command: str
    configuration: str


def summary(subject: Entry, compared: Comparison | None, tables: Sequence[Table]) -> Summary:
    """What was run and what came out; says so where nothing was measured."""
    found = [(table, row) for table in tables for row in table.parts[0].rows if row.entry is subject]
    measured = [(table, row) for table, row in found if row.visible.mean is not None]
    kept = "; by its scores without labels adaptation made it worse, so the model that it started from is kept"
    what = f"{_name(subject)} {_did(subject)}{kept if _worse(subject) else ''}"
    if not measured:
        return Summary(sentence=f"{what}. {_unmeasured(subject)}", numbers=())
    table, row = measured[0]
    value, span = _mean(row)
    text = (
        f"{what}. On {short(table.data)} ({table.split} split, {table.instances:,} instances) it places {value} of "
        f"the visible keypoints within 5 % of the crop's side of their true place (95 % interval {span})"
    )
    numbers = [Number(value=value, interval=span, caption=f"{subject.label}, PCK@0.05 on {short(table.data)}")]
    gain = (
        compared.gain
        if compared is not None and (compared.data, compared.split or "all") == (table.data, table.split)
        else None
    )
    if compared is None or compared.before is None or gain is None:
        return Summary(sentence=f"{text}.", numbers=tuple(numbers))
    before = compared.before.label
    points, low, high = (f"{100 * part:+.1f}".replace("-", "−") for part in (gain.value, gain.low, gain.high))
    numbers.append(
        Number(value=f"{points} points", interval=f"{low} to {high}", caption=f"compared with {before}, paired")
    )
    moved = f"{abs(100 * gain.value):.1f} points {'more' if gain.value >= 0 else 'fewer'} than {before}"
    clear = "" if gain.low > 0 or gain.high < 0 else ", a difference that chance alone could make"
    return Summary(sentence=f"{text}; {moved} (paired interval {low} to {high}){clear}.", numbers=tuple(numbers))


def title(subject: Entry) -> str:
    """The heading: source and target by their short names."""
    config = subject.run.config
    names = [short(data.data) for data in (config.source, config.target) if data is not None]
    return " → ".join(names) or subject.label


def short(data: str) -> str:
    """``FORMAT:PATH`` for a sentence: the last part of the path without options."""
    name, _, path = base(data).partition(":")
    last = path.rpartition("/")[2]
    return name if last == name else f"{name}:{last}"


def _mean(row: Row) -> tuple[str, str]:
    score = row.visible
    span = f"{score.low:.1f} to {score.high:.1f} %" if score.low is not None and score.high is not None else "unknown"
    return f"{score.mean:.1f} %", span


def _name(entry: Entry) -> str:
    return entry.label if entry.label == entry.method else f"{entry.label} ({entry.method})"


def _did(entry: Entry) -> str:
    config = entry.run.config
    source = short(config.source.data) if config.source else None
    target = short(config.target.data) if config.target and "target" in config.method.needs else None
    labels = {USES_LABELS: ", with target labels", MONITORS: ", target labels used for monitoring only"}.get(entry.mark)
    if source and target:
        return f"was adapted from labelled {source} to {target}{labels or ', which it saw without labels'}"
    return f"was trained on {f'labelled {source}' if source else target or 'no data'}{labels or ''}"


def _worse(entry: Entry) -> str:
    said = str(entry.run.manifest.get("negative_transfer", "no"))
    return "" if said == "no" else said


def _unmeasured(entry: Entry) -> str:
    if not entry.predicts:
        return "It makes no pose net, so there is nothing to evaluate."
    command = f"poseshift evaluate {entry.run.path} --data FORMAT:PATH"
    return f"It has not been evaluated yet: run `{command}`, then the report again."


def facts(subject: Entry) -> dict[str, str]:
    """The facts in the head of the report."""
    manifest, config = subject.run.manifest, subject.run.config
    found = {"Target": _named(config.target), "Source": _named(config.source)}
    commit = manifest.get("commit")
    found["poseshift"] = f"{manifest.get('version', 'unknown')}{f', commit {commit[:10]}' if commit else ''}"
    found["Device"] = f"{manifest.get('device', config.device)}, torch {manifest.get('torch', 'unknown')}"
    found["Trained"] = _dates(manifest.get("start"), manifest.get("end"))
    found["Outcome"] = f"{manifest.get('outcome', 'unknown')}, {config.steps:,} steps of {config.batch_size}"
    if skipped := manifest.get("skipped_steps"):
        found["Left out"] = f"{skipped} steps whose loss or gradient was not finite"
    return found


def _named(data: DataConfig | None) -> str:
    if data is None:
        return "none"
    limit = f", first {data.limit}" if data.limit else ""
    return f"{data.data}{f', split {data.split}' if data.split else ''}{limit}"


def _dates(start: str | None, end: str | None) -> str:
    if start is None:
        return "unknown"
    began = datetime.fromisoformat(start)
    day = f"{began.day} {began:%B %Y, %H:%M} UTC"
    if end is None:
        return day
    minutes = (datetime.fromisoformat(end) - began).total_seconds() / 60
    took = f"{minutes:.0f} min" if minutes >= 1 else f"{60 * minutes:.0f} s"
    return f"{day}, {took}"


def about(entry: Entry) -> About:
    """Everything about one run that is not a number."""
    run, manifest = entry.run, entry.run.manifest
    matching = manifest.get("matching") or {}
    rows = tuple((str(target), str(source), str(how)) for target, source, how in matching.get("rows", ()))
    return About(
        entry=entry,
        facts=facts(entry),
        selection=str(manifest.get("selection", "unknown")),
        worse=_worse(entry),
        pointers={name: _pointer(entry, name) for name in ("best", "last")},
        data=_data(entry),
        matching=rows,
        matched=", ".join(f"{number} {how}" for how, number in Counter(how for _, _, how in rows).most_common()),
        unused=", ".join(matching.get("unused", ())),
        quarantine=tuple(quarantine.lines(run.path)),
        command=manifest.get("command") or f"poseshift train {run.path / 'run.yaml'} --out NEW_FOLDER",
        configuration=(run.path / "run.yaml").read_text(encoding="utf-8"),
    )


def _pointer(entry: Entry, name: str) -> str:
    """Where ``best`` or ``last`` points, with the scores of that checkpoint."""
    file = entry.run.checkpoints_path / name
    if not file.is_file():
        return "no checkpoint yet"
    folder = file.read_text(encoding="utf-8").strip()
    text = f"step {folder.removeprefix('step-')}"
    for one in entry.run.checkpoints():
        if one.path.name == folder:
            try:
                scores = one.info.get("scores", {})
            except CheckpointError as error:
                return f"{text}, which cannot be read: {error}"
            return ", ".join([text, *(f"{key} {value:.1f} %" for key, value in scores.items())])
    return f"{text}, which is gone"


def _data(entry: Entry) -> dict[str, str]:
    notes = entry.run.manifest.get("notes", {})
    found = {}
    for role in ("source", "target", "validation", "monitor"):
        data: DataConfig | None = getattr(entry.run.config, role)
        if data is not None:
            crops = BOXES[data.boxes].format(padding=data.padding)
            note = f" {sentence(notes[role])}" if notes.get(role) else ""
            found[role] = f"{_named(data)}. Crops: {crops}.{note}"
    return found
