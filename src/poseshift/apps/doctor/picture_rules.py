"""Rules about pictures: how they look, and how far the domains lie apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from poseshift.apps.doctor import thresholds
from poseshift.apps.doctor.examination import Examination
from poseshift.apps.doctor.gap import LEAST
from poseshift.apps.doctor.lines import Line, line, percent
from poseshift.apps.doctor.looks import Look

WORDS = {
    "brightness": ("darker", "brighter"),
    "contrast": ("flatter", "harder in contrast"),
    "saturation": ("paler", "more colourful"),
    "warmth": ("bluer", "redder"),
    "tint": ("more magenta", "greener"),
    "sharpness": ("blurrier", "sharper"),
    "grain": ("smoother", "grainier (noise, or texture as fine as a pixel)"),
}
"""What lies below and above."""
REMEDIES = {
    "brightness": "change the light of the renderings",
    "contrast": "change light and materials of the renderings",
    "saturation": "change the colours of the renderings (grey ones for grey photographs)",
    "warmth": "change the colour of the light in the renderings, or balance the target's whites",
    "tint": "change the colour of the light in the renderings, or balance the target's whites",
    "sharpness": "render at the target's resolution, with textures as fine as its own",
    "grain": "render with textures as fine as the target's, or with its noise",
}


def appearance(found: Examination) -> Iterator[Line]:
    """Looks that no augmentation of the source reaches, those furthest away first."""
    for look in sorted(found.looks, key=lambda look: -max(look.below, look.above)):
        for share, word, border in (
            (look.below, WORDS[look.name][0], look.low),
            (look.above, WORDS[look.name][1], look.high),
        ):
            if share > thresholds.BEYOND:
                text = f"the target is {word} than training shows: {percent(share)} of its crops lie beyond "
                text += f"{border:.2f} in {look.name} (median {np.median(look.target):.2f}, source "
                text += f"{np.median(look.source):.2f})"
                yield line(f"look_{look.name}", "hurts", text, _look_remedy(look))


def _look_remedy(look: Look) -> str:
    if look.setting is None:
        return f"augmentation does not reach it; {REMEDIES[look.name]}"
    views = " ".join(f"--set common.augment.{view}.{look.knob}={look.setting:g}" for view in ("source", "student"))
    return f"draw wider: {views}"


def domain_gap(found: Examination) -> Iterator[Line]:
    """How far the domains lie apart, and by what."""
    gap = found.gap
    if gap is None:
        count = min(len(found.source), len(found.target))
        text = f"the gap was not measured: {count} images in the smaller domain, {LEAST} are needed"
        yield line("domain_gap", "note", text, "give more images")
        return
    told = f"AUC {gap.auc.value:.2f} ({gap.auc.low:.2f} to {gap.auc.high:.2f}; halves of the source: "
    told += f"{gap.null_auc.value:.2f}, up to {gap.null_auc.high:.2f})"
    if gap.auc.low <= gap.null_auc.high:
        text = f"source and target can hardly be told apart: {told}"
        remedy = (
            "adaptation has little to gain; make sure that the target is not the source, and train source-only first"
        )
        yield line("domain_gap", "note", text, remedy)
        return
    parts = sorted(gap.parts.items(), key=lambda item: -item[1])
    text = f"a linear classifier tells source from target: {told}; size of the gap {gap.size.value:.2f} of 1, "
    text += f"most in {parts[0][0]} ({parts[0][1]:.2f}), least in {parts[-1][0]} ({parts[-1][1]:.2f})"
    yield line("domain_gap", "note", text, "this is what adaptation is for; closer renderings leave it less to do")
