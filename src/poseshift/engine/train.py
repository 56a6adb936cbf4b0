"""The loop: batches to updates to steps, in the order of time."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from poseshift.batches import Batch
from poseshift.config import RunConfig, parse
from poseshift.data.crops import Crops
from poseshift.data.images import Quarantine
from poseshift.data.loaders import Batches, Share, Views
from poseshift.engine import checkpoint, devices, scoring, setup
from poseshift.engine import run as runs
from poseshift.engine.journal import Journal
from poseshift.engine.optimise import Optimisers
from poseshift.engine.progress import Progress
from poseshift.engine.run import Run
from poseshift.errors import CheckpointError, Interrupted, TrainingError, UsageError
from poseshift.methods.base import Method, Update

log = logging.getLogger(__name__)


def train(config: RunConfig | Mapping[str, Any], out: str | Path, *, command: str = "", quiet: bool = False) -> Run:
    """Trains one run, or goes on with it: the same call on an unfinished folder resumes from its last checkpoint.

    Args:
        config: A :class:`RunConfig` or a mapping that validates as one.
        out: The run folder.
        command: Noted in the manifest.
        quiet: No progress bar.

    Returns:
        The finished run.

    Raises:
        ConfigError, UsageError, DataError: Something does not fit; nothing was trained.
        TrainingError: A loss or gradient is not finite; earlier checkpoints are intact.
        Interrupted: After SIGINT or SIGTERM; the run was saved and can go on.
    """
    settings: RunConfig = config if isinstance(config, RunConfig) else parse(config)
    path = Path(out)
    existing = runs.open_run(path) if (path / "manifest.json").is_file() else None
    if existing is not None and not runs.same_configuration(existing, settings):
        raise UsageError(f"{path}: holds a run of another configuration; choose another --out, or remove the folder")
    if existing is not None and existing.finished:
        log.info("%s is finished already", path)
        return existing
    return Session(settings, path, existing, command=command, quiet=quiet).run_to_end()


class Session:
    """One process's work on one run."""

    def __init__(self, config: RunConfig, path: Path, existing: Run | None, *, command: str, quiet: bool) -> None:
        self.config = config
        device = devices.choose(config.device)
        self.fabric = Fabric(
            accelerator=device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=config.precision,
        )
        self.fabric.launch()
        self.data = setup.data_of(config)
        self.run = existing or self._create(path, command)
        self.method: Method = setup.method_of(config, self.run, self.data)
        self.fabric.to_device(self.method)
        self.optimisers = Optimisers(self.method, config.optimiser, clip=config.gradient_clip)
        streams = {"source": self.data.source, "target": self.data.target}
        self.quarantine = {name: Quarantine(len(crops)) for name, crops in streams.items() if crops is not None}
        self.batches = self._batches()
        self.journal = Journal(self.run.path, every=config.log_every)
        self.progress = Progress(config.steps, label=path.name, quiet=quiet)
        self.start = self._resume()

    def _create(self, path: Path, command: str) -> Run:
        config = self.config
        rule = "label-free: teacher-student agreement on augmented target views"
        extra = {
            "data": self.data.fingerprints,
            "notes": self.data.notes,
            "selection": rule if config.selection == "label-free" and self.data.target else "last checkpoint",
            "uses_target_labels": "monitoring only" if config.monitor else "no",
        }
        made = runs.create(path, config, skeleton=self.data.skeleton, command=command, extra=extra)
        made.note(parents=setup.copy_parents(config, path))
        return made

    def _batches(self) -> Batches:
        config = self.config
        if config.batch_size % self.fabric.world_size:
            raise UsageError(
                f"batch_size {config.batch_size} does not divide by {self.fabric.world_size} processes; change it"
            )
        return Batches(
            source=self.data.source,
            target=self.data.target,
            views=Views(
                **{name: getattr(config.augment, name) for name in ("source", "student", "teacher", "teachers")}
            ),
            share=Share.of(config.batch_size, rank=self.fabric.global_rank, processes=self.fabric.world_size),
            seed=config.seed,
            device=self.fabric.device,
            workers=config.workers,
            on_failed=self._failed,
        )

    def _failed(self, stream: str, rows: list[int]) -> None:
        crops = self.data.source if stream == "source" else self.data.target
        if crops is None or not rows:
            return
        for row in rows:
            self.quarantine[stream].add(crops.annotations[row].key, "does not decode")
        lines = [line for one in self.quarantine.values() for line in one.lines()]
        checkpoint.write_text(self.run.path / "quarantine.txt", "\n".join(lines) + "\n")

    def _resume(self) -> int:
        found = latest_good(self.run)
        if found is None:
            self.journal.cut(0)
            return 0
        self.method.load_state_dict(found.tensors("method"))
        self.optimisers.load_state_dict(found.state()["optimisers"])
        self.journal.cut(found.step)
        log.info("%s goes on from step %d", self.run.path, found.step)
        return found.step

    def run_to_end(self) -> Run:
        """All steps that are left."""
        config, method = self.config, self.method
        method.train()
        if self.start == 0:
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
                    self.run.note(outcome=f"interrupted at step {done}")
                    raise Interrupted(
                        stop, f"{self.run.path}: interrupted, saved at step {done}; the same command goes on"
                    )
        self.run.note(outcome="finished", end=datetime.now(UTC).isoformat(timespec="seconds"))
        return self.run

    def step(self, step: int, batch: Batch) -> None:
        """One step: every update of the method, taken in turn."""
        began = time.perf_counter()
        method, progress = self.method, step / self.config.steps
        if method.refresh_every and step and step % method.refresh_every == 0:
            method.refresh(self.batches.plain_targets(batch_size=self.config.batch_size))
        rates = self.optimisers.set_rates(progress)
        for number, update in enumerate(self._updates(batch, progress)):
            norms = self._norms(update) if self._due(step) else {}
            norm, _ = self.optimisers.gradients(self.fabric, update)
            self._refuse_non_finite(norm, update, step, batch)
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

    def _norms(self, update: Update) -> dict[str, torch.Tensor]:
        """Gradient norm of each weighted term at the shared features."""
        norms = {}
        for name, term in update.terms.items() if update.probe else ():
            found = torch.autograd.grad(term.value * term.weight, update.probe, retain_graph=True, allow_unused=True)
            norms[name] = torch.nn.utils.get_total_norm([g for g in found if g is not None])  # type: ignore[redundant-expr]
        return norms

    def _refuse_non_finite(self, norm: torch.Tensor, update: Update, step: int, batch: Batch) -> None:
        if bool(torch.isfinite(norm + update.total.detach())):
            return
        values = {name: float(term.value) for name, term in update.terms.items()}
        bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")] or [
            "the gradient"
        ]
        raise TrainingError(
            f"step {step}: {', '.join(bad)} not finite ({values}); images: {', '.join(self._images(batch))}; "
            "nothing was stepped or saved: lower optimiser.rate, set gradient_clip, or look at these images"
        )

    def _images(self, batch: Batch) -> list[str]:
        """Names of the first images of each stream of a batch."""
        rows: list[tuple[Crops | None, torch.Tensor | None]] = [
            (self.data.source, batch.source.ids if batch.has("source") else None),
            (self.data.target, batch.target.ids if batch.has("target") else None),
        ]
        return [
            crops.annotations[int(row)].key
            for crops, ids in rows
            if crops is not None and ids is not None
            for row in ids[:4]
        ]

    def save(self, step: int) -> None:
        """Scores the checkpoint without target labels, writes it, moves the pointers, removes old ones."""
        self.journal.flush(step)
        method = self.method
        method.eval()
        scores = scoring.scores(method, self.data, self.batches, self.config, step=step)
        self.journal.write({"step": step, "scores": scores})
        if self.fabric.global_rank == 0:
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
            self.run.point("best", scoring.best(self.run, self.config))
            self.run.prune()
        method.train()


def latest_good(run: Run) -> checkpoint.Checkpoint | None:
    """The newest checkpoint that is intact; says loudly where a newer one is not."""
    for candidate in reversed(run.checkpoints()):
        try:
            candidate.verify()
        except CheckpointError as error:
            log.warning("%s; falling back to the checkpoint before it", error)
            continue
        return candidate
    return None


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
