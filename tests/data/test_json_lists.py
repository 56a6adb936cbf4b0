from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseshift.data import json_lists
from poseshift.data.json_lists import read_lists
from poseshift.data.texts import read_json
from poseshift.errors import FormatError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c", "", "ö"]), VALUES | st.lists(VALUES, max_size=4))
LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 1}, {"separators": (",", ":")}, {"separators": (" ,\n\t", " :\r\n")}]


def cut(element: Any) -> tuple[str, Any]:
    return "cut", element


def expected(content: Any) -> Any:
    """What the reader is to return, from what the standard library returns."""
    if not isinstance(content, dict):
        return content
    return {
        key: [cut(one) for one in value] if key in ("a", "b") and isinstance(value, list) else value
        for key, value in content.items()
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "lists.json"


@settings(max_examples=80, deadline=None)
@given(document=DOCUMENTS, layout=st.sampled_from(LAYOUTS), ascii_only=st.booleans(), code=st.sampled_from([8, 16]))
def test_it_reads_what_the_standard_library_reads(
    file: Path, document: Any, layout: dict[str, Any], ascii_only: bool, code: int
) -> None:
    text = f" {json.dumps(document, ensure_ascii=ascii_only, **layout)}\n"
    file.write_bytes(text.encode(f"utf-{code}", "surrogatepass"))
    found = json_lists._parse(file, {"a": cut, "b": cut})
    assert found == read_lists(file, {"a": cut, "b": cut}, remedy="") == expected(read_json(file))


@settings(max_examples=150, deadline=None)
@given(document=DOCUMENTS, layout=st.sampled_from(LAYOUTS), data=st.data())
def test_it_refuses_what_the_standard_library_refuses(
    file: Path, document: Any, layout: dict[str, Any], data: st.DataObject
) -> None:
    """One character of a document changed, removed or doubled; the message is the standard reader's too."""
    text = json.dumps(document, **layout)
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.sampled_from(["", text[place] * 2, *'{}[]:,"\\x1e-.N ']))
    file.write_text(text[:place] + new + text[place + 1 :], encoding="utf-8")

    def outcome(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except FormatError as error:
            return str(error)

    wanted = outcome(lambda: expected(read_json(file, remedy="mend it")))
    assert outcome(lambda: read_lists(file, {"a": cut, "b": cut}, remedy="mend it")) == wanted


@pytest.mark.parametrize(
    "text",
    ['{"a": [1,]}', '{"a": [,1]}', '{"a": [1 2]}', '{"a": [1]} x', "{1: 2}", "{[1]: 2}", '{"a": [1]', '{"a"}', "{,}"],
)
def test_what_only_looks_like_a_list_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(FormatError, match="is no JSON"):
        read_lists(file, {"a": cut}, remedy="")


def test_oddities_of_the_standard_library_stay(file: Path) -> None:
    file.write_text('\ufeff{"a": [NaN, -Infinity], "a": [1], "b": 3, "c": [2]}', encoding="utf-8")
    assert read_lists(file, {"a": cut, "b": cut}, remedy="") == {"a": [cut(1)], "b": 3, "c": [2]}


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": ' + "[" * 200_000, '{"c": ' + '{"a":' * 200_000])
def test_deep_nesting_is_our_error(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(FormatError, match="is no JSON"):
        read_lists(file, {"a": cut}, remedy="")


def test_elements_are_cut_one_by_one(file: Path) -> None:
    """No two whole elements are alive at once, which is what the module is for."""
    alive: set[int] = set()

    class Row(dict[str, Any]):
        pass

    def watch(element: Any) -> int:
        alive.add(id(element["long"]))
        return len(element["long"])

    file.write_text(json.dumps({"a": [{"long": list(range(1000, 2000))} for _ in range(50)]}))
    assert read_lists(file, {"a": watch}, remedy="")["a"] == [1000] * 50
    assert len(alive) < 10
