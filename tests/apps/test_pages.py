from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from poseshift.apps import pages
from poseshift.errors import UsageError


def test_names_break_after_underscores_and_slashes_alone() -> None:
    template = pages.environment().from_string("{{ name | breakable }}")
    assert template.render(name="a/left_<b>") == "a/<wbr>left_<wbr>&lt;b&gt;"


def test_text_is_escaped_and_nothing_is_left_out() -> None:
    environment = pages.environment()
    assert environment.from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ name }}").render()


def test_a_folder_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder, expected a file to write; give for example .*page\.html"):
        pages.write(tmp_path, "nothing.html.j2")
