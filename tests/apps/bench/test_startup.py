from __future__ import annotations

import pytest

from poseshift.apps.bench import startup


def test_what_imports_torch_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "SCRIPTS", {"import": "import sys", "help": "import sys; sys.modules['torch'] = sys"})
    found = startup.measure(quick=True)
    assert found["start_torch"].value == 1
    assert found["start_torch"].detail["who"] == "help"
    assert found["start_import"].value > 0
