"""Commands that `torchrun` starts: some share their work among processes, the others refuse to do it several times."""

from __future__ import annotations

import os

from poseshift.errors import UsageError

SHARED = ("adapt", "train", "evaluate", "predict")


def refuse_torchrun(what: str) -> None:
    """Raises :class:`UsageError` where several processes were started; the first one says why.

    Args:
        what: That one process does alone.
    """
    count, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK")
    if rank is None or count == "1":
        return
    refused = UsageError(
        f"{what}: is the work of one process, and torchrun started {count}; start it without torchrun, which is for "
        f"{', '.join(SHARED)} (studies train several runs at a time with --jobs)"
    )
    refused.said = rank != "0"
    raise refused
