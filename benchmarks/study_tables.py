"""Rows, paired differences and text of a study; see ``study.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from poseshift import metrics
from poseshift.metrics import Hits
from poseshift.types import Annotations


def compare(scores: dict[str, list[Hits]], annotations: Annotations, pairs: list[list[str]]) -> list[dict[str, Any]]:
    """Paired differences in points."""
    weights = metrics.bootstrap_weights(annotations.image_index)
    rows = []
    for ours, theirs in pairs:
        found = metrics.paired_difference(scores[ours], scores[theirs], weights, annotations.skeleton)
        numbers = {"difference": found.value, "low": found.low, "high": found.high}
        rows.append({"a": ours, "b": theirs, **{key: round(100 * value, 2) for key, value in numbers.items()}})
    return rows


def summarise(tables: list[dict[str, Any]], steps: list[int]) -> dict[str, Any]:
    """Mean and standard error over seeds, by group."""
    values = np.array([table["visible"]["pck@0.05"] for table in tables])
    spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    groups = {
        name: round(float(np.mean([t["visible"]["groups"][name] for t in tables])), 2)
        for name in tables[0]["visible"]["groups"]
    }
    row: dict[str, Any] = {
        "pck@0.05": round(float(values.mean()), 2),
        "standard_error": None if np.isnan(spread) else round(float(spread), 2),
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
                name + (" (uses target labels)" if name in result["oracles"] else ""),
                *(f"{row['groups'][g]:.1f}" for g in groups),
            ]
            low, high = row["interval_of_seed_0"]
            spread = "–" if row["standard_error"] is None else f"{row['standard_error']:.1f}"
            cells += [
                f"**{row['pck@0.05']:.1f}**",
                spread,
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
            f"| {d['a']} − {d['b']} | {d['difference']:+.1f} | {d['low']:+.1f} to {d['high']:+.1f} |"
            for d in part["differences"]
        ]
        lines.append("")
    for name, values in result["curves"].items():
        shown = ", ".join(f"{value:.2g}" for value in values)
        lines += [f"{name}: supervised loss in each tenth of its steps, mean over seeds: {shown}", ""]
    return "\n".join(lines) + "\n"
