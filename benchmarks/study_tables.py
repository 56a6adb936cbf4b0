"""Rows, paired differences and text of a study; see ``study.py``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift import metrics
from poseshift.apps.compare import statistics
from poseshift.engine.label_free import LabelFree
from poseshift.metrics import Hits
from poseshift.types import Annotations

LABEL_FREE = tuple(field.name for field in fields(LabelFree))


def compare(scores: dict[str, list[Hits]], annotations: Annotations, pairs: list[list[str]]) -> list[dict[str, Any]]:
    """Paired differences in points."""
    weights = metrics.bootstrap_weights(annotations.image_index)
    rows = []
    for ours, theirs in pairs:
        shared = min(len(scores[ours]), len(scores[theirs]))  # a stage of one seed has the first
        found = metrics.paired_difference(scores[ours][:shared], scores[theirs][:shared], weights, annotations.skeleton)
        numbers = {"difference": found.value, "low": found.low, "high": found.high}
        rows.append(
            {"a": ours, "b": theirs, "seeds": shared, **{key: round(100 * value, 2) for key, value in numbers.items()}}
        )
    return rows


def summarise(tables: list[dict[str, Any]], steps: list[int]) -> dict[str, Any]:
    """Mean and standard error over seeds, by group."""
    values = np.array([table["visible"]["pck@0.05"] for table in tables])
    groups = {
        name: round(float(np.mean([t["visible"]["groups"][name] for t in tables])), 2)
        for name in tables[0]["visible"]["groups"]
    }
    row: dict[str, Any] = {
        "pck@0.05": round(float(values.mean()), 2),
        "standard_error": standard_error(values),
        "seeds": [round(float(v), 2) for v in values],
        "interval_of_seed_0": tables[0]["visible"]["interval"],
        "labelled": round(float(np.mean([t["labelled"]["pck@0.05"] for t in tables])), 2),
        "reference": round(float(np.mean([t["reference"] for t in tables])), 2),
        "groups": groups,
        "steps": steps,
    }
    if "categories" in tables[0]:
        row["categories"] = {
            name: {
                "pck@0.05": round(float(np.mean([t["categories"][name]["pck@0.05"] for t in tables])), 2),
                "groups": {
                    g: round(float(np.mean([t["categories"][name]["groups"][g] for t in tables])), 2)
                    for g in part["groups"]
                },
            }
            for name, part in tables[0]["categories"].items()
        }
    return row


def standard_error(values: npt.NDArray[np.float64]) -> float | None:
    """Of the mean, to two digits; None for one value."""
    found = statistics.standard_error(values)
    return None if found is None else round(found, 2)


def across_seeds(rows: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean and standard error over seeds of every score without labels that all seeds have."""
    found = {}
    for name in LABEL_FREE:
        if all(name in row for row in rows):
            values = np.array([row[name] for row in rows])
            found[name] = {
                "mean": round(float(values.mean()), 2),
                "standard_error": standard_error(values),
                "seeds": [round(float(v), 2) for v in values],
            }
    return found


def unlabelled(table: dict[str, dict[str, Any]]) -> list[str]:
    """The lines of the scores without labels; none where no stage has any."""
    names = [name for name in LABEL_FREE if any(name in row for row in table.values())]
    if not names:
        return []
    lines = ["## Without labels: the scored checkpoints on unlabelled target images (%)", ""]
    lines += [
        "| stage | " + " | ".join(f"{name} | ± s.e." for name in names) + " |",
        "|" + "---|" * (1 + 2 * len(names)),
    ]
    for stage, row in table.items():
        cells = [stage]
        for name in names:
            one = row.get(name)
            cells += ["–", "–"] if one is None else [f"{one['mean']:.1f}", shown(one["standard_error"])]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def fewer(result: dict[str, Any], seeds: int) -> str:
    """Says of what has fewer seeds than the study how many."""
    return "" if seeds == len(result["seeds"]) else f", {seeds} seed(s)"


def shown(spread: float | None) -> str:
    """A standard error, or a dash."""
    return "–" if spread is None else f"{spread:.1f}"


def markdown(result: dict[str, Any]) -> str:
    """The tables as text."""
    lines = [
        f"# {result['recipe']}",
        "",
        f"{result['command']}; commit {result['commit'][:12]}; torch {result['torch']} on {result['device']}",
        "",
    ]
    for split, part in result["splits"].items():
        groups = list(next(iter(part["stages"].values()))["groups"])
        lines += [f"## {result['test']}, {split}: PCK@0.05 (%), visible keypoints, {len(result['seeds'])} seed(s)", ""]
        lines += ["| stage | " + " | ".join(groups) + " | mean | ± s.e. | 95 % of seed 0 | labelled | reference |"]
        lines += ["|" + "---|" * (len(groups) + 6)]
        for name, row in part["stages"].items():
            cells = [
                name
                + (" (uses target labels)" if name in result["oracles"] else "")
                + fewer(result, len(row["seeds"])),
                *(f"{row['groups'][g]:.1f}" for g in groups),
            ]
            low, high = row["interval_of_seed_0"]
            cells += [
                f"**{row['pck@0.05']:.1f}**",
                shown(row["standard_error"]),
                f"{low:.1f} to {high:.1f}",
                f"{row['labelled']:.1f}",
                f"{row['reference']:.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        for category in sorted({c for row in part["stages"].values() for c in row.get("categories", {})}):
            lines += [
                "",
                f"{category}:",
                "",
                "| stage | " + " | ".join(groups) + " | mean |",
                "|" + "---|" * (len(groups) + 2),
            ]
            for name, row in part["stages"].items():
                own = row["categories"][category]
                lines.append(
                    f"| {name} | "
                    + " | ".join(f"{own['groups'][g]:.1f}" for g in groups)
                    + f" | {own['pck@0.05']:.1f} |"
                )
        lines += ["", "| paired difference | points | 95 % interval |", "|---|---|---|"]
        lines += [
            f"| {d['a']} − {d['b']}{fewer(result, d['seeds'])} | {d['difference']:+.1f} "
            f"| {d['low']:+.1f} to {d['high']:+.1f} |"
            for d in part["differences"]
        ]
        lines.append("")
    lines += unlabelled(result["label_free"])
    for name, values in result["curves"].items():
        curve = ", ".join(f"{value:.2g}" for value in values)
        lines += [f"{name}: supervised loss in each tenth of its steps, mean over seeds: {curve}", ""]
    return "\n".join(lines) + "\n"
