"""The loop: batches to updates to steps, in the order of time."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from poseshift.batches import Batch
from poseshift.config import RunConfig, parse
from poseshift.data.loaders import Batches, Share, Views
from poseshift.draws import generator
from poseshift.engine import checkpoint, devices, estimate, parents, poses, scoring, select, setup, trust
from poseshift.engine import run as runs
from poseshift.engine.journal import Journal, logged_to
from poseshift.engine.optimise import Optimisers, refuse_non_finite, term_norms
from poseshift.engine.progress import Progress
from poseshift.engine.quarantine import Quarantined
from poseshift.engine.run import Run
from poseshift.engine.signals import Signals
from poseshift.errors import CheckpointError, Interrupted, PoseshiftError, TrainingError, UsageError
from poseshift.methods.base import Method, Update

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
        Interrupted: After SIGINT or SIGTERM; the run was saved and can go on.
    """
    settings: RunConfig = config if isinstance(config, RunConfig) else parse(config)
    path = Path(out)
    existing = runs.open_run(path) if (path / "manifest.json").is_file() else None
    if existing is not None and (different := runs.differences(existing, settings)):
        raise UsageError(
            f"{path}: holds a run of another configuration ({', '.join(different[:3])}); choose another --out, "
            "or remove the folder"
        )
    if existing is not None and existing.finished:
        log.info("%s is finished already", path)
        return existing
    return Session(settings, path, existing, command=command, quiet=quiet, store=store).run_to_end()


class Session:
    """One process's work on one run."""

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
        self.config = config
        device = devices.choose(config.device)
        self.fabric = Fabric(
            accelerator=device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=config.precision,
        )
        self.fabric.launch()
        self.data = setup.data_of(config, store, begun=existing)
        self.quiet = quiet
        try:
            self.run = setup.with_same_data(existing, self.data) if existing else self._create(path, command)
            self._prepare()
        except PoseshiftError:
            if existing is None and path.is_dir() and not {p.name for p in path.iterdir()} - runs.OWN:
                shutil.rmtree(path)
            raise

    def _prepare(self) -> None:
        config = self.config
        self.method: Method = setup.method_of(config, self.run, self.data)
        self.fabric.to_device(self.method)
        known = poses.of_run(self.run.path, self.data.source if self.method.predictor is not None else None)
        self.known = None if known is None else torch.from_numpy(known).to(self.fabric.device)
        self.optimisers = Optimisers(self.method, config.optimiser, clip=config.gradient_clip)
        streams = {"source": self.data.source, "target": self.data.target}
        self.quarantined = Quarantined(
            self.run.path, {name: crops for name, crops in streams.items() if crops is not None}
        )
        self.batches = self._batches(config.batch_size, workers=config.workers)
        self.journal = Journal(self.run.path, every=config.log_every)
        self.trust = trust.Examiner(self.data, config, self.run, self.journal.write)
        self.progress = Progress(config.steps, label=self.run.path.name, quiet=self.quiet)
        self.start = self._resume()

    def _create(self, path: Path, command: str) -> Run:
        config = self.config
        extra = {
            "device": str(self.fabric.device),
            **self.data.entries,
            "selection": select.rule(config, targets=self.data.target is not None),
            parents.LABELS: parents.label_use(config),
        }
        return runs.create(
            path,
            config,
            skeleton=self.data.skeleton,
            command=command,
            extra=extra,
            parents=lambda folder: parents.copy_parents(config, folder, self.data.skeleton),
        )

    def _batches(self, total: int, *, workers: int) -> Batches:
        config = self.config
        if total % self.fabric.world_size:
            raise UsageError(f"batch_size {total} does not divide by {self.fabric.world_size} processes; change it")
        return Batches(
            source=self.data.source,
            target=self.data.target,
            views=Views(
                **{name: getattr(config.augment, name) for name in ("source", "student", "teacher", "teachers")}
            ),
            share=Share.of(total, rank=self.fabric.global_rank, processes=self.fabric.world_size),
            seed=config.seed,
            device=self.fabric.device,
            workers=workers,
            on_failed=self.quarantined.add,
        )

    def _resume(self) -> int:
        """Takes up the newest intact checkpoint, and tidies what a killed process left; returns its step."""
        run = self.run
        checkpoint.clear_drafts(run.checkpoints_path)
        found = run.newest_intact()
        step = 0 if found is None else found.step
        run.set_aside_beyond(step)
        self.journal.cut(-1 if found is None else step)
        if found is not None:
            try:
                self.method.load_state_dict(found.tensors("method"))
                self.optimisers.load_state_dict(found.state()["optimisers"])
            except (RuntimeError, KeyError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise CheckpointError(
                    f"{found.path}: does not fit this version's {self.config.method.name!r} ({reason}); "
                    "go on with the version in the run's manifest, or train into another folder"
                ) from error
            run.point("last", found)
            run.point("best", select.best(run, self.config).checkpoint)
        return step

    def run_to_end(self) -> Run:
        """All steps that are left."""
        self.run.note(outcome="running", sessions=self.run.manifest.get("sessions", 0) + 1)
        try:
            with logged_to(self.run.path / "log.txt"):
                name, device = self.config.method.name, self.fabric.device
                log.info("%s: %s, steps %d to %d on %s", self.run.path, name, self.start, self.config.steps, device)
                if self.data.matched is not None and self.method.predictor is not None:
                    log.info("%s", self.data.matched.table())
                self._loop()
                found = select.verdict(self.run, self.config)
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
        found |= trust.noted(self.run)
        self.run.note(outcome="finished", end=datetime.now(UTC).isoformat(timespec="seconds"), **found)
        return self.run

    def _note_failure(self, error: PoseshiftError) -> None:
        outcome = str(error) if isinstance(error, Interrupted) else f"failed: {error}"
        with suppress(CheckpointError):  # a full disk: the error itself says so already
            self.run.note(outcome=outcome)

    def _loop(self) -> None:
        config, method = self.config, self.method
        method.train()
        if not self.quiet and self.start < config.steps:
            log.info("%s", self.memory())
        if self.start == 0:
            self._save_start()
            method.refresh(self.batches.plain_targets(batch_size=config.batch_size))
        batches = self.batches(self.start)
        with Signals() as signals, self.progress as progress:
            for step in range(self.start, config.steps):
                self.step(step, next(batches))
                done = step + 1
                self.journal.flush_if_due(done)
                progress.advance(done, self.journal.latest)
                stop = signals.received
                if done % config.save_every == 0 or done == config.steps or stop:
                    self.save(done)
                if stop and done < config.steps:
                    raise Interrupted(
                        stop, f"{self.run.path}: interrupted, saved at step {done}; run it again to go on"
                    )

    def _save_start(self) -> None:
        """An adaptation keeps and scores what it starts from: what it makes may be worse."""
        if self.config.init and self.data.target is not None and not self.run.checkpoints():
            self.save(0)

    def memory(self) -> estimate.Memory:
        """How much memory a step will need."""
        small, large = (
            next(self._batches(size * self.fabric.world_size, workers=0)(self.start)) for size in estimate.SAMPLES
        )
        return estimate.memory(self.method, (small, large), self.data, self.config, autocast=self.fabric.autocast)

    def step(self, step: int, batch: Batch) -> None:
        """One step: every update of the method, taken in turn."""
        began = time.perf_counter()
        method, progress = self.method, step / self.config.steps
        torch.manual_seed(int(generator(self.config.seed, "torch", step).integers(2**63)))  # dropout, if a net has any
        if method.refresh_every and step and step % method.refresh_every == 0:
            method.refresh(self.batches.plain_targets(batch_size=self.config.batch_size))
        rates = self.optimisers.set_rates(progress)
        for number, update in enumerate(self._updates(batch, progress)):
            norms = term_norms(update) if self._due(step) else {}
            norm, _ = self.optimisers.gradients(self.fabric, update)
            refuse_non_finite(norm, update, step, lambda: self.data.images_of(batch))
            self.optimisers.step(update.on)
            self.journal.record(update, number=number, norm=norm, norms=norms)
        method.after_step(progress)
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

    def _due(self, step: int) -> bool:
        return bool(self.config.norms_every) and step % self.config.norms_every == 0

    def save(self, step: int) -> None:
        """Scores the checkpoint without target labels, writes it, moves the pointers, removes old ones."""
        self.journal.flush(step)
        method = self.method
        method.eval()
        device = self.fabric.device
        scores = scoring.scores(method, self.data, self.config, step=step, device=device, known=self.known)
        self.journal.write({"step": step, "scores": scores})
        if self.fabric.global_rank == 0:
            self.trust.examine(method.predictor, method.student, step=step)
            tensors = {"method": method.state_dict()}
            if method.predictor is not None:
                tensors["predictor"] = method.predictor.state_dict()
            made = checkpoint.save(
                self.run.checkpoints_path,
                step,
                tensors=tensors,
                state={"optimisers": self.optimisers.state_dict()},
                info={"scores": scores},
            )
            self.run.point("last", made)
            self.run.point("best", select.best(self.run, self.config).checkpoint)
            self.run.prune()
        method.train()
