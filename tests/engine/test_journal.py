import json
import logging
from pathlib import Path

import pytest
import torch

from poseshift.engine.journal import Journal, logged_to
from poseshift.errors import CheckpointError
from poseshift.methods.base import Term, Update


def update(value: float, weight: float = 0.5) -> Update:
    term = Term(torch.tensor(value), weight)
    return Update(terms={"supervised": term}, on=("net",), monitors={"peak": torch.tensor(value / 10)})


def record(journal: Journal, value: float, *, norms: dict[str, float] | None = None) -> None:
    tensors = {name: torch.tensor(norm) for name, norm in (norms or {}).items()}
    journal.record(update(value), number=0, norm=torch.tensor(2 * value), norms=tensors)
    journal.record(update(value), number=1, norm=torch.tensor(3 * value), norms={})
    journal.end_step({"net": 0.25}, seconds=0.5)


def read(journal: Journal) -> list[dict[str, object]]:
    return [json.loads(line) for line in journal.file.read_text().splitlines()]


def test_a_line_holds_means_since_the_line_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path, every=2)
    for step, value in enumerate([1.0, 3.0, 8.0], 1):
        record(journal, value, norms={"supervised": value} if step == 1 else None)
        journal.flush_if_due(step)
    (line,) = read(journal)
    # two updates of the same name in a step: their values add up
    assert line["terms"] == {"supervised": {"value": 4.0, "weight": 0.5}}
    assert line["monitors"] == {"peak": pytest.approx(0.4)}
    assert line["gradient"] == {"gradient": 4.0, "gradient/1": 6.0}
    assert line["norms"] == {"supervised": 1.0}
    assert (line["step"], line["rates"], line["seconds_per_step"]) == (2, {"net": 0.25}, 0.5)
    assert journal.latest == {"supervised": 4.0}
    journal.flush(3)
    assert read(journal)[1]["terms"] == {"supervised": {"value": 16.0, "weight": 0.5}}
    assert "norms" not in read(journal)[1]
    journal.flush(3)
    assert len(read(journal)) == 2, "nothing new, no line"


def test_the_newest_steps_can_be_taken_back(tmp_path: Path) -> None:
    """At the latest when a line is due: that asks first."""
    journal = Journal(tmp_path, every=4)
    journal.settle = lambda: journal.take_back(4)
    for step, value in enumerate([1.0, 3.0, 100.0, 200.0, 5.0], 1):
        journal.begin_step(step)
        record(journal, value, norms={"supervised": value} if value == 100 else None)
        if step == 3:
            journal.take_back(3)
    journal.flush(5)
    (line,) = read(journal)
    assert line["terms"] == {"supervised": {"value": 6.0, "weight": 0.5}}, "the mean of 1, 3 and 5, in two updates each"
    assert "norms" not in line


def test_cut_removes_what_lies_beyond(tmp_path: Path) -> None:
    journal = Journal(tmp_path, every=1)
    journal.cut(5)
    assert not journal.file.exists()
    for step in (1, 2, 2, 3, 10):
        journal.write({"step": step})
    with journal.file.open("a") as stream:
        stream.write('{"step": 1, "half a li')
    journal.cut(2)
    assert [line["step"] for line in read(journal)] == [1, 2, 2]
    journal.cut(0)
    assert journal.file.read_text() == ""


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Journal(tmp_path, every=1).write({"step": 1, "value": float("nan")})


def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written"):
        Journal(tmp_path / "nothing", every=1).write({"step": 1})


def test_the_log_goes_to_the_file_and_back_out_again(tmp_path: Path) -> None:
    logger = logging.getLogger("poseshift.test")
    handlers, level = list(logging.getLogger("poseshift").handlers), logging.getLogger("poseshift").level
    with logged_to(tmp_path / "log.txt"):
        logger.info("inside")
    logger.info("outside")
    text = (tmp_path / "log.txt").read_text()
    assert text.endswith("INFO inside\n")
    assert len(text.splitlines()) == 1
    assert (logging.getLogger("poseshift").handlers, logging.getLogger("poseshift").level) == (handlers, level)
