"""An update whose loss or gradient is no finite number: the run stops before it, or leaves the rest of the step out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from poseshift.config import RunConfig
from poseshift.engine import processes
from poseshift.engine.journal import Journal
from poseshift.engine.optimise import refuse_non_finite
from poseshift.engine.run import Run
from poseshift.errors import TrainingError
from poseshift.methods.base import Method, Update

log = logging.getLogger(__name__)


class NonFinite:
    """Watches the updates of one run.

    A step that is left out moves no parameter from that update on, and what its images did to BatchNorm's statistics
    is undone; the average that follows a step is left out too. How many there were stands in the journal, so a run
    that goes on from a checkpoint counts on from there.

    Args:
        config: Of the run: ``on_nonfinite`` and ``nonfinite_limit``.
        method: Whose statistics are kept.
        run: For the manifest.
        journal: Already cut to the checkpoint that the run goes on from.
    """

    def __init__(self, config: RunConfig, method: Method, run: Run, journal: Journal) -> None:
        self.skip, self.limit = config.on_nonfinite == "skip", config.nonfinite_limit
        self.run, self.journal = run, journal
        norms = [module for module in method.modules() if isinstance(module, _BatchNorm)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self._before: list[Tensor] = []
        self.count = sum("skipped" in line for line in run.metrics()) if self.skip else 0

    def begin_step(self) -> None:
        """Keeps what :meth:`leaves_out` goes back to."""
        if self.skip:
            self._before = [buffer.clone() for buffer in self._statistics]
            self.journal.begin_step()

    def leaves_out(self, norm: Tensor, update: Update, step: int, images: Callable[[], list[str]]) -> bool:
        """Whether the rest of this step is to be left out, as it now is.

        Args:
            norm: Of the gradient of ``update``.
            update: Not stepped yet.
            step: Its number.
            images: Names some of the step's images.

        Raises:
            TrainingError: It is not finite, and the run is to stop, or too many steps were left out.
        """
        try:
            refuse_non_finite(norm, update, step, images)
        except TrainingError as error:
            text = _of_all(str(error), update)
            if not self.skip:
                raise TrainingError(text) from error
            self.count += 1
            if self.count > self.limit:
                raise TrainingError(f"{text} ({self.limit} steps were left out before, the most allowed)") from error
            self._leave_out(step, text.partition("; nothing was stepped")[0])
            return True
        return False

    def _leave_out(self, step: int, text: str) -> None:
        for buffer, before in zip(self._statistics, self._before, strict=True):
            buffer.copy_(before)
        self.journal.abandon_step()
        self.journal.write({"step": step + 1, "skipped": text})
        if processes.main():
            self.run.note(skipped_steps=self.count)
        log.warning("%s; the step is left out, number %d of at most %d", text, self.count, self.limit)


def _of_all(text: str, update: Update) -> str:
    """The text of the process whose own terms are not finite, which all processes then say."""
    own = any(not bool(term.value.detach().isfinite()) for term in update.terms.values())
    said = processes.gathered((own, text))
    return next((one for bad, one in said if bad), said[0][1])
