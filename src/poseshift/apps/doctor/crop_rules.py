"""Rules about crops: what is cut out, how large subjects are in it, how much of it is image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from poseshift.apps.doctor import thresholds
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.lines import Line, both, line, percent
from poseshift.types import FloatArray


def crowded(found: Examination) -> Iterator[Line]:
    """Whole images that show several instances: nobody can tell which one is meant."""
    for role, sample, scale in both(found):
        if sample.boxes == "whole" and scale.crowded > 0:
            text = f"{percent(scale.crowded)} of the {role} instances share an image with another one, but whole "
            text += "images are cut out: the same picture stands for several subjects"
            remedy = f"give every instance a box and --set common.{role}.boxes=given, or keep one instance an image"
            yield line("crowded", "hurts", text, remedy)


def partly_boxed(found: Examination) -> Iterator[Line]:
    """A few missing boxes turn cropping off for all."""
    data = {"source": found.source_data, "target": found.target_data}
    for role, _, scale in both(found):
        if 0 < scale.boxed < 1 and data[role].boxes == "auto":
            text = (
                f"{percent(1 - scale.boxed)} of the {role} instances have no box, so whole images are cut out for all"
            )
            yield line("partly_boxed", "hurts", text, "add the missing boxes, or leave these instances out")


def cut_apart(found: Examination) -> Iterator[Line]:
    """One domain cut by boxes, the other whole: subjects of other sizes, other surroundings."""
    modes = found.source.boxes, found.target.boxes
    if (modes[0] == "whole") != (modes[1] == "whole"):
        one, other = ("source", "target") if modes[0] == "whole" else ("target", "source")
        text = (
            f"the {other} is cut by its boxes and the {one} is taken whole, so that subjects differ in size and frame"
        )
        remedy = f"--set common.{other}.boxes=whole where {one} images are close-ups, or give the {one} boxes"
        yield line("cut_apart", "hurts", text, remedy)


def fills(found: Examination) -> tuple[FloatArray, FloatArray]:
    """Longer side of each subject over the side of its crop; the source's keypoints where it has no boxes."""
    source = found.source_scale.fill
    source = np.where(np.isfinite(source), source, found.poses.extent).astype(np.float32)
    target = found.target_scale.fill
    return source[source > 0], target[np.isfinite(target)]


def size(found: Examination) -> Iterator[Line]:
    """Target subjects smaller or larger in their crops than any that training draws."""
    source, target = fills(found)
    if not len(source) or not len(target):
        return
    low, high = found.config.augment.source.scale
    drawn = low * np.percentile(source, 5), high * np.percentile(source, 95)
    middle, ratio = float(np.median(target)), float(np.median(target) / np.median(source))
    if drawn[0] <= middle <= drawn[1]:
        return
    words = f"{1 / ratio:.1f} times smaller" if ratio < 1 else f"{ratio:.1f} times larger"
    text = f"target subjects are {words} in their crops than the source's (median {percent(middle)} of the side; "
    text += f"training shows {percent(float(drawn[0]))} to {percent(float(drawn[1]))})"
    if found.target.boxes == "whole":
        remedy = "--set common.target.boxes=given"
    else:
        remedy = f"--set common.target.padding={found.target_data.padding * ratio:.2f}"
    yield line("size", "hurts", text, remedy)


def small_subjects(found: Examination) -> Iterator[Line]:
    """Subjects that fill so little of their crops that the net hardly sees them."""
    for (role, _, scale), values in zip(both(found), fills(found), strict=True):
        if not len(values) or float(np.median(values)) >= thresholds.SMALL_SUBJECT:
            continue
        share, size = float(np.median(values)), found.config.input_size
        text = f"half of the {role} subjects fill at most {percent(share)} of their crops: "
        text += f"{share * size:.0f} of {size} pixels"
        mode = "given" if scale.boxed == 1 else "from_keypoints"
        yield line("small_subjects", "hurts", text, f"cut closer: --set common.{role}.boxes={mode}")


def unknown_size(found: Examination) -> Iterator[Line]:
    """Whole target images without boxes: nobody can measure how large their subjects are."""
    source, target = fills(found)
    if len(target) or not len(source):
        return
    low, high = (percent(float(end)) for end in np.percentile(source, [5, 95]))
    scale = found.config.augment.source.scale
    text = "the target has no boxes, so the size of its subjects is not known; the source's fill "
    text += f"{low if low == high else f'{low} to {high}'} of their crops, and training draws them {scale[0]:g} to "
    text += f"{scale[1]:g} times as large"
    yield line("unknown_size", "note", text, "compare the pictures; where target subjects are smaller, give boxes")


def small_crops(found: Examination) -> Iterator[Line]:
    """Crops of so few pixels that the net reads interpolation."""
    for role, _, scale in both(found):
        side = float(np.median(scale.side))
        if side < thresholds.SMALL_CROP * found.config.input_size:
            text = f"half of the {role} crops are at most {side:.0f} pixels wide in their images, and the net reads "
            text += f"{found.config.input_size}"
            nearest = max(32, round(side / 32) * 32)
            remedy = "use larger images" + (f", or --set common.input_size={nearest}" if role == "target" else "")
            yield line("small_crops", "hurts", text, remedy)


def bars(found: Examination) -> Iterator[Line]:
    """Black bars around images that are not square, in one domain only."""
    share = {role: 1 - float(np.median(scale.shown)) for role, _, scale in both(found)}
    if abs(share["target"] - share["source"]) > thresholds.BARS:
        more = "target" if share["target"] > share["source"] else "source"
        less = "source" if more == "target" else "target"
        text = (
            f"{percent(share[more])} of a {more} crop is black, outside of its image, and {percent(share[less])} of a "
        )
        text += f"{less} crop: bars of one domain alone give it away"
        remedy = (
            f"give {more} instances boxes inside their images, cut both domains alike, or give the {less} such bars"
        )
        yield line("bars", "hurts", text, remedy)


def aspect(found: Examination) -> Iterator[Line]:
    """Boxes of another shape: subjects that lie or stand another way."""
    ratios = found.source_scale.aspect, found.target_scale.aspect
    if not len(ratios[0]) or not len(ratios[1]):
        return
    one, other = float(np.median(ratios[0])), float(np.median(ratios[1]))
    if max(one / other, other / one) > thresholds.ASPECT:
        shape = "wider" if other > one else "taller"
        text = f"target boxes are {shape} than the source's (median width over height {other:.2f} against {one:.2f})"
        remedy = "render the views and poses of the target, or check that boxes bound the same parts of the body"
        yield line("aspect", "hurts", text, remedy)
