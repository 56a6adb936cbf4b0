from __future__ import annotations

from poseshift.apps.tables import text_table


def test_a_table_has_aligned_columns_and_a_dash_for_what_is_not_known() -> None:
    row = {"groups": {"eye": 12.34, "hoof": None}, "pck@0.05": 100.0, "interval": [1.0, 23.45]}
    text = text_table("PCK", {"before": row, "after it": {**row, "pck@0.05": 5.0}})
    assert text.splitlines() == [
        "PCK",
        "          eye hoof  mean     95 %",
        "before   12.3    – 100.0 1.0–23.4",
        "after it 12.3    –   5.0 1.0–23.4",
    ]
