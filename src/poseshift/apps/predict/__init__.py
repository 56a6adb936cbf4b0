"""Keypoints of images, folders and videos, written as the tools of the field read them.

``inputs`` finds images, ``pipeline`` decodes them while an ``estimator`` computes, ``collected`` puts the answers
together, ``writers`` and ``overlay`` write them. Only ``torch_estimator`` needs torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseshift.apps.exported import SUFFIX, Exported
from poseshift.apps.predict import writers
from poseshift.apps.predict.collected import Collected, looks_at
from poseshift.apps.predict.estimator import Estimator, Looks
from poseshift.apps.predict.inputs import Inputs, open_inputs
from poseshift.apps.predict.overlay import drawn
from poseshift.apps.predict.pipeline import Seen, look
from poseshift.apps.predict.result import Result
from poseshift.apps.predict.shares import Shares
from poseshift.data.detections import Detections, read_boxes
from poseshift.data.drafts import replacement
from poseshift.errors import UsageError
from poseshift.types import Annotations, Predictions

if TYPE_CHECKING:
    from poseshift.engine.run import Pointer, Run

log = logging.getLogger(__name__)

Keywords = dict[str, Any]


def predict(
    run: Run | str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    format: str | None = None,
    overlay: str | Path | None = None,
    boxes: str | Path | None = None,
    which: Pointer | int = "best",
    flip_test: bool = False,
    adapt: str | None = None,
    raw_scores: bool = False,
    device: str = "auto",
    expect: Callable[[int], None] = lambda count: None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Annotations, Predictions]:
    """Predicts keypoints.

    Scores are calibrated where the checkpoint is: of keypoints that score 0.8, 80 % should lie within PCK@0.05. A
    checkpoint that was never examined gives raw scores, and a warning, as does one that is adapted to the images.

    Args:
        run: A run with a pose net, its path, or that of an exported ``.onnx``, whose options were decided at export.
        inputs: Images, videos, folders of them (searched recursively) and globs.
        out: A file to write: ``.json`` for COCO results, ``.csv`` for a table (of one video DeepLabCut's), ``.h5`` for
            DeepLabCut's, ``.parquet``; None writes nothing.
        format: A key of :data:`poseshift.apps.predict.writers.WRITERS` instead of what the ending means.
        overlay: An mp4 to write, with the skeletons drawn into the frames of the one video that is given.
        boxes: A COCO json or csv with a box for each instance (see :mod:`poseshift.data.detections`); without it, each
            whole image is one instance.
        which: Checkpoint: ``best``, ``last``, or a step.
        flip_test: Average with the mirrored image.
        adapt: Adapt a copy of the net to the images, batch by batch and each before it is predicted: ``statistics``,
            ``entropy`` or ``consistency``. The run folder stays as it is.
        raw_scores: Scores are the heights of the heatmaps' peaks all the same.
        device: ``auto``, ``cpu``, ``cuda``, …
        expect: Called once with the number of instances to come.
        advance: Called with the number of instances done.

    Returns:
        The instances (no keypoints in them) and their predictions, row by row.

    Raises:
        UsageError: An output that cannot be written, or a way to adapt that is unknown or finds nothing to adapt.
        DataError: No images, or none that decodes; single ones that do not are logged, and have no prediction.
    """
    if out is not None:
        writers.refuse_unknown(Path(out), format)
    files: Keywords = {"out": out, "format": format, "overlay": overlay, "boxes": boxes}
    told: Keywords = {"expect": expect, "advance": advance}
    if isinstance(run, str | Path) and Path(run).suffix == SUFFIX:
        decided = {"checkpoint": which != "best", "flip-test": flip_test, "adapt": adapt, "raw-scores": raw_scores}
        refuse_decided(run, decided)
        model = Exported(run, device=device)
        result = estimate(model, Asked(open_inputs(inputs), **files), looks_of(model), **told)
    else:
        how = {"which": which, "flip_test": flip_test, "adapt": adapt, "raw_scores": raw_scores, "device": device}
        result = _by_run(run, inputs, files, how, told)
    return result.instances, result.predictions


def _by_run(
    run: Run | str | Path, inputs: Sequence[str | Path], files: Keywords, how: Keywords, told: Keywords
) -> Result:
    """Of a run's checkpoint, with whatever processes ``torchrun`` started."""
    if find_spec("torch") is None:
        raise UsageError(f"{run}: a run needs torch, which is not installed; install it, or give an exported .onnx")
    from poseshift.apps.predict import torch_estimator
    from poseshift.engine import allocation, processes
    from poseshift.engine.run import Run, open_run

    allocation.keep()
    opened = run if isinstance(run, Run) else open_run(run)
    processes.meet()
    with processes.together():
        asked = Asked(open_inputs(inputs), **files)
        estimator = torch_estimator.opened(opened, **how)
        shares = Shares(index=processes.rank(), count=processes.size(), gathered=processes.gathered)
        if how["adapt"] is not None or asked.overlay is not None:  # what came before counts, or every frame is wanted
            shares = replace(shares, count=1)
        result = estimate(estimator, asked, estimator.looks, shares=shares, **told)
        estimator.finish()
    return result


def refuse_decided(model: str | Path, asked: Mapping[str, object]) -> None:
    """Raises :class:`UsageError` where an option is asked for that was decided when a model was exported."""
    for name in [name for name, given in asked.items() if given]:
        raise UsageError(f"{model}: --{name} is not for exported models; give it to `poseshift export`, or use the run")


def looks_of(model: Exported) -> Looks:
    """How an exported model wants to be shown images; warns where its scores are raw."""
    if not model.calibrated:
        log.warning("scores are raw, the heights of heatmap peaks: the model was exported without calibration")
    return Looks(padding=model.padding, trained=model.cut, batch_size=16)


class Asked:
    """What is to be predicted and written; whatever of it cannot work is refused here, before any work is done.

    Args:
        inputs: The images.
        out: As of :func:`predict`, like the others.
        format: Of ``out``.
        overlay: A video to write.
        boxes: Of the instances.

    Raises:
        UsageError: An output that these inputs cannot be written to, or that is one of them.
        DataError: The boxes cannot be read.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        out: str | Path | None = None,
        format: str | None = None,
        overlay: str | Path | None = None,
        boxes: str | Path | None = None,
    ) -> None:
        self.inputs = inputs
        self.out, self.overlay = (None if file is None else Path(file) for file in (out, overlay))
        self.detections: Detections | None = None if boxes is None else read_boxes(Path(boxes), inputs)
        _refuse_inputs((self.out, self.overlay), [*inputs.files, *([] if boxes is None else [Path(boxes)])])
        if self.overlay is not None:
            _refuse_overlay(self.overlay, self.out, inputs)
        images = np.zeros(0, np.int64) if self.detections is None else self.detections.image_index
        several = len(np.unique(images)) < len(images)
        self.writer = None if self.out is None else writers.chosen(self.out, format, inputs, several=several)


def estimate(
    estimator: Estimator,
    asked: Asked,
    how: Looks,
    *,
    shares: Shares | None = None,
    expect: Callable[[int], None] = lambda count: None,
    advance: Callable[[int], None] = lambda count: None,
) -> Result:
    """Asks an estimator about images, and writes what it says.

    Args:
        estimator: The net.
        asked: Which images, and what to write.
        how: How the net wants to be shown them.
        shares: Of several processes that predict together: the first writes, and all have the result. None for one.
        expect: Called once with the number of instances to come.
        advance: Called with the number of instances done.

    Raises:
        PoseshiftError: What the estimator raises.
        DataError: No image decodes, or a file cannot be written. Nothing half-written is left then.
    """
    inputs, detections = asked.inputs, asked.detections
    _say_cut(inputs, detections, how)
    every = asked.overlay is not None
    expect(len(inputs if detections is None else detections))
    found, shares = Collected(inputs, detections, estimator, how), shares or Shares()
    looks = shares.mine(looks_at(inputs, detections, every=every), how.batch_size)
    with ExitStack() as stack:
        seen: Generator[Seen] = look(estimator, inputs, looks, how, keep_pictures=every)
        if asked.overlay is not None and not shares.index:
            film = stack.enter_context(replacement(asked.overlay))
            seen = drawn(film, seen, inputs, estimator.skeleton)
        stack.enter_context(closing(seen))
        for one in seen:
            found.add(one)
            advance(len(one.look.rows))
        found.join(shares.gathered(found.part()) if shares.count > 1 else [])
        result = found.result()
        if asked.out is not None and asked.writer is not None and not shares.index:
            with replacement(asked.out) as file:
                asked.writer.write(result, file)
    return result


def _say_cut(inputs: Inputs, detections: Detections | None, how: Looks) -> None:
    """Warns where training cut images in another way."""
    if detections is None:
        known = (
            ""
            if how.trained in (None, "whole")
            else "; training cut by boxes, so give --boxes where subjects do not fill images"
        )
        log.warning(
            "no --boxes given: each of the %d %s is taken whole, as one instance%s", len(inputs), inputs.word, known
        )
    elif how.trained == "whole":
        log.warning("--boxes given, but training saw whole images: where boxes cut much closer, poses may be worse")


def _refuse_inputs(outputs: Iterable[Path | None], inputs: Sequence[Path]) -> None:
    places = {file.resolve() for file in inputs}
    for file in outputs:
        if file is not None and file.resolve() in places:
            raise UsageError(f"{file}: is one of the inputs, which are never overwritten; give another name")


def _refuse_overlay(overlay: Path, out: Path | None, inputs: Inputs) -> None:
    if overlay.suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {overlay}: cannot write {overlay.suffix or 'no ending'}; give a name in .mp4")
    if inputs.video is None:
        raise UsageError(
            f"--overlay {overlay}: is drawn of one video, but {len(inputs.files)} files were given, "
            f"{len(inputs.videos)} of them videos; give one video"
        )
    if out is not None and out.resolve() == overlay.resolve():
        raise UsageError(f"--overlay {overlay}: is also the name of --out; give another name")
