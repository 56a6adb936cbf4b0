"""How fast ``predict`` is end to end: of a folder of JPEGs and of a 640×480 video, by the bare net and by decoding.

Usage: ``python benchmarks/predict_speed.py [--images 2000] [--frames 2000] [--repeats 3] [--net resnet50] [--size 256]
[--device auto] [--photos FOLDER] [--json]``

The net is ``--net`` with the published head for 14 keypoints, or ``light`` for that of the preset ``adapt``; its
weights are random, which costs the same time. Without ``--photos`` the JPEGs are noise of several scales at 640×480;
the video is H.264 with 30 frames a second. The numbers of a machine that does other
work besides mean little: compare the two ratios, each from one and the same run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.speed import Speed, measure
from poseshift.apps.predict.torch_estimator import TorchEstimator
from poseshift.data.skeletons import SKELETONS
from poseshift.engine import devices
from poseshift.models.pose_net import PoseNet, PoseNetConfig

LIGHT = {"backbone": "mobilenetv2_100", "head": "pyramid", "width": 64}


def pictures(count: int, *, seed: int = 0):
    """Smooth noise of several scales, 640×480, that moves from one to the next."""
    draws = np.random.default_rng(seed)
    layers = []
    for cells, strength in ((6, 90), (24, 40), (96, 20), (320, 12)):
        coarse = Image.fromarray(draws.integers(0, 255, (cells, cells * 4 // 3, 3), dtype=np.uint8))
        layers.append(np.asarray(coarse.resize((1280, 480), Image.Resampling.BICUBIC), np.float32) * strength / 162)
    whole = sum(layers).clip(0, 255).astype(np.uint8)
    for number in range(count):
        left = 2 * number % 640
        yield np.ascontiguousarray(whole[:, left : left + 640])


def folder_of_jpegs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures(count)):
        Image.fromarray(picture).save(folder / f"{number:05}.jpg", quality=90)
    return folder


def video(file: Path, count: int) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", 30, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for number, picture in enumerate(pictures(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def estimator_of(net: str, size: int, device: str) -> TorchEstimator:
    config = PoseNetConfig(**(LIGHT if net == "light" else {"backbone": net}))
    skeleton, place = SKELETONS["lsp"], devices.choose(device)
    looks = Looks(at_once=2 if place.type == "cuda" else 1)
    model = PoseNet(config, len(skeleton))
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return TorchEstimator(model, skeleton, input_size=size, device=place, looks=looks)


def bare(estimator: TorchEstimator):
    """The net alone over a number of images, in the memory format of ``predict``."""
    size, batch = estimator.input_size, estimator.looks.batch_size
    images = torch.rand(batch, size, size, 3, device=estimator.device).permute(0, 3, 1, 2)

    @torch.no_grad()
    def forward(count: int) -> None:
        for first in range(0, count, batch):
            estimator.net(images[: min(batch, count - first)])
        if estimator.device.type == "cuda":
            torch.cuda.synchronize()

    return forward


def line(name: str, speed: Speed) -> str:
    return (
        f"{name}: {speed.images} images; images/s: net alone {speed.forward:.1f}, decoding alone {speed.decoding:.1f}, "
        f"end to end {speed.end_to_end:.1f} = {speed.of_forward:.3f} of the net, {speed.of_slower:.3f} of the slower"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("images", 2000), ("frames", 2000), ("repeats", 3), ("size", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--net", default="resnet50")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    estimator = estimator_of(options.net, options.size, options.device)
    forward, found = bare(estimator), {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for kind, count in (("JPEGs", options.images), ("video", options.frames)):
            if not count:
                continue
            entry = video(place / "film.mp4", count) if kind == "video" else options.photos
            entry = entry or folder_of_jpegs(place / "photos", count)
            speed = measure(estimator, estimator.looks, forward, [entry], place / "out.csv", repeats=options.repeats)
            found[kind] = {**dataclasses.asdict(speed), "of_forward": speed.of_forward, "of_slower": speed.of_slower}
            if not options.json:
                print(line(kind, speed), flush=True)
    cores = len(os.sched_getaffinity(0))
    about = {"net": options.net, "size": options.size, "device": str(estimator.device), "cores": cores}
    if options.json:
        print(json.dumps({**about, "threads": torch.get_num_threads(), **found}, indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in about.items()), f"torch threads {torch.get_num_threads()}")


if __name__ == "__main__":
    main()
