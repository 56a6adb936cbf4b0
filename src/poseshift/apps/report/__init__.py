"""The report: one HTML file that shows what runs did. It needs no network, no script and no other file.

``entries`` decides which runs stand in it, ``tables`` reads their evaluations, ``comparison`` puts the predictions of
the run before adaptation beside those after it, ``charts`` and ``pictures`` draw, ``summary`` puts it in words, and
``template.html.j2`` lays it out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poseshift.apps import pages
from poseshift.apps.report.charts import histograms, reliability, training
from poseshift.apps.report.collapsed import collapses
from poseshift.apps.report.comparison import Comparison, compare
from poseshift.apps.report.entries import Entry, gather, subject_of
from poseshift.apps.report.pictures import tiers
from poseshift.apps.report.summary import about, facts, summary, title
from poseshift.apps.report.tables import tables
from poseshift.engine import checkpoint
from poseshift.engine.run import Run
from poseshift.errors import PoseshiftError

log = logging.getLogger(__name__)

__all__ = ["report"]


def report(
    runs: Sequence[Run | str | Path],
    out: str | Path,
    *,
    data: str | None = None,
    split: str | None = None,
    device: str = "auto",
) -> Path:
    """Writes one self-contained HTML file about runs.

    Tables are read from the runs' evaluations, curves from their ``metrics.jsonl``. The runs that they were started
    from are shown too where their folders still exist and hold an evaluation of the same data.

    Args:
        runs: One or more runs, or their paths. The last one that adapts is the report's subject.
        out: The HTML file; replaced where it exists.
        data: ``FORMAT:PATH`` to show pictures and confidences of; by default what the subject was evaluated on, else
            its target.
        split: Of that format.
        device: Where to compute predictions that no evaluation holds: ``auto``, ``cpu``, ``cuda``, …

    Returns:
        The path of the file.

    Raises:
        UsageError: No run was given, or ``out`` is a folder.
        CheckpointError: A path is no run folder, or the file cannot be written.
        DataError: An evaluation cannot be read, or ``data`` was given and cannot be.
    """
    file = Path(out)
    pages.refuse_folder(file)
    shown = gather(runs)
    subject = subject_of(shown)
    compared, trouble = _compared(subject, shown, data=data, split=split, device=device)
    page = render(shown, subject, compared, trouble)
    file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(file, page)
    return file


def _compared(
    subject: Entry, shown: Sequence[Entry], *, data: str | None, split: str | None, device: str
) -> tuple[Comparison | None, str]:
    """The comparison, or why there is none: tables and curves are worth a report without pictures."""
    try:
        return compare(subject, shown, data=data, split=split, device=device), ""
    except PoseshiftError as error:
        if data is not None:
            raise
        log.warning("the report has no pictures: %s", error)
        return None, str(error)


def render(shown: Sequence[Entry], subject: Entry, compared: Comparison | None, trouble: str) -> str:
    """The page as text."""
    found = tables(shown)
    values: dict[str, Any] = {
        "entries": shown,
        "subject": subject,
        "title": title(subject),
        "summary": summary(subject, compared, found),
        "facts": facts(subject),
        "tables": found,
        "trouble": trouble,
        "compared": compared,
        "pictures": tiers(compared) if compared else [],
        "histograms": histograms(compared) if compared else [],
        "reliability": reliability(compared) if compared else [],
        "collapses": collapses(subject),
        "training": training(shown),
        "about": [about(entry) for entry in shown],
    }
    return pages.environment().get_template("report/template.html.j2").render(values)
