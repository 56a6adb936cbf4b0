"""Writes the tables of published numbers beside what was measured here: ``benchmarks/results/published.md``.

    python benchmarks/published.py

Published numbers and their sources stand in ``benchmarks/published.yaml``. A measured one is that of the last stage in
``benchmarks/results/<recipe folder>-<pair>.json``, which ``benchmarks/study.py recipes/<folder>/<pair>.yaml --name
<folder>-<pair>`` writes on a machine that has the data; where there is no such file its cell is empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from poseshift.methods import METHODS

HERE = Path(__file__).parent
FOLDERS = {"multilevel": "daml", "source_only": "daml", "oracle": "daml"}
"""Folders of recipes that are not named after their method."""
STAGES = {"source_only": "source", "oracle": "oracle"}
"""Stages that are not a recipe's adaptation."""
ROWS = tuple(name for name, method in METHODS.items() if method.makes == "pose net")


def measured(method: str, pair: str, results: Path) -> str:
    """The cell of what was measured here, or nothing."""
    path = results / f"{FOLDERS.get(method, method)}-{pair}.json"
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    split = next(iter(found["splits"].values()))
    row = split["stages"].get(STAGES.get(method, "adapt"))
    if row is None:
        return ""
    spread = "" if row["standard_error"] is None else f" ± {row['standard_error']:.1f}"
    return f"{row['reference']:.1f}{spread} ({len(row['seeds'])} seed(s), commit {found['commit'][:7]})"


def table(pair: str, entries: list[dict[str, Any]], results: Path) -> list[str]:
    """One pair: every method of this project, then what else is published."""
    groups = list(dict.fromkeys(name for entry in entries for name in entry.get("groups", {})))
    lines = ["| method | all | " + "".join(f"{g} | " for g in groups) + "source | measured here |"]
    lines += ["|" + "---|" * (len(groups) + 4)]
    others = list(dict.fromkeys(e["method"] for e in entries if e["method"] not in ROWS))
    for method in (*ROWS, *others):
        own = [entry for entry in entries if entry["method"] == method]
        for entry in own or [{}]:
            cells = [method, f"{entry['pck']:.1f}" if entry else ""]
            cells += [f"{entry['groups'][g]:.1f}" if g in entry.get("groups", {}) else "" for g in groups]
            cells += [entry.get("source", ""), measured(method, pair, results)]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def page(published: dict[str, Any], results: Path) -> str:
    """All pairs, the gains that abstracts state, and the sources."""
    lines: list[str] = []
    for pair, found in published["pairs"].items():
        lines += [f"## {found['title']} (`{pair}`)", "", *table(pair, found["entries"], results), ""]
    lines += ["## Gains that abstracts state", "", "| method | gain | source |", "|---|---|---|"]
    lines += [f"| {one['method']} | {one['text']} | {one['source']} |" for one in published["gains"]]
    lines += ["", "## Reported by users, not published", "", "| method | pair | all | source |", "|---|---|---|---|"]
    lines += [
        f"| {one['method']} | {one['pair']} | {one['pck']:.1f} | {one['source']} |"
        for one in published["reported_by_users"]
    ]
    lines += ["", "## Sources", ""]
    lines += [f"* `{name}`: {text}" for name, text in published["sources"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the file."""
    published = yaml.safe_load((HERE / "published.yaml").read_text(encoding="utf-8"))
    (HERE / "results/published.md").write_text(page(published, HERE / "results"), encoding="utf-8")


if __name__ == "__main__":
    main()
