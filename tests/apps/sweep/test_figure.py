from dataclasses import replace
from typing import Any

import pytest
from tests.apps.sweep.conftest import Made

from poseshift.apps.compare.findings import Comparison, Line
from poseshift.apps.compare.statistics import Estimate
from poseshift.apps.sweep import figure
from poseshift.apps.sweep.axes import Axis, Range


def comparison(made: Made, settings: list[dict[str, Any]], means: list[float]) -> Comparison:
    """The shared sweep's table with other rows."""
    found = made.found.comparison
    assert found is not None
    (table,) = found.tables
    first = table.lines[0]
    lines: list[Line] = []
    for marks, mean in zip(settings, means, strict=True):
        lines.append(replace(first, row=replace(first.row, marks=marks), mean=Estimate(mean=mean, error=1.0)))
    return replace(found, tables=(replace(table, lines=tuple(lines)),))


def test_a_line_for_each_setting_of_the_others(made: Made) -> None:
    assert made.found.comparison is not None
    axes = [Axis(key="method.domain_weight"), Axis(key="method.occlusion")]
    weight, switch = figure.panels(made.found.comparison, axes)
    assert (weight.scale, weight.values) == ("log", (0.01, 0.1, 1.0))
    assert [curve.label for curve in weight.curves] == ["occlusion true", "occlusion false"]
    assert [len(curve.points) for curve in weight.curves] == [3, 3]
    assert (switch.scale, switch.values) == ("names", ("false", "true"))
    assert [curve.label for curve in switch.curves] == ["domain_weight 0.01", "domain_weight 0.1", "domain_weight 1.0"]


def test_one_key_alone_has_no_legend(made: Made) -> None:
    found = comparison(made, [{"x": value} for value in (3, 1, 2)], [30.0, 10.0, 20.0])
    (panel,) = figure.panels(found, [Axis(key="x")])
    assert (panel.scale, panel.values, [curve.label for curve in panel.curves]) == ("linear", (1, 2, 3), [""])
    (chart,) = figure.charts(found, [Axis(key="x")])
    assert chart.legend == ()
    assert "10.0 at 1" in chart.svg


def test_many_settings_of_the_others_are_averaged_over(made: Made) -> None:
    settings = [{"x": x, "y": y} for x in (1, 2) for y in range(8)]
    found = comparison(made, settings, [float(n) for n in range(16)])
    panel, _ = figure.panels(found, [Axis(key="x"), Axis(key="y")])
    assert panel.note == "means over 8 settings of the others"
    (curve,) = panel.curves
    assert curve.joined
    assert [value for value, _ in curve.points] == [1, 2]


def test_settings_of_a_search_are_points(made: Made) -> None:
    settings = [{"x": 0.1 * n, "y": 1.0 / (n + 1)} for n in range(9)]
    found = comparison(made, settings, [float(n) for n in range(9)])
    for panel in figure.panels(found, [Axis(key="x"), Axis(key="y")]):
        (curve,) = panel.curves
        assert not curve.joined
        assert len(curve.points) == 9
    assert figure.svg(found, [Axis(key="x"), Axis(key="y")])
    few = comparison(made, [{"x": 0.1}, {"x": 0.2}], [1.0, 2.0])
    (panel,) = figure.panels(few, [Axis(key="x", span=Range(low=0.01, high=1.0))])
    assert not panel.curves[0].joined


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ({0.001, 0.01, 1}, "log"),
        ({0.2, 0.5, 1.0}, "linear"),
        ({0, 0.001, 0.1}, "names"),
        ({0, 0.5, 1}, "linear"),
        ({-1, 1}, "linear"),
        ({"a", "b"}, "names"),
        ({"a", 1}, "names"),
    ],
)
def test_axes(values: set[Any], scale: str) -> None:
    assert figure._scale(values) == scale


def test_names_of_users_are_no_mathematics(made: Made) -> None:
    found = comparison(made, [{"x": "$\\bad$"}, {"x": "b"}], [1.0, 2.0])
    text = figure.svg(found, [Axis(key="x")])
    assert text is not None
    assert "$\\bad$" in text


def test_nothing_to_draw(made: Made) -> None:
    found = comparison(made, [{"x": 1}], [1.0])
    assert figure.panels(found, [Axis(key="x")]) == []
    assert figure.svg(found, [Axis(key="x")]) is None
    assert figure.panels(replace(found, tables=()), [Axis(key="x")]) == []
