"""The few exceptions a user meets.

::

    PoseshiftError                 exit code 1
    ├── UsageError                 exit code 2   a wrong option, name or combination
    │   └── ConfigError                          a configuration that does not validate
    ├── DataError                  exit code 3   files that are missing, broken or do not fit
    │   ├── FormatError                          a file that is not what its format says
    │   └── CheckpointError                      a run folder or checkpoint that cannot be used
    ├── TrainingError              exit code 1   training cannot go on (a non-finite loss)
    ├── ExportError                exit code 1   a net that cannot be exported, or not exactly
    ├── Interrupted                exit code 130 after SIGINT, 143 after SIGTERM, 138 after SIGUSR1; the run was saved
    └── EndedElsewhere             exit code of another process of the run, which says why

Each message is one line that says what was found, what was expected, where, and what to do next.
"""

from __future__ import annotations


class PoseshiftError(Exception):
    """Base of every error that poseshift raises on purpose."""

    exit_code = 1
    said = False
    """Whether another process says it."""


class UsageError(PoseshiftError):
    """An option, a name or a combination of options that cannot work."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that does not validate."""


class DataError(PoseshiftError):
    """Data that is missing, broken or does not fit together."""

    exit_code = 3


class FormatError(DataError):
    """A file whose content is not what its format says."""


class CheckpointError(DataError):
    """A run folder or a checkpoint that cannot be used."""


class TrainingError(PoseshiftError):
    """Training cannot go on, for example because a loss is not finite."""


class ExportError(PoseshiftError):
    """A net that cannot be exported, or whose export does not agree with the run; nothing was written."""


class Interrupted(PoseshiftError):
    """Training was stopped by a signal, after its step was finished and saved."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal, self.exit_code = signal, 128 + signal

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        """So that one process can hand it to another."""
        return type(self), (self.signal, str(self))


class EndedElsewhere(PoseshiftError):
    """Another process of this run could not go on, and says why; this one ends with it."""

    said = True

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
