"""JPEG files to two augmented views a net can read, against a per-sample PIL pipeline; on one core."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from poseshift.apps.bench.timing import Job, Measured, medians
from poseshift.batches import Batch
from poseshift.data import formats
from poseshift.data.augment_config import AugmentConfig
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.loaders import Batches, Share, Views
from poseshift.ops import color

WIDTH, HEIGHT = 640, 480


def write_jpegs(folder: Path, count: int) -> None:
    """Files of coarse shapes and fine noise, about 120 kB each."""
    made = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(made.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += made.integers(-12, 12, pixels.shape, dtype=np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04}.jpg", quality=90)


class PerSample:
    """Open, then for each of two views resized crop, affine, jitter, to tensor, normalise: one image at a time.

    Ranges are those of :class:`AugmentConfig`, which are the field's; the affine goes to the nearest pixel, as the
    field's does and torchvision's default is.
    """

    def __init__(self, folder: Path, side: int) -> None:
        config = AugmentConfig()
        self.files = sorted(folder.iterdir())
        self.view = transforms.Compose(
            [
                transforms.RandomResizedCrop(side, scale=(0.6, 1.0), ratio=(1.0, 1.0)),
                transforms.RandomAffine(
                    config.rotation,
                    translate=(config.translation, config.translation),
                    scale=config.scale,
                    shear=config.shear,
                ),
                transforms.ColorJitter(0.25, 0.25, 0.25),
                transforms.ToTensor(),
                transforms.Normalize(color.MEAN, color.STD),
            ]
        )

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Student and teacher views of all files."""
        students, teachers = [], []
        for file in self.files:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
            students.append(self.view(image))
            teachers.append(self.view(image))
        return torch.stack(students), torch.stack(teachers)


def _batches(folder: Path, side: int, *, cache_bytes: int) -> Iterator[Batch]:
    """What training takes, each batch all files."""
    crops = Crops(
        formats.read(f"images:{folder}"),
        CropConfig(boxes="whole"),
        size=side,
        margin=side // 8,
        cache_bytes=cache_bytes,
    )
    config = AugmentConfig()
    return Batches(
        source=None,
        target=crops,
        views=Views(source=config, student=config, teacher=config),
        share=Share.of(len(crops)),
        seed=0,
        device=torch.device("cpu"),
        on_failed=_refuse,
    )()


def _refuse(stream: str, rows: list[int]) -> None:
    raise AssertionError(f"files of the benchmark's own did not decode: {stream} {rows}")


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def measure(quick: bool) -> dict[str, Measured]:
    """The rows ``images_first`` (each call decodes) and ``images_cached``: images a second ÷ the pipeline's."""
    count, side = (8, 64) if quick else (32, 256)
    with tempfile.TemporaryDirectory(prefix="poseshift-bench-") as name, _one_thread():
        folder = Path(name)
        write_jpegs(folder, count)
        cached = _batches(folder, side, cache_bytes=count * (2 * side) ** 2 * 3)

        def first() -> Batch:
            """A fresh cache, which decoding fills."""
            return next(_batches(folder, side, cache_bytes=count * (2 * side) ** 2 * 3))

        jobs: dict[str, Job] = {"per_sample": PerSample(folder, side), "first": first, "cached": lambda: next(cached)}
        taken = medians(jobs, repeats=3 if quick else 7)
    rates: dict[str, float | str] = {f"{name}_images_per_second": count / value for name, value in taken.items()}
    detail = {"side": side, "batch": count, "threads": 1, **rates}
    return {
        f"images_{name}": Measured(value=taken["per_sample"] / taken[name], detail=detail)
        for name in ("first", "cached")
    }
