"""JSON files that are an object with long lists: each element is cut down as soon as it is parsed.

A file of a million annotations, parsed whole, is some hundred million Python objects, most of which nobody needs.
Parsed element by element with the standard library's own decoder, they are freed while the processor's cache still
holds them, which takes less time than ``json.load`` and a fraction of its memory. What is no JSON is left to
:func:`poseshift.data.texts.read_json`, which says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from poseshift.data.texts import read_json

Cut = Callable[[Any], Any]
"""What is kept of an element; a function of it alone."""

_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_NO_JSON = (ValueError, RecursionError, IndexError, OSError)


def read_lists(file: Path, cuts: Mapping[str, Cut], *, remedy: str) -> Any:
    """The content of a JSON file as :func:`read_json` returns it, but for its long lists.

    Args:
        file: Which.
        cuts: Key of the outermost object to what is kept of each element, where its value is a list.
        remedy: What the user is to do, for messages.

    Raises:
        DataError: The file cannot be read.
        FormatError: It is no JSON or is nested too deeply; or what a cut raises.
    """
    try:
        return _parse(file, cuts)
    except _NO_JSON:
        content = read_json(file, remedy=remedy)
    if isinstance(content, dict):
        for key, cut in cuts.items():
            if isinstance(content.get(key), list):
                content[key] = [cut(element) for element in content[key]]
    return content


def _parse(file: Path, cuts: Mapping[str, Cut]) -> dict[str, Any]:
    """The outermost object. Raises one of ``_NO_JSON`` wherever the text is anything else."""
    raw = file.read_bytes()
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    del raw
    scan = json.JSONDecoder().raw_decode
    content: dict[str, Any] = {}
    at = _after(text, _space(text, 0), "{")
    while text[at] != "}":
        key, at = scan(text, at)
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r}")
        at = _after(text, _space(text, at), ":")
        if key in cuts and text[at] == "[":
            content[key], at = _elements(scan, text, at, cuts[key])
        else:
            content[key], at = scan(text, at)
        at = _next(text, at, "}")
    if _space(text, at + 1) != len(text):
        raise ValueError("more after the object")
    return content


def _elements(scan: Callable[[str, int], tuple[Any, int]], text: str, at: int, cut: Cut) -> tuple[list[Any], int]:
    """The list whose bracket stands at ``at``, and the place after it."""
    kept: list[Any] = []
    at = _after(text, at, "[")
    while text[at] != "]":
        element, at = scan(text, at)
        kept.append(cut(element))
        at = _next(text, at, "]")
    return kept, at + 1


def _space(text: str, at: int) -> int:
    """The place after white space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _after(text: str, at: int, mark: str) -> int:
    """The next place that is not white space, after a mark that must stand at ``at``."""
    if text[at] != mark:
        raise ValueError(f"{text[at]!r} instead of {mark!r}")
    return _space(text, at + 1)


def _next(text: str, at: int, end: str) -> int:
    """After an element: the place of the next one, or of the closing mark."""
    if comma := _COMMA.match(text, at):
        if text[comma.end()] == end:
            raise ValueError(f"a comma before {end!r}")
        return comma.end()
    at = _space(text, at)
    if text[at] != end:
        raise ValueError(f"{text[at]!r} instead of a comma or {end!r}")
    return at
