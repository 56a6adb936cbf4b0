"""``poseshift predict`` end to end against its halves: the bare net, and decoding without a net."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from poseshift.apps.bench.timing import Measured
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.speed import Speed
from poseshift.apps.predict.speed import measure as side_by_side
from poseshift.apps.predict.torch_estimator import TorchEstimator
from poseshift.data.skeletons import SKELETONS
from poseshift.data.video_index import av_module
from poseshift.engine import devices
from poseshift.models.pose_net import PoseNet, PoseNetConfig
from poseshift.types import ByteArray

WIDTH, HEIGHT = 640, 480
LIGHT = PoseNetConfig(backbone="mobilenetv2_100", head="pyramid", width=64)
"""The net of the preset ``adapt``."""
DEEP = PoseNetConfig(backbone="resnet50")
SMALL = PoseNetConfig(backbone="small", head="pyramid", width=16)
BATCH = 16


def pictures(count: int, *, seed: int = 0) -> Iterator[ByteArray]:
    """Smooth noise of several scales, 640×480, that moves from one to the next."""
    draws = np.random.default_rng(seed)
    whole = np.zeros((HEIGHT, 2 * WIDTH, 3), np.float32)
    for cells, strength in ((6, 90), (24, 40), (96, 20), (320, 12)):
        coarse = Image.fromarray(draws.integers(0, 255, (cells, cells * 4 // 3, 3), dtype=np.uint8))
        whole += np.asarray(coarse.resize((2 * WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32) * strength / 162
    shown = whole.clip(0, 255).astype(np.uint8)
    for number in range(count):
        left = 2 * number % WIDTH
        yield np.ascontiguousarray(shown[:, left : left + WIDTH])


def folder_of_jpegs(folder: Path, count: int) -> Path:
    """A new folder with so many files."""
    folder.mkdir()
    for number, picture in enumerate(pictures(count)):
        Image.fromarray(picture).save(folder / f"{number:05}.jpg", quality=90)
    return folder


def video(file: Path, count: int) -> Path:
    """So many frames, 30 a second, H.264. Raises :class:`UsageError` where PyAV is missing."""
    av = av_module()
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", 30, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, picture in enumerate(pictures(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def estimator_of(
    config: PoseNetConfig, size: int, device: str = "cpu", *, batch: int = BATCH
) -> tuple[TorchEstimator, Callable[[int], None]]:
    """What predicts 14 keypoints, and :func:`bare` of its net; weights are random, which costs the same time."""
    skeleton, place = SKELETONS["lsp"], devices.choose(device)
    looks = Looks(batch_size=batch, at_once=2 if place.type == "cuda" else 1)
    net = PoseNet(config, len(skeleton))
    if config.channels_last:
        net = net.to(memory_format=torch.channels_last)
    estimator = TorchEstimator(net, skeleton, input_size=size, device=place, looks=looks)
    return estimator, bare(net.to(place).eval(), size, batch)


def bare(net: PoseNet, size: int, batch: int) -> Callable[[int], None]:
    """What runs the net as it was trained over a number of images, in ``predict``'s memory format, and waits for it."""
    device = next(net.parameters()).device
    images = torch.rand(batch, size, size, 3, device=device).permute(0, 3, 1, 2)

    @torch.no_grad()
    def forward(count: int) -> None:
        for first in range(0, count, batch):
            net(images[: min(batch, count - first)])
        if device.type == "cuda":
            torch.cuda.synchronize()

    return forward


def speeds(config: PoseNetConfig, size: int, *, images: int, repeats: int) -> dict[str, Speed]:
    """Of a folder of JPEGs (``jpeg``) and of a video (``video``)."""
    estimator, forward = estimator_of(config, size)
    with tempfile.TemporaryDirectory(prefix="poseshift-bench-") as name:
        folder = Path(name)
        entries = {"jpeg": folder_of_jpegs(folder / "photos", images), "video": video(folder / "film.mp4", images)}
        return {
            kind: side_by_side(estimator, estimator.looks, forward, [entry], folder / "out.csv", repeats=repeats)
            for kind, entry in entries.items()
        }


def measure(quick: bool) -> dict[str, Measured]:
    """The row ``predict``: the least of four shares.

    Those of ``resnet50`` by its bare forward passes, and those of a light net by the slower of these and decoding, each
    of JPEGs and of a video.
    """
    deep = speeds(*((SMALL, 64) if quick else (DEEP, 256)), images=8 if quick else 32, repeats=1 if quick else 3)
    light = speeds(*((SMALL, 64) if quick else (LIGHT, 128)), images=8 if quick else 256, repeats=1 if quick else 3)
    shares = {f"deep_{kind}_of_net": speed.of_forward for kind, speed in deep.items()}
    shares |= {f"light_{kind}_of_slower": speed.of_slower for kind, speed in light.items()}
    detail: dict[str, float | str] = {**shares, "batch": BATCH}
    for net, found in (("deep", deep), ("light", light)):
        for kind, speed in found.items():
            rates = (speed.forward, speed.decoding, speed.end_to_end)
            detail[f"{net}_{kind}_images_per_second"] = "net {:.1f}, decoding {:.1f}, predict {:.1f}".format(*rates)
    return {"predict": Measured(value=min(shares.values()), detail=detail)}
