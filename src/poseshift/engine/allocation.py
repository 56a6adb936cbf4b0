"""Memory that a process keeps between the steps of training and the batches of a prediction.

glibc gives large blocks back to the system as soon as they are free, and the system clears each page anew when it is
asked for again. A step frees and asks for the same hundreds of megabytes each time. Each thread
would have a heap of its own, too, which begins empty. Elsewhere, and with another allocator
preloaded, nothing is changed.
"""

from __future__ import annotations

import ctypes
import os
import platform

KEPT = 2**30
"""Bytes: blocks up to that size come from memory that is kept, and as much of it may lie free."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_SAID_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep() -> bool:
    """Asks the C library to keep freed memory for this process; whoever set one of its own variables decides instead.

    Returns:
        Whether it does.
    """
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in _SAID_BY_USER):
        return False
    library = ctypes.CDLL(None)
    asked = ((_MMAP_THRESHOLD, KEPT), (_TRIM_THRESHOLD, KEPT), (_ARENA_MAX, 1))  # one heap for all threads
    return all(library.mallopt(*one) for one in asked)
