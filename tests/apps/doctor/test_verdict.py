"""Each line of the verdict appears when its number says so, and does not just below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from poseshift.apps.doctor import thresholds
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.gap import Interval
from poseshift.apps.doctor.lines import LEVELS, Line
from poseshift.apps.doctor.partners import Partners
from poseshift.apps.doctor.verdict import RULES, verdict
from poseshift.config import DataConfig

Change = Callable[[Examination], Examination]


def lines(found: Examination, rule: str) -> list[Line]:
    return [line for line in verdict(found) if line.rule == rule]


def table(found: Examination, how: str, *, refused: str = "", labelled: float | None = 0.9) -> Partners:
    first, *rest = found.partners.rows
    lost = how in ("none", "several")
    row = replace(first, how=how, source=None if lost else first.source, labelled=None if lost else labelled)
    return replace(found.partners, rows=(row, *rest), refused=refused, suggestion='--set "x"' if lost else "")


def partners(how: str, *, refused: str = "", labelled: float | None = 0.9) -> Change:
    return lambda found: replace(found, partners=table(found, how, refused=refused, labelled=labelled))


def unreadable(role: str, count: int, of: int) -> Change:
    def change(found: Examination) -> Examination:
        sample = getattr(found, role)
        kept = replace(
            sample, rows=np.zeros(of - count, np.int64), unreadable={f"{i}.png": "broken" for i in range(count)}
        )
        return replace(found, **{role: kept})

    return change


def scaled(role: str, *, mode: str | None = None, **values: Any) -> Change:
    """Other sizes of one domain, and another way to cut it."""

    def change(found: Examination) -> Examination:
        made = replace(found, **{f"{role}_scale": replace(getattr(found, f"{role}_scale"), **values)})
        return replace(made, **{role: replace(getattr(made, role), boxes=mode)}) if mode else made

    return change


def numbers(value: float) -> np.ndarray:
    return np.full(40, value, np.float32)


def look(name: str, *, below: float = 0.0, above: float = 0.0, setting: float | None = None) -> Change:
    def change(found: Examination) -> Examination:
        changed = tuple(
            replace(one, below=below, above=above, setting=setting) if one.name == name else one for one in found.looks
        )
        return replace(found, looks=changed)

    return change


def posed(**values: Any) -> Change:
    return lambda found: replace(found, poses=replace(found.poses, **values))


def spread(value: float) -> Change:
    """The same deviation along x and y: √2 of it away."""
    return posed(spread=np.full((14, 2), value, np.float32))


def tiny_ones(role: str, fill: float) -> Change:
    """Subjects of one domain that fill so much of their crops, at 128 pixels."""

    def change(found: Examination) -> Examination:
        whole = found.config.model_copy(update={"input_size": 128})
        return scaled(role, fill=numbers(fill))(replace(found, config=whole))

    return change


def facing(left: float, right: float) -> Change:
    return posed(facing={"left": left, "right": right, "neither": 1 - left - right})


def mirrored(found: Examination) -> Examination:
    """One-sided, but training mirrors half of the source's views."""
    source = found.config.augment.source.model_copy(update={"flip": 0.5})
    augment = found.config.augment.model_copy(update={"source": source})
    return replace(facing(0.0, 0.8)(found), config=found.config.model_copy(update={"augment": augment}))


def boxed(value: float, *, boxes: str = "auto") -> Change:
    def change(found: Examination) -> Examination:
        data = DataConfig(data="coco:x", boxes=boxes)  # type: ignore[arg-type]
        return scaled("target", boxed=value)(replace(found, target_data=data))

    return change


def wide(ratio: float) -> Change:
    def change(found: Examination) -> Examination:
        own = scaled("source", boxes=np.tile(np.array([40, 40], np.float32), (40, 1)))(found)
        return scaled("target", boxes=np.tile(np.array([40 * ratio, 40], np.float32), (40, 1)))(own)

    return change


def filled(target: float) -> Change:
    """Sources fill 0.8 of their crops, and the preset draws 0.75 to 1.3 of that: 0.6 to 1.04."""
    return lambda found: scaled("target", fill=numbers(target))(scaled("source", fill=numbers(0.8))(found))


def gap(**values: Any) -> Change:
    return lambda found: replace(found, gap=replace(found.gap, **values))  # type: ignore[type-var]


def crops(target: float) -> Change:
    own = numbers(0.95)
    return lambda found: scaled("target", shown=numbers(target))(scaled("source", shown=own)(found))


TIMES = 1500 * 32 / thresholds.DRAWS
FAR, NEAR = Interval(0.99, 0.97, 1.0), Interval(0.55, 0.45, 0.62)

# rule, a change that calls for its line, the line's level, what it must say, a change just short of it
CASES: list[tuple[str, Change, str, str, Change]] = [
    ("partners", partners("none", refused="no"), "stops", "1 of 14 target keypoints", partners("configured")),
    ("partners", partners("none"), "hurts", "never learnt", partners("synonym")),
    ("partners", partners("several", refused="two"), "stops", '--set "x"', partners("same name")),
    ("unreadable", unreadable("source", 2, 100), "stops", "2 of 100 sampled source", unreadable("source", 0, 100)),
    ("unreadable", unreadable("target", 1, 100), "note", "1 of 100 sampled target", unreadable("target", 0, 100)),
    ("crowded", scaled("target", mode="whole", crowded=0.4), "hurts", "40 % of the", scaled("target", crowded=0.4)),
    ("crowded", scaled("source", mode="whole", crowded=0.01), "hurts", "source", scaled("source", mode="whole")),
    ("partly_boxed", boxed(0.97), "hurts", "3 % of the target instances have no box", boxed(1.0)),
    ("partly_boxed", boxed(0.5), "hurts", "50 %", boxed(0.0)),
    ("partly_boxed", boxed(0.5), "hurts", "add the missing boxes", boxed(0.5, boxes="whole")),
    ("cut_apart", scaled("target", mode="whole"), "hurts", "common.source.boxes=whole", scaled("target", mode="given")),
    ("cut_apart", scaled("source", mode="whole"), "hurts", "common.target.boxes=whole", scaled("source", mode="given")),
    ("size", filled(0.4), "hurts", "2.0 times smaller", filled(0.62)),
    ("size", filled(0.59), "hurts", "common.target.padding=0.92", filled(0.61)),
    ("size", filled(1.2), "hurts", "1.5 times larger", filled(1.02)),
    ("bars", crops(0.70), "hurts", "30 % of a target crop is black", crops(0.80)),
    ("small_crops", scaled("target", side=numbers(31)), "hurts", "31 pixels", scaled("target", side=numbers(33))),
    ("small_crops", scaled("source", side=numbers(20)), "hurts", "source crops", scaled("source", side=numbers(32))),
    ("rarely_labelled", partners("any", labelled=0.04), "hurts", "right_ankle (4 %)", partners("any", labelled=0.06)),
    ("look_brightness", look("brightness", below=0.51), "hurts", "darker", look("brightness", below=0.49)),
    ("look_grain", look("grain", above=0.9, setting=0.2), "hurts", "student.noise=0.2", look("grain", above=0.5)),
    ("look_sharpness", look("sharpness", above=0.8), "hurts", "does not reach it", look("sharpness", above=0.4)),
    ("few_images", scaled("target", images=int(TIMES) - 1), "hurts", "video", scaled("target", images=int(TIMES))),
    ("few_images", scaled("source", images=100), "hurts", "render more", scaled("source", images=600)),
    ("repeated", scaled("target", twins=0.25), "hurts", "25 % of 40", scaled("target", twins=0.2)),
    ("one_sided", facing(0.0, 0.8), "hurts", "100 % of the source instances", facing(0.1, 0.7)),
    ("one_sided", facing(0.57, 0.03), "hurts", "face left", facing(0.45, 0.0)),
    ("one_sided", facing(0.0, 0.8), "hurts", "source.flip=0.5", mirrored),
    ("stiff", spread(0.03), "hurts", "4 % of the crop's side", spread(0.04)),
    ("stiff", spread(0.0), "hurts", "render more poses", spread(np.nan)),
    ("small_subjects", tiny_ones("target", 0.3), "hurts", "38 of 128 pixels", tiny_ones("target", 0.35)),
    ("small_subjects", tiny_ones("source", 0.3), "hurts", "source.boxes=given", tiny_ones("source", 0.4)),
    ("aspect", wide(1.6), "hurts", "wider", wide(1.45)),
    ("aspect", wide(1 / 1.6), "hurts", "taller", wide(1 / 1.45)),
    ("unknown_size", scaled("target", fill=numbers(np.nan)), "note", "no boxes", scaled("target", fill=numbers(0.8))),
]  # fmt: skip


def test_nothing_hurts_a_healthy_pair(healthy: Examination) -> None:
    assert [(line.rule, line.level) for line in verdict(healthy)] == [("domain_gap", "note")]


@pytest.mark.parametrize(("rule", "change", "level", "says", "short"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_a_line_appears_when_its_number_says_so(
    rule: str, change: Change, level: str, says: str, short: Change, healthy: Examination
) -> None:
    (line,) = lines(change(healthy), rule)
    assert line.level == level
    assert says in f"{line.text} {line.remedy}"
    assert not lines(short(healthy), rule)


def test_every_rule_is_tried() -> None:
    tried = {rule.partition("_")[0] if rule.startswith("look_") else rule for rule, *_ in CASES}
    assert {rule.__name__ for rule in RULES} == (tried - {"look"}) | {"appearance", "domain_gap"}


def test_the_gap_has_three_lines(healthy: Examination) -> None:
    apart = gap(auc=FAR, null_auc=NEAR)(healthy)
    (line,) = lines(apart, "domain_gap")
    assert line.text.startswith("a linear classifier tells source from target: AUC 0.99 (0.97 to 1.00")
    (line,) = lines(gap(auc=NEAR, null_auc=NEAR)(healthy), "domain_gap")
    assert "can hardly be told apart" in line.text
    (line,) = lines(replace(healthy, gap=None), "domain_gap")
    assert "40 images in the smaller domain, 20 are needed" in line.text


def test_what_stops_comes_first_and_notes_last(healthy: Examination) -> None:
    change = unreadable("target", 1, 100)(filled(0.3)(partners("none", refused="no")(healthy)))
    levels = [LEVELS.index(line.level) for line in verdict(change)]
    assert levels == sorted(levels)
    assert [line.rule for line in verdict(change)][:2] == ["partners", "size"]


def test_looks_furthest_away_come_first(healthy: Examination) -> None:
    change = look("tint", above=0.6)(look("contrast", below=0.95)(healthy))
    assert [line.rule for line in verdict(change) if line.rule.startswith("look_")] == ["look_contrast", "look_tint"]


def test_lines_are_whole(healthy: Examination) -> None:
    for _, change, *_ in CASES:
        for line in verdict(change(healthy)):
            assert all(getattr(line, field.name) for field in fields(line))
            assert "\n" not in line.text + line.remedy
