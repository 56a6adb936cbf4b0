"""The loop: batches to updates to steps, in the order of time."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from poseshift.batches import Batch
from poseshift.config import RunConfig, parse
from poseshift.data.loaders import Batches, Share
from poseshift.draws import generator
from poseshift.engine import (
    allocation,
    compiling,
    devices,
    estimate,
    parents,
    poses,
    processes,
    resuming,
    saving,
    scoring,
    select,
    setup,
    trust,
)  # fmt: skip
from poseshift.engine import run as runs
from poseshift.engine.data import ids_of
from poseshift.engine.journal import Journal, logged_to
from poseshift.engine.nonfinite import NonFinite
from poseshift.engine.optimise import Optimisers, term_norms
from poseshift.engine.progress import Progress
from poseshift.engine.quarantine import Quarantined
from poseshift.engine.run import Run
from poseshift.engine.signals import Signals, ignored, requeue
from poseshift.errors import CheckpointError, Interrupted, PoseshiftError, TrainingError
from poseshift.methods.base import Method, Update
from poseshift.models import synced_norms
from poseshift.ops import collective

log = logging.getLogger(__name__)


def train(
    config: RunConfig | Mapping[str, Any],
    out: str | Path,
    *,
    command: str = "",
    quiet: bool = False,
    store: setup.CropStore | None = None,
) -> Run:
    """Trains one run, or goes on with it: the same call on an unfinished folder resumes from its last checkpoint.

    Args:
        config: A :class:`RunConfig` or a mapping that validates as one.
        out: The run folder.
        command: Noted in the manifest.
        quiet: No progress bar.
        store: Decoded crops to share with other runs of this process on the same data.

    Returns:
        The finished run.

    Raises:
        ConfigError, UsageError, DataError: Something does not fit; nothing was trained.
        TrainingError: A loss or gradient is not finite, or memory ran out; earlier checkpoints are intact.
        Interrupted: After SIGINT, SIGTERM or SIGUSR1; the run was saved and can go on.
    """
    settings: RunConfig = config if isinstance(config, RunConfig) else parse(config)
    path = Path(out)
    processes.meet()
    with processes.together():
        existing = resuming.begun(path, settings)
        processes.barrier()  # all have looked before the first makes anything
    if existing is not None and existing.finished:
        log.info("%s is finished already", path)
        return existing
    return Session(settings, path, existing, command=command, quiet=quiet, store=store).run_to_end()


class Session:
    """One process's work on one run. Of several the first alone writes; see :mod:`poseshift.engine.processes`."""

    def __init__(
        self,
        config: RunConfig,
        path: Path,
        existing: Run | None,
        *,
        command: str,
        quiet: bool,
        store: setup.CropStore | None = None,
    ) -> None:
        self.config, self.quiet = config, quiet or not processes.main()
        allocation.keep()
        try:
            with processes.together():
                self.fabric = devices.fabric(processes.device(config.device), config.precision)
                self.data = setup.data_of(config, store, begun=existing)
                self.run = existing or processes.main_first(lambda: self._create(path, command))
                if existing is not None or not processes.main():  # the others' data is that of the first
                    setup.with_same_data(self.run, self.data)
                self._prepare()
        except PoseshiftError:
            made = existing is None and processes.main() and path.is_dir()
            if made and not {p.name for p in path.iterdir()} - runs.OWN:
                shutil.rmtree(path)
            raise

    def _prepare(self) -> None:
        config = self.config
        self.method: Method = setup.method_of(config, self.run, self.data)
        self.fabric.to_device(self.method)
        compiling.prepare(self.method, config)
        if processes.size() > 1:
            synced_norms.synchronise(self.method)
        source = self.data.source if self.method.predictor is not None else None
        known = processes.main_first(lambda: poses.of_run(self.run.path, source))
        self.known = None if known is None else torch.from_numpy(known).to(self.fabric.device)
        self.optimisers = Optimisers(self.method, config.optimiser, clip=config.gradient_clip)
        streams = {"source": self.data.source, "target": self.data.target}
        given = {name: crops for name, crops in streams.items() if crops is not None}
        self.quarantined = Quarantined(self.run.path, given)
        share = Share.of(config.batch_size, rank=processes.rank(), processes=processes.size())
        self.batches = self._batches(share, workers=config.workers)
        self.journal = Journal(self.run.path, every=config.log_every)
        self.trust = trust.Examiner(self.data, config, self.run, self.journal.write)
        self.progress = Progress(config.steps, label=self.run.path.name, quiet=self.quiet)
        take_up = partial(resuming.take_up, self.run, self.method, self.optimisers, self.journal, config)
        self.found = processes.main_first(take_up)
        self.start = 0 if self.found is None else self.found.step
        self.nonfinite = NonFinite(config, self.method, self.optimisers, self.run, self.journal, self.fabric.device)

    def _create(self, path: Path, command: str) -> Run:
        if not processes.main():
            return runs.open_run(path)
        config = self.config
        extra = {
            "device": str(self.fabric.device),
            "processes": processes.size(),
            **self.data.entries,
            "selection": select.rule(config, targets=self.data.target is not None),
            parents.LABELS: parents.label_use(config),
            parents.LICENCES: parents.licences(config),
        }
        skeleton = self.data.skeleton
        copied = partial(parents.copy_parents, config, skeleton=skeleton)
        return runs.create(path, config, skeleton=skeleton, command=command, extra=extra, parents=copied)

    def _batches(self, share: Share, *, workers: int) -> Batches:
        place, failed = self.fabric.device, self.quarantined.add
        return setup.batches_of(self.config, self.data, share, device=place, workers=workers, on_failed=failed)

    def run_to_end(self) -> Run:
        """All steps that are left."""
        self._note(outcome="running", sessions=self.run.manifest.get("sessions", 0) + 1)
        try:
            with processes.together():
                self._logged()
        except PoseshiftError as error:
            self._note_failure(error)
            raise
        except (MemoryError, RuntimeError) as error:
            if not devices.out_of_memory(error):
                raise
            told = TrainingError(
                f"{self.run.path}: out of memory on {self.fabric.device}; lower batch_size, input_size or cache_mib, "
                "or take a smaller backbone, then train into another folder; what was saved is intact"
            )
            self._note_failure(told)
            raise told from error
        processes.barrier()
        return self.run

    def _logged(self) -> None:
        with logged_to(self.run.path / "log.txt") if processes.main() else nullcontext():
            name, device = self.config.method.name, self.fabric.device
            log.info("%s: %s, steps %d to %d on %s", self.run.path, name, self.start, self.config.steps, device)
            if self.data.matched is not None and self.method.predictor is not None:
                log.info("%s", self.data.matched.table())
            self._loop()
            if processes.main():
                found = select.verdict(self.run, self.config) | trust.noted(self.run)
                self._note(outcome="finished", end=datetime.now(UTC).isoformat(timespec="milliseconds"), **found)

    def _note(self, **changes: Any) -> None:
        if processes.main():
            self.run.note(**changes)

    def _note_failure(self, error: PoseshiftError) -> None:
        outcome = str(error) if isinstance(error, Interrupted) else f"failed: {error}"
        with ignored(), suppress(CheckpointError):  # a full disk: the error itself says so already
            self._note(outcome=outcome)
        if isinstance(error, Interrupted):
            processes.barrier()  # who ends first is taken for the one that failed, and the others are killed
            error.said = not processes.main()
            if processes.main():
                requeue(error.signal)

    def _loop(self) -> None:
        config, method = self.config, self.method
        method.train()
        if not self.quiet and self.start < config.steps:
            log.info("%s", self.memory())
        if self.start == 0:
            self._save_start()
            self._refresh()
        batches = self.batches(self.start)
        with Signals() as signals, self.progress as progress:
            for step in range(self.start, config.steps):
                self.step(step, next(batches))
                done = step + 1
                self.journal.flush_if_due(done)
                progress.advance(done, self.journal.latest)
                stop = self._agreed(signals)
                if done % config.save_every == 0 or done == config.steps or stop:
                    self.save(done)
                if stop and done < config.steps:
                    text = f"{self.run.path}: interrupted, saved at step {done}; run it again to go on"
                    raise Interrupted(stop, text)

    def _agreed(self, signals: Signals) -> int:
        """The signal that any process received, 0 for none; what one found broken all know now."""
        stop, broken = processes.agree(signals.received or 0, len(self.quarantined.fresh))
        if broken:
            self.quarantined.exchange()
        return stop

    def _refresh(self) -> None:
        """Every process makes the whole pass, so that all hold what one alone would."""
        with collective.alone(), compiling.eager():
            self.method.refresh(self.batches.plain_targets(batch_size=self.config.batch_size))

    def _save_start(self) -> None:
        """An adaptation keeps and scores what it starts from: what it makes may be worse."""
        if self.config.init and self.data.target is not None and self.found is None:
            self.save(0)

    def memory(self) -> estimate.Memory:
        """How much memory a step will need."""
        small, large = (next(self._batches(Share.of(size), workers=0)(self.start)) for size in estimate.SAMPLES)
        with collective.alone(), compiling.eager():
            return estimate.memory(self.method, (small, large), self.data, self.config, autocast=self.fabric.autocast)

    def step(self, step: int, batch: Batch) -> None:
        """One step: every update of the method, taken in turn."""
        began = time.perf_counter()
        method, progress = self.method, step / self.config.steps
        stream = f"torch/{processes.rank()}" if processes.rank() else "torch"
        torch.manual_seed(int(generator(self.config.seed, stream, step).integers(2**63)))  # dropout, if a net has any
        if method.refresh_every and step and step % method.refresh_every == 0:
            self.nonfinite.settle()
            self._refresh()
        rates, every = self.optimisers.set_rates(progress), self.config.norms_every
        self.nonfinite.begin_step(step, partial(self.data.images_of, ids_of(batch)))
        for number, update in enumerate(self._updates(batch, progress)):
            norms = term_norms(update) if every and step % every == 0 else {}
            norm, _ = self.optimisers.gradients(self.fabric, update)
            if self.nonfinite.leaves_out(norm, update):
                break
            self.optimisers.step(update.on)
            self.journal.record(update, number=number, norm=norm, norms=norms)
        else:
            method.after_step(progress)
            self.nonfinite.end_step()
            self.journal.end_step(rates, seconds=time.perf_counter() - began)

    def _updates(self, batch: Batch, progress: float) -> Iterator[Update]:
        """The method's generator, advanced under autocast; the engine's own work is done outside of it."""
        generator = self.method.updates(batch, progress)
        while True:
            with self.fabric.autocast():
                update = next(generator, None)
            if update is None:
                return
            yield update

    @compiling.eager()
    def save(self, step: int) -> None:
        """Scores the checkpoint without target labels, writes it, moves the pointers, removes old ones."""
        self.journal.flush(step)
        method = self.method
        method.eval()
        scores = scoring.scores(method, self.data, self.config, step=step, device=self.fabric.device, known=self.known)
        self.journal.write({"step": step, "scores": scores})
        if processes.main():
            with collective.alone():
                self.trust.examine(method.predictor, method.student, step=step)
            saving.save(self.run, method, self.optimisers, self.config, step=step, scores=scores)
        method.train()
