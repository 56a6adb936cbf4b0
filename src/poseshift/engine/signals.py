"""Stop when asked: finish the step and save first."""

from __future__ import annotations

import logging
import signal
from typing import Any

log = logging.getLogger(__name__)


class Signals:
    """SIGINT and SIGTERM are noted; a second one ends the process at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:
                log.debug("not the main thread: signals are left alone")
        return self

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None:
            raise SystemExit(128 + number)
        self.received = number
        log.warning("signal %d: finishing this step and saving", number)

    def __exit__(self, *details: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
