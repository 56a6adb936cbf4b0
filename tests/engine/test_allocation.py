from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from poseshift.engine import allocation

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")

FAULTS = """
import ctypes, resource, sys
from poseshift.engine import allocation

print(allocation.keep())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def turn():
    blocks = [libc.malloc(ctypes.c_size_t(30 * 2**20)) for _ in range(2)]
    for block in blocks:
        ctypes.memset(block, 1, 30 * 2**20)
    for block in blocks:
        libc.free(block)

turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the pages that five turns with the same blocks ask the system for."""
    clean = {name: value for name, value in os.environ.items() if name not in allocation._SAID_BY_USER}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=60, env=clean | environment
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


def test_blocks_that_were_freed_are_not_asked_for_again() -> None:
    kept, faults = _faults()
    assert kept
    assert faults < 100


def test_what_the_user_said_of_the_allocator_counts() -> None:
    """A block of 30 MiB has 7,680 pages."""
    kept, faults = _faults(MALLOC_TRIM_THRESHOLD_="1048576")
    assert not kept
    assert faults > 5 * 7680
