"""Prediction over many machines by Ray Data; the only file that imports Ray.

Ray Data hands :mod:`~poseshift.apps.predict.parts` to workers, each of which opens the model once and writes its parts'
files. A worker that dies is replaced and its part is done again; the same command again does the parts that are
missing. So no image is lost and none is twice in the folder, whatever happens between. The folder must be one that all
machines see, under the same path.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from poseshift.apps.exported import SUFFIX, Exported
from poseshift.apps.predict.estimator import Estimator, Looks
from poseshift.apps.predict.inputs import open_inputs
from poseshift.apps.predict.parts import (
    FAILED,
    IMAGES,
    Done,
    Part,
    begun,
    count,
    identity,
    parts_of,
    renamed,
    there,
    unpacked,
)
from poseshift.data.drafts import replacement
from poseshift.errors import DataError, PoseshiftError, UsageError

log = logging.getLogger(__name__)


def chosen_engine(engine: str, *, given: Mapping[str, object], workers: int | None) -> bool:
    """Whether Ray is to predict.

    Args:
        engine: ``here`` or ``ray``.
        given: Options that only an engine on this machine has, by their names.
        workers: That only Ray has.

    Raises:
        UsageError: Another engine, or options that it does not have.
    """
    if engine not in ("here", "ray"):
        raise UsageError(f"--engine {engine}: unknown; expected here or ray")
    if engine == "here" and workers is not None:
        raise UsageError("--workers: is of --engine ray; leave it out")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: expected at least 1")
    for name in [name for name, value in given.items() if value is not None] if engine == "ray" else []:
        raise UsageError(f"{name}: --engine ray does not have it: it takes each image whole and writes Parquet")
    return engine == "ray"


def predict(
    model: str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path,
    options: dict[str, Any] | None = None,
    workers: int | None = None,
    images: int = IMAGES,
    address: str | None = None,
    expect: Callable[[int], None] = lambda count: None,
    advance: Callable[[int], None] = lambda count: None,
) -> Done:
    """Predicts keypoints of many images on the machines of a Ray cluster, each image whole, as one instance.

    Args:
        model: A run folder or exported model that all machines see.
        inputs: Images, videos, folders of them, globs, Parquet files and packed data, on paths that all machines see.
        out: A folder of Parquet files, made where it is not there.
        options: Keywords of :func:`poseshift.apps.predict.torch_estimator.opened`.
        workers: How many; None for one a processor of the cluster.
        images: Of a part.
        address: Of the cluster; None for ``RAY_ADDRESS``, or this machine alone.
        expect: Called once with the number of parts to come.
        advance: Called with the number of parts done.

    Raises:
        UsageError: Ray is missing, or the folder is of other inputs or another model.
        DataError: No images; or parts are missing at the end, which the same call does.
    """
    ray, folder, chosen = installed(), Path(out), options or {}
    parts = parts_of(inputs, images=images)
    begun(folder, {"model": identity(Path(model)), "options": chosen, "parts": [asdict(part) for part in parts]})
    left = [part for part in parts if not there(folder, part)]
    expect(len(left))
    if left:
        settings = {"model": str(Path(model).resolve()), "folder": str(folder.resolve()), "options": chosen}
        with cluster(ray, address):
            _carry_out(ray, left, settings, workers=workers, advance=advance)
    missing = [part.name for part in parts if not there(folder, part)]
    if missing:
        raise DataError(f"{folder}: {len(missing)} of {len(parts)} parts are missing; the same command does them")
    rows, failed = count(folder, parts)
    return Done(parts=len(parts), instances=rows, failed=failed, skipped=len(parts) - len(left))


def installed() -> Any:
    """Ray with Ray Data. Raises :class:`UsageError` where it is not installed."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UsageError("--engine ray needs Ray, which is not installed; pip install 'poseshift[ray]'") from error
    return ray


@contextmanager
def cluster(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to a cluster; one that was there stays as it is."""
    if ray.is_initialized():
        yield
        return
    known = address or os.environ.get("RAY_ADDRESS")
    # Nobody else shall reach this machine's own cluster. Elsewhere than on Linux Ray sees to that; there it takes
    # 127.0.0.1 for the name of the public address, but not another address of the loopback range.
    loopback = {"_node_ip_address": "127.0.0.2"} if sys.platform == "linux" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    local = {} if known else {"include_dashboard": False, **loopback}
    ray.init(address=known, log_to_driver=False, logging_level=logging.ERROR, **local)
    try:
        yield
    finally:
        ray.shutdown()


def _carry_out(
    ray: Any, parts: Sequence[Part], settings: dict[str, Any], *, workers: int | None, advance: Callable[[int], None]
) -> None:
    count = min(len(parts), workers or int(ray.cluster_resources().get("CPU", 1)))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.actor_init_retry_on_errors = False  # a model that does not open will not open the next time either
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans and timings; ours says what is done
    items = [{"part": json.dumps(asdict(part))} for part in parts]
    # a pool restarts its actors, and tries their tasks again, without end: Ray Data's default
    asked = ray.data.from_items(items, override_num_blocks=len(items)).map(
        Worker, fn_constructor_kwargs=settings, compute=ray.data.ActorPoolStrategy(size=count)
    )
    try:
        for row in asked.iter_rows():
            if row["error"]:
                raise DataError(row["error"])
            advance(1)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        raise DataError(f"Ray gave up ({reason}); what was done is kept, and the same command goes on") from error


class Worker:
    """Predicts parts with a model that it opens once.

    Args:
        model: A run folder, or an exported model.
        folder: Where parts are written.
        options: Of the estimator.
    """

    def __init__(self, model: str, folder: str, options: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.estimator, self.looks = opened(model, options)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does a part; what is wrong with the model or the disk is told, not raised, since it would be tried again."""
        described = json.loads(row["part"])
        part = Part(name=described["name"], files=tuple(described["files"]), group=described["group"])
        try:
            self.done(part)
        except PoseshiftError as error:
            return {"part": part.name, "error": str(error)}
        return {"part": part.name, "error": ""}

    def done(self, part: Part) -> None:
        """Writes a part, unless it is there."""
        if there(self.folder, part):
            return
        if part.group is None:
            self._written(part, part.files, {})
            return
        with tempfile.TemporaryDirectory(prefix="poseshift-") as folder:
            names = unpacked(Path(part.files[0]), part.group, Path(folder))
            self._written(part, tuple(names), names)

    def _written(self, part: Part, files: Sequence[str], names: dict[str, str]) -> None:
        from poseshift.apps.predict import Asked, estimate
        from poseshift.apps.predict.writers import parquet

        try:
            result = estimate(self.estimator, Asked(open_inputs(files)), self.looks)
        except DataError as error:
            (self.folder / FAILED).mkdir(exist_ok=True)
            with replacement(self.folder / FAILED / f"{part.name}.json") as draft:
                draft.write_text(json.dumps({"images": len(files), "reason": str(error)}) + "\n", encoding="utf-8")
            return
        with replacement(self.folder / f"{part.name}.parquet") as draft:
            parquet.write(result, draft)
            if names:
                renamed(draft, names)


def opened(model: str, options: dict[str, Any]) -> tuple[Estimator, Looks]:
    """What a worker asks: a run's checkpoint, or an exported model, and how it wants to be shown images."""
    from poseshift.apps.predict import looks_of, refuse_decided

    if Path(model).suffix == SUFFIX:
        decided = {"checkpoint": options.get("which", "best") != "best", "flip-test": options.get("flip_test")}
        refuse_decided(model, {**decided, "raw-scores": options.get("raw_scores")})
        exported = Exported(model, device=options.get("device", "auto"))
        return exported, looks_of(exported)
    from poseshift.apps.predict import torch_estimator
    from poseshift.engine.run import open_run

    usual = {"which": "best", "flip_test": False, "adapt": None, "raw_scores": False, "device": "auto"}
    estimator = torch_estimator.opened(open_run(model), **{**usual, **options})
    return estimator, estimator.looks
