"""Rules about the data: keypoints, unreadable files, counts, repeats, poses of the source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from poseshift.apps.doctor import thresholds
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.lines import Line, both, line, names, percent


def partners(found: Examination) -> Iterator[Line]:
    """Target keypoints that nothing teaches."""
    table = found.partners
    missing, count = table.missing, len(table.rows)
    if table.refused and missing:
        text = f"{len(missing)} of {count} target keypoints have no clear partner in the source ({names(missing)})"
        remedy = "training does not start without a mapping; complete and add " + table.suggestion
        yield line("partners", "stops", text, remedy)
    elif missing:
        text = f"{len(missing)} of {count} target keypoints have no partner in the source ({names(missing)})"
        yield line("partners", "hurts", text, f"they are never learnt; where a name is wrong, add {table.suggestion}")


def unreadable(found: Examination) -> Iterator[Line]:
    """Images that do not decode."""
    for role, sample, _ in both(found):
        count = len(sample.unreadable)
        if not count:
            continue
        first = next(iter(sample.unreadable))
        text = f"{count} of {sample.drawn} sampled {role} images do not decode, the first: {first}"
        stops = count / sample.drawn > thresholds.UNREADABLE
        remedy = "training stops where more than 1 % do not" if stops else "training skips up to 1 %"
        yield line("unreadable", "stops" if stops else "note", text, f"{remedy}; `poseshift check` lists all of them")


def rarely_labelled(found: Examination) -> Iterator[Line]:
    """Partners that the source hardly ever labels."""
    rare = tuple(
        f"{row.target} ({percent(row.labelled)})"
        for row in found.partners.rows
        if row.labelled is not None and row.labelled < thresholds.RARELY_LABELLED
    )
    if rare:
        text = f"keypoints that the source hardly ever labels: {names(rare)}"
        yield line("rarely_labelled", "hurts", text, "label them, or render views that show them")


def few_images(found: Examination) -> Iterator[Line]:
    """So few images that training sees each one too often."""
    total = found.config.steps * found.config.batch_size
    for role, _, scale in both(found):
        times = total / scale.images
        if times > thresholds.DRAWS:
            text = f"only {scale.images} {role} images: training draws each one {times:.0f} times"
            remedy = "render more" if role == "source" else "add images or frames of video, which need no labels"
            yield line("few_images", "hurts", text, remedy)


def repeated(found: Examination) -> Iterator[Line]:
    """Target images that show the same moment."""
    share = found.target_scale.twins
    if share > thresholds.TWINS:
        text = f"{percent(share)} of {len(found.target)} sampled target crops have a twin among them"
        remedy = "they add nothing; choose frames further apart, or by diversity (`video:` does)"
        yield line("repeated", "hurts", text, remedy)


def one_sided(found: Examination) -> Iterator[Line]:
    """A source that faces one side only, and views that are never mirrored."""
    facing = found.poses.facing
    if facing is None or facing["left"] + facing["right"] < 0.5 or found.config.augment.source.flip > 0:
        return
    side = max(("left", "right"), key=lambda name: facing[name])
    share = facing[side] / (facing["left"] + facing["right"])
    if share > thresholds.ONE_SIDED:
        text = f"{percent(share)} of the source instances that face a side face {side}"
        remedy = "where target subjects face both ways, mirror: --set common.augment.source.flip=0.5"
        yield line("one_sided", "hurts", text, remedy)


def stiff(found: Examination) -> Iterator[Line]:
    """A source whose keypoints are always at the same places."""
    away = np.sqrt(np.square(found.poses.spread).sum(1))
    away = away[np.isfinite(away)]
    if len(away) and float(np.median(away)) < thresholds.STIFF:
        text = f"the source's keypoints are always at the same places: {percent(float(np.median(away)))} of the crop's "
        text += "side from their mean"
        yield line("stiff", "hurts", text, "render more poses, views and sizes")
