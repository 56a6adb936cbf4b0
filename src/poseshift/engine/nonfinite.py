"""An update whose loss or gradient is no finite number: the run stops before it, or leaves the rest of the step out.

On a CPU the host looks before each update is taken. On a GPU that would empty its queue at every update, so there the
device decides: a flag, which the optimisers' kernels read, leaves parameters and moments as they are. What the host
needs to know follows by a copy that it does not wait for, and it looks one step later, when the next step is in the
queue, or before anything is written. It then names the step, the term and the images as it would have before.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from poseshift.config import RunConfig
from poseshift.engine import processes
from poseshift.engine.journal import Journal
from poseshift.engine.optimise import Optimisers
from poseshift.engine.run import Run
from poseshift.errors import TrainingError
from poseshift.methods.base import Method, Update
from poseshift.ops import collective

log = logging.getLogger(__name__)

Images = Callable[[], list[str]]


def runs_ahead(device: torch.device) -> bool:
    """Whether the host puts work into a queue of the device and goes on."""
    return device.type == "cuda"


@dataclass(frozen=True)
class Look:
    """One update, before it was taken.

    Attributes:
        step: Its step.
        names: Of its terms.
        numbers: What must be finite, then the terms' values; on the host once ``ready`` has come.
        ready: None where they are there already.
        images: Names some of the step's images.
    """

    step: int
    names: tuple[str, ...]
    numbers: Tensor
    ready: torch.cuda.Event | None
    images: Images

    def found(self) -> str | None:
        """What is not finite, in words; None where all is."""
        if self.ready is not None:
            self.ready.synchronize()
        watched, *found = self.numbers.tolist()
        if math.isfinite(watched):
            return None
        values = dict(zip(self.names, found, strict=True))
        own = [name for name, value in values.items() if not math.isfinite(value)]
        text = f"step {self.step}: {', '.join(own or ['the gradient'])} not finite ({values}); images: "
        return _of_all(text + ", ".join(self.images()), own=bool(own))


class NonFinite:
    """Watches the updates of one run.

    A step that is left out moves no parameter from that update on, and what its images did to buffers, such as
    BatchNorm's statistics, is undone; the average that follows a step is left out too. How many there were stands in
    the journal, so a run that goes on from a checkpoint counts on from there.

    Args:
        config: Of the run: ``on_nonfinite`` and ``nonfinite_limit``.
        method: Whose buffers are kept.
        optimisers: Of the method.
        run: For the manifest.
        journal: Already cut to the checkpoint that the run goes on from; before it writes a line, :meth:`settle`.
        device: Where the method is.

    Attributes:
        flag: Where the device decides, 1 from the first update that is not to be taken on, else 0; elsewhere None.
    """

    def __init__(
        self,
        config: RunConfig,
        method: Method,
        optimisers: Optimisers,
        run: Run,
        journal: Journal,
        device: torch.device,
    ) -> None:
        self.skip, self.limit = config.on_nonfinite == "skip", config.nonfinite_limit
        self.run, self.journal = run, journal
        self.count = sum("skipped" in line for line in run.metrics()) if self.skip else 0
        journal.settle = self.settle
        self.flag = torch.zeros((), device=device) if runs_ahead(device) else None
        if self.flag is not None:
            optimisers.obey(self.flag)
        self._kept = _by_type([*method.buffers(), *([] if self.flag is None else _averages(method, optimisers))])
        self._before: list[Tensor] = []
        self._looks: deque[Look] = deque()
        self._step = 0
        self._images: Images = list

    def begin_step(self, step: int, images: Images) -> None:
        """Keeps what a step that is left out goes back to.

        Args:
            step: Its number.
            images: Names some of its images.
        """
        self._step, self._images = step, images
        self.journal.begin_step(step)
        if self.skip:
            self._before = [_flat(tensors) for tensors in self._kept]
            if self.flag is not None:
                self.flag.zero_()

    @torch.no_grad()
    def leaves_out(self, norm: Tensor, update: Update) -> bool:
        """Whether the rest of this step is to be left out, as it now is; never where the device decides.

        Args:
            norm: Of the gradient of ``update``.
            update: Not stepped yet.

        Raises:
            TrainingError: It is not finite, and the run is to stop, or too many steps were left out.
        """
        watched = norm + collective.mean(update.total)
        finite = watched.isfinite()
        if self.flag is not None:
            torch.maximum(self.flag, (~finite).to(self.flag.dtype), out=self.flag)
            self._looks.append(self._look(watched, update))
            return False
        if bool(finite):
            return False
        self._settle(self._look(watched, update))
        self._put_back()
        return True

    def end_step(self) -> None:
        """What follows a step that was gone through to its end. Raises as :meth:`leaves_out`, of the step before."""
        if self.flag is not None:
            if self.skip:
                self._put_back()
            self._settle_before(self._step)

    def settle(self) -> None:
        """Looks at every update so far. Raises as :meth:`leaves_out`."""
        self._settle_before(self._step + 1)

    def _look(self, watched: Tensor, update: Update) -> Look:
        values = [watched, *(term.value for term in update.terms.values())]
        numbers = torch.stack([value.detach().double() for value in values]).to("cpu", non_blocking=True)
        ready = None
        if watched.is_cuda:
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
        return Look(self._step, tuple(update.terms), numbers, ready, self._images)

    def _settle_before(self, step: int) -> None:
        while self._looks and self._looks[0].step < step:
            look = self._looks.popleft()
            if not self._settle(look):
                self._looks = deque(other for other in self._looks if other.step != look.step)

    def _settle(self, look: Look) -> bool:
        """Whether an update was taken; raises as :meth:`leaves_out`."""
        text = look.found()
        if text is None:
            return True
        told = f"{text}; nothing was stepped or saved: lower optimiser.rate, set gradient_clip, or look at these images"
        if not self.skip:
            raise TrainingError(told)
        self.count += 1
        if self.count > self.limit:
            raise TrainingError(f"{told} ({self.limit} steps were left out before, the most allowed)")
        self.journal.take_back(look.step)
        self.journal.write({"step": look.step + 1, "skipped": text})
        if processes.main():
            self.run.note(skipped_steps=self.count)
        log.warning("%s; the step is left out, number %d of at most %d", text, self.count, self.limit)
        return False

    @torch.no_grad()
    def _put_back(self) -> None:
        """What was kept when the step began; where the device decides, only if it has raised the flag."""
        for tensors, before in zip(self._kept, self._before, strict=True):
            flat = before if self.flag is None else torch.where(self.flag > 0, before, _flat(tensors))
            parts = torch.split(flat, [one.numel() for one in tensors])
            torch._foreach_copy_(tensors, [part.view_as(one) for part, one in zip(parts, tensors, strict=True)])


def _averages(method: Method, optimisers: Optimisers) -> list[Tensor]:
    """Parameters that no optimiser moves; what follows a step may."""
    stepped = {id(p) for one in optimisers.optimisers.values() for group in one.param_groups for p in group["params"]}
    return [p for p in method.parameters() if id(p) not in stepped]


def _by_type(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    found: dict[torch.dtype, list[Tensor]] = {}
    for one in tensors:
        found.setdefault(one.dtype, []).append(one)
    return list(found.values())


@torch.no_grad()
def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([one.flatten() for one in tensors])


def _of_all(text: str, *, own: bool) -> str:
    """The text of the first process whose own terms are not finite, which all processes then say."""
    said = processes.gathered((own, text))
    return next((one for bad, one in said if bad), said[0][1])
