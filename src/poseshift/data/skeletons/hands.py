"""Skeletons of hands."""

from __future__ import annotations

from dataclasses import replace

from poseshift.data.skeletons.names import known

FINGERS = ("index", "middle", "ring", "little")

_PLAIN = known(
    "hand21",
    "wrist thumb_cmc thumb_mcp thumb_ip thumb_tip "
    + " ".join(f"{finger}_{joint}" for finger in FINGERS for joint in ("mcp", "pip", "dip", "tip")),
    {},
    "wrist-thumb_cmc thumb_cmc-thumb_mcp thumb_mcp-thumb_ip thumb_ip-thumb_tip "
    + " ".join(f"wrist-{f}_mcp {f}_mcp-{f}_pip {f}_pip-{f}_dip {f}_dip-{f}_tip" for f in FINGERS),
)

HAND21 = replace(
    _PLAIN,
    groups={name: tuple(range(first, 21, 4)) for first, name in enumerate(("MCP", "PIP", "DIP", "fingertip"), start=1)},
)
"""One hand, 21 joints: the wrist, then thumb to little finger, 4 each from base to tip.

The groups are the columns of the field's tables, which count joints from the base of each finger: the thumb's CMC, MCP
and IP stand under MCP, PIP and DIP. The mean is over all 21 joints. A mirrored hand is the other hand with the same
joints, so no pair swaps.
"""
