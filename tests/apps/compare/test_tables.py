"""What is written is parsed back and compared with what was found."""

import csv
import io
import re
from dataclasses import replace

from tests.apps.compare.conftest import Made

from poseshift.apps.compare import tables
from poseshift.apps.compare.cost import Cost
from poseshift.apps.compare.findings import Comparison

NUMBER = re.compile(r"^([−-]?\d+\.\d)(?: ± (\d+\.\d))?$")


def cells_of(text: str, separator: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(separator)] for line in text.splitlines() if separator in line]


def check(found: Comparison, head: list[str], rows: list[list[str]]) -> None:
    (table,) = found.tables
    assert head[:2] == ["method", "seeds"]
    assert [row[0] for row in rows] == [line.row.name for line in table.lines]
    for line, row in zip(table.lines, rows, strict=True):
        told = dict(zip(head, row, strict=True))
        for name, value in {**line.groups, "mean": line.mean}.items():
            match = NUMBER.match(told[name])
            assert match is not None
            assert value is not None
            assert float(match[1]) == round(value.mean, 1)
            assert float(match[2]) == round(value.error or 0.0, 1)
        if line.differences:
            assert float(told["− source"].replace("−", "-")) == round(line.differences["mean"].value, 1)
            assert told["verdict"] == f"{line.differences['mean'].verdict} (2 seeds)"
        else:
            assert told["verdict"] == "baseline"


def test_markdown(made: Made) -> None:
    text = (made.out / "table.md").read_text()
    assert text == tables.markdown(made.found)
    part = text.partition("## figures")[2].partition("\n## ")[0]
    head, rule, *rows = [cells[1:-1] for cells in cells_of(part, "|")]
    assert set(rule) == {"---"}
    check(made.found, head, rows)
    assert "* regda, seed 0: step " in text
    assert "Runs that rows start from, trained once for each seed: style" in text
    assert "| shot | shot | " in text
    costs = [cells_of(line, "|")[0][1:-1] for line in text.partition("## Time")[2].splitlines() if "| shot" in line]
    assert [row[6] for row in costs] == ["label-free"]
    assert text.count("Checkpoints chosen label-free: mean rank of agreement,") == 1


def test_latex(made: Made) -> None:
    text = (made.out / "table.tex").read_text()
    assert text == tables.latex(made.found)
    body = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)[0].replace(r"\midrule" + "\n", "")
    plain = body.replace(r"$\pm$", "±").replace("$-$", "−").replace(r"\%", "%").replace(r"\_", "_").replace(r" \\", "")
    head, *rows = cells_of(plain, " & ")
    assert re.findall(r"\\begin\{tabular\}\{(l*r*)\}", text)[0] == "l" + "r" * (len(head) - 1)
    check(made.found, head, rows)


def test_latex_of_any_text_stays_text() -> None:
    written = tables._tex_row(["a_b & 50 % {x} $y$ #1 ~ ^ \\"])
    assert written == (r"a\_b \& 50 \% \{x\} \$y\$ \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} \\")


def test_csv(made: Made) -> None:
    rows = list(csv.DictReader(io.StringIO((made.out / "table.csv").read_text())))
    assert [row["method"] for row in rows] == ["source", "multilevel", "dann", "shot", "regda"]
    (table,) = made.found.tables
    for line, row in zip(table.lines, rows, strict=False):
        for name, value in {**line.groups, "mean": line.mean, "labelled": line.labelled}.items():
            assert value is not None
            assert abs(float(row[name]) - value.mean) < 1e-3
            assert abs(float(row[f"{name} standard error"]) - (value.error or 0.0)) < 1e-3
        for name, one in line.differences.items():
            for column, number in (("difference", one.value), ("low", one.low), ("high", one.high)):
                assert abs(float(row[f"{name} {column}"]) - number) < 1e-3
        assert (row["seeds"], row["status"], row["target labels"]) == ("0 1", "scored", "no")
        assert re.fullmatch(r"[0-9a-f]{10}|\d+\.\d+\.\d+", row["code"])
        assert float(row["seconds"]) >= 0
        assert float(row["images per second"]) > 0
    assert rows[-1]["status"].startswith("seed 0: step ")
    assert rows[-1]["mean"] == ""


def test_time_of_what_was_stopped_is_marked(made: Made) -> None:
    row = made.found.rows[0]
    for whole, seconds, words in ((True, 42.4, "42 s"), (False, 300.0, "≥ 5.0 min"), (True, 7200.0, "2.0 h")):
        cost = Cost(seconds=seconds, whole=whole, images_per_second=123.4)
        assert tables.cost_cells(replace(row, cost=cost)) == (words, "123")
    assert tables.cost_cells(replace(row, cost=None)) == ("", "")


def test_oracles_are_marked(made: Made) -> None:
    row = replace(made.found.rows[0], labels="yes: oracle")
    found = replace(made.found, rows=(row, *made.found.rows[1:]))
    assert "| source (uses target labels) | source_only |" in tables.markdown(found)
