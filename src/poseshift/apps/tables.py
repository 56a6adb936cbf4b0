"""Results as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poseshift.engine.calibration import HELD
from poseshift.engine.collapse import BELOW, LIMITS, UNITS, WORDS


def text_table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for each named result of an evaluation: groups, mean, interval; fits 80 characters for the usual groups.

    Args:
        title: First line.
        rows: Name to a table of :func:`poseshift.engine.evaluate.evaluate` (its ``visible`` or ``labelled``).
    """
    groups = list(next(iter(rows.values()))["groups"])
    head = ["", *groups, "mean", "95 %"]
    lines = [[name, *_cells(row, groups)] for name, row in rows.items()]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    text = [title]
    for first, *numbers in [head, *lines]:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        text.append(" ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(text)


def _cells(row: Mapping[str, Any], groups: list[str]) -> list[str]:
    values = [row["groups"][group] for group in groups]
    return [*map(_number, [*values, row["pck@0.05"]]), "–".join(map(_number, row["interval"]))]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def evaluation_table(result: Mapping[str, Any]) -> str:
    """The scores of an evaluation by keypoint and group, all categories first, for a terminal."""
    parts = {"all": result, **{name: {"visible": part} for name, part in result.get("categories", {}).items()}}
    rows = {
        f"{name}, {counted}": part[counted]
        for name, part in parts.items()
        for counted in ("visible", "labelled")
        if counted in part
    }
    data = f"{result['data']} {result['split'] or ''}".strip()
    table = text_table(f"PCK@0.05 (%), {result['protocol']}, {data}, step {result['checkpoint']}", rows)
    if (known := result.get("calibration")) is None:
        return table
    said = "not calibrated" if known["ece"] is None else f"{_number(known['ece'])} calibrated"
    return f"{table}\nexpected calibration error of scores (%): {_number(known['ece_raw'])} raw, {said}"


def trust_lines(examined: Mapping[str, Any]) -> list[str]:
    """What was examined of a checkpoint (``trust/step-N.json``), in sentences for a terminal or a page."""
    known = examined["calibration"]
    lines = [f"step {examined['step']}, {examined['nets']}"]
    if known is None:
        lines.append("scores: raw; nothing labelled to calibrate on")
    else:
        formula = f"σ({known['slope']:.3g}·logit(s) {known['intercept'] + known['shift']:+.3g})".replace("-", "−")
        lines.append(f"scores: {formula} of the raw score s, fitted on {HELD[known['held']]}")
    lines += [line for line in (expected_line(known),) if line]
    lines += [collapse_line(name, one) for name, one in examined["collapse"].items()]
    if not examined["collapse"]:
        lines.append("collapse: not judged, since no target or too few labelled source poses are known")
    return lines


def expected_line(known: Mapping[str, Any] | None) -> str:
    """The share of the target's keypoints that should be right, from a calibration; empty where it is not known."""
    if known is None or known["expected"] is None:
        return ""
    shares = [f"{100 * known[name]:.1f} %" for name in ("agreement_target", "agreement_source", "right_source")]
    return (
        f"expected within PCK@0.05 on the target: {100 * known['expected']:.1f} % of keypoints "
        f"(agreement {shares[0]}; on the source {shares[1]}, where {shares[2]} are right)"
    )


def collapse_line(name: str, one: Mapping[str, Any]) -> str:
    """One measure of collapse in words."""
    said = "cannot be judged" if one["value"] is None else f"{one['value']:.0f} %"
    limit = f"found {'below' if name in BELOW else 'above'} {LIMITS[name]:g} %"
    return f"{WORDS[name]}: {'FOUND' if one['found'] else 'no'} ({UNITS[name]} {said}; {limit})"
