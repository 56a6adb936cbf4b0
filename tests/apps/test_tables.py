from __future__ import annotations

from poseshift.apps.tables import evaluation_table, text_table


def test_a_table_has_aligned_columns_and_a_dash_for_what_is_not_known() -> None:
    row = {"groups": {"eye": 12.34, "hoof": None}, "pck@0.05": 100.0, "interval": [1.0, 23.45]}
    text = text_table("PCK", {"before": row, "after it": {**row, "pck@0.05": 5.0}})
    assert text.splitlines() == [
        "PCK",
        "          eye hoof  mean     95 %",
        "before   12.3    – 100.0 1.0–23.4",
        "after it 12.3    –   5.0 1.0–23.4",
    ]


def test_an_evaluation_shows_all_and_each_category() -> None:
    row = {"groups": {"eye": 12.34}, "pck@0.05": 100.0, "interval": [1.0, 23.45]}
    result = {"visible": row, "labelled": row, "categories": {"dog": row}, "protocol": "exact", "data": "x:y"}
    text = evaluation_table({**result, "split": None, "checkpoint": 7})
    lines = text.splitlines()
    assert lines[0] == "PCK@0.05 (%), exact, x:y, step 7"
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "all, visible",
        "all, labelled 12.3 100.0 1.0–23.4",
        "dog, visible",
    ]
