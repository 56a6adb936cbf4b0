"""``poseshift doctor``: what is likely to hurt an adaptation, measured before any training.

``samples`` cuts crops of both domains as training would; ``partners``, ``poses``, ``scale``, ``looks`` and ``gap``
measure; ``verdict`` and its rules say what the numbers mean; ``facts``, the text below and ``page`` show them. The
target is read without its labels.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from poseshift.apps.doctor.examination import IMAGES, Examination, examine
from poseshift.apps.doctor.facts import facts
from poseshift.apps.doctor.lines import Line
from poseshift.apps.doctor.verdict import verdict

__all__ = ["IMAGES", "Examination", "examine", "facts", "text", "write_page"]

WIDTH = 100
LEVEL_TITLES = {"stops": "stops training", "hurts": "likely to hurt", "note": "to know"}


def text(found: Examination) -> str:
    """The verdict and the numbers for a terminal."""
    known = facts(found)
    domains = [_domain(role, known[role]) for role in ("source", "target")]
    return "\n".join([*domains, "", *_verdict(verdict(found)), "", *_keypoints(found), "", *_numbers(known)])


def _domain(role: str, known: dict[str, Any]) -> str:
    split = f", {known['split']}" if known["split"] else ""
    unreadable = f", {known['unreadable_count']} unreadable" if known["unreadable_count"] else ""
    return (
        f"{role}: {known['data']}{split}: {known['instances']} instances in {known['images']} images, "
        f"{known['sampled']} sampled{unreadable}, boxes: {known['boxes']}"
    )


def _verdict(lines: list[Line]) -> list[str]:
    shown: list[str] = []
    for level, title in LEVEL_TITLES.items():
        told = [line for line in lines if line.level == level]
        shown += [title.upper()] if told else []
        for number, line in enumerate(told, 1):
            shown += textwrap.wrap(line.text, WIDTH, initial_indent=f"{number:2}. ", subsequent_indent="    ")
            shown.append(f"    → {line.remedy}")  # in one piece: it may hold a line to copy
    if not any(line.level != "note" for line in lines):
        shown.insert(0, "nothing found that is likely to hurt")
    return shown


def _keypoints(found: Examination) -> list[str]:
    table = found.partners
    title = "target keypoint" if table.named else "keypoint (the target names none: the model predicts the source's)"
    rows: list[tuple[str, ...]] = [(title, "source keypoint", "by", "labelled", "visible")]
    for row in table.rows:
        guess = f"none (perhaps {row.guess})" if row.guess else "none"
        shares = ["–" if share is None else f"{100 * share:.0f} %" for share in (row.labelled, row.visible)]
        rows.append((row.target, row.source or guess, row.how, *shares))
    return [*_aligned(rows), *([f"unused: {', '.join(table.unused)}"] if table.unused else [])]


def _numbers(known: dict[str, Any]) -> list[str]:
    rows: list[tuple[str, ...]] = [("median (5 to 95 %)", "source", "source augmented", "target")]
    for name, look in known["looks"].items():
        rows.append((name, *(spread(look[key]) for key in ("source", "source_augmented", "target"))))
    for title, key in (("crop side, pixels", "crop_side"), ("box over crop", "box_over_crop")):
        rows.append((title, spread(known["source"][key]), "", spread(known["target"][key])))
    lines, gap = _aligned(rows), known["gap"]
    if gap:
        size, null, distance = gap["size"], gap["size_of_source_halves"], gap["proxy_a_distance"]
        parts = ", ".join(f"{name} {value:.2f}" for name, value in gap["size_by_part"].items())
        lines += [
            f"gap, {known['gap_measured_on']}: size {size['value']:.3f} ({size['low']:.3f} to {size['high']:.3f}; "
            f"halves of the source up to {null['high']:.3f}), proxy A-distance {distance['value']:.2f}",
            f"by part: {parts}",
        ]
    return lines


def spread(values: dict[str, float] | None) -> str:
    """A median and the range around it."""
    if values is None:
        return "–"
    low, middle, high = (f"{values[key]:.3g}" for key in ("p05", "p50", "p95"))
    return middle if low == high else f"{middle} ({low} to {high})"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def write_page(found: Examination, out: str | Path) -> Path:
    """Writes one self-contained HTML file with pictures of both domains. Returns its path."""
    from poseshift.apps.doctor.page import write

    return write(found, Path(out))
