"""Text files as people and tools write them: their bytes, JSON, YAML, and the image paths that they name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from poseshift.errors import DataError, FormatError

_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
_NO_PATH = re.compile(rb"[\x00-\x1f]|[^/]{256}|^.{3000}")


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        DataError: The file cannot be read.
        FormatError: It is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{str(file)!r} is not UTF-8 ({error.reason}, byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(
            f"{str(file)!r} cannot be read ({error.strerror}); check the path and its permissions"
        ) from error


def read_json(file: Path, kind: type | None = None, *, remedy: str = "fetch the file again") -> Any:
    """The content of a JSON file.

    Args:
        file: Which.
        kind: What its outermost value must be, if that matters here.
        remedy: What the user is to do, for messages.

    Raises:
        DataError: It cannot be read.
        FormatError: It is no JSON, is nested too deeply, or its outermost value is something else.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(
            f"{str(file)!r} cannot be read ({error.strerror}); check its permissions, or {remedy}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{str(file)!r} is no JSON ({error}); {remedy}") from error
    if kind is not None and not isinstance(content, kind):
        found, expected = (_KINDS.get(one, one.__name__) for one in (type(content), kind))
        raise FormatError(f"{str(file)!r} holds {found}, expected {expected}; {remedy}")
    return content


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; its keys as text.

    Raises:
        DataError: The file cannot be read.
        FormatError: It is no YAML, or no mapping.
    """
    import yaml

    text = read_text(file)
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # the constructors of dates and numbers raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{str(file)!r} is no YAML ({reason}); correct it") from error
    if not isinstance(content, dict):
        raise FormatError(f"{str(file)!r} holds a {type(content).__name__}, expected keys and values; correct it")
    return {str(key): value for key, value in content.items()}


def image_path(text: str) -> str:
    """A path as a file names it, with forward slashes."""
    path = text.replace("\\", "/")
    while path.startswith("./"):
        path = path[2:]
    return path


def as_spelt(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths as their files below ``root`` are spelt: where none is there, the one that differs in case alone.

    Labels made on systems to which ``a.JPG`` and ``a.jpg`` are the same name such files.
    """
    listings: dict[str, tuple[set[str], dict[str, list[str]]]] = {}
    spelt = []
    for path in paths:
        folder, slash, name = path.rpartition("/")
        if folder not in listings:
            there = os.listdir(root / folder) if (root / folder).is_dir() else []
            alike: dict[str, list[str]] = {}
            for one in there:
                alike.setdefault(one.casefold(), []).append(one)
            listings[folder] = set(there), alike
        exact, alike = listings[folder]
        others = [] if name in exact else alike.get(name.casefold(), [])
        spelt.append(f"{folder}{slash}{others[0]}" if len(others) == 1 else path)
    return tuple(spelt)


def check_image_paths(file: Path, paths: Iterable[str]) -> None:
    """Refuse what no file system can hold, which is what broken files have where a path should be.

    Raises:
        FormatError: A path is empty, longer than a name may be, or holds a control character.
    """
    for path in paths:
        if not path or path.endswith("/") or _NO_PATH.search(path.encode("utf-8", "surrogatepass")):
            shown = path if len(path) < 60 else f"{path[:60]}…"
            raise FormatError(f"{str(file)!r}: {shown!r} is no path of an image; correct it or write the file again")
