from __future__ import annotations

import mmap
import sys

import pytest

from poseshift.apps.bench import memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_process_holds_is_seen() -> None:
    """Memory that is asked of the system, since the C library may have kept some from an earlier test."""
    size, before = 32 * 2**20, memory.resident()
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        for page in range(0, size, mmap.PAGESIZE):
            held[page] = 1
        grown = memory.resident() - before
    assert grown == pytest.approx(size, rel=0.2)


def test_growth_is_late_less_early(monkeypatch: pytest.MonkeyPatch) -> None:
    mib = 2**20
    seen = [300 * mib, 310 * mib, 320 * mib, 320 * mib, *[321 * mib] * 5, 325 * mib]
    said = f'noise\n{{"before": {200 * mib}, "needed": {20 * mib}, "seen": {seen}}}\n'

    class Done:
        stdout = said

    monkeypatch.setattr(memory.subprocess, "run", lambda *words, **options: Done)
    found = memory.measure(quick=True)
    assert (found["memory"].value, found["memory_growth"].value) == (305, 5)
    assert found["memory"].detail["needed_mib"] == 20
