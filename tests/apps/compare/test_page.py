import re
from dataclasses import replace
from pathlib import Path

from tests.apps.compare.conftest import Made

from poseshift.apps.compare import page


def test_the_page_holds_everything_and_needs_nothing(made: Made) -> None:
    text = (made.out / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', text), "no other file"
    assert "<script" not in text
    for name in ("source", "multilevel", "dann", "shot", "regda"):
        assert name in text
    assert "figures:middle" in text
    assert "poseshift compare …" in text
    assert "Differences by keypoint group" in text
    assert "label-free: mean rank of agreement" in text
    assert text.count("<section") == text.count("</section>") == 3
    for tag in ("table", "tr", "td", "th", "div", "span", "svg", "details"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_names_are_text(made: Made, tmp_path: Path) -> None:
    row = replace(made.found.rows[0], name="<b>a</b>")
    lines = [replace(line, row=row) for line in made.found.tables[0].lines[:1]]
    table = replace(made.found.tables[0], lines=tuple(lines))
    found = replace(made.found, rows=(row,), tables=(table,))
    text = page.write(found, tmp_path / "page.html").read_text()
    assert "&lt;b&gt;a&lt;" in text
    assert "<b>a<" not in text


def test_the_best_row_is_one_that_saw_no_target_labels(made: Made) -> None:
    (table,) = made.found.tables
    fair = page.best(table)
    assert fair is not None
    told = [
        replace(line, row=replace(line.row, labels="yes: oracle")) if line.row.name == fair else line
        for line in table.lines
    ]
    assert page.best(replace(table, lines=tuple(told))) not in (None, fair)
    assert page.best(replace(table, lines=table.lines[:1])) is None


def test_axes_of_differences(made: Made) -> None:
    (table,) = made.found.tables
    end, places = page.limit(table), page.spans(table)
    assert set(places) == {"multilevel", "dann", "shot"}
    for line in table.lines[1:]:
        one, difference = places[line.row.name], line.differences["mean"]
        assert 0 <= one.low <= one.high <= 100
        assert (one.low - 50) / 50 * end == difference.low or abs((one.low - 50) / 50 * end - difference.low) < 1e-9
    assert page.limit(replace(table, lines=table.lines[:1])) == 1.0
