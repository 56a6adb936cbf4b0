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
from pathlib import Path

import torch

from poseshift.apps.bench import predicting
from poseshift.apps.predict.speed import Speed, measure
from poseshift.engine import allocation
from poseshift.models.pose_net import PoseNetConfig


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
    allocation.keep()  # as `poseshift predict` does, for both sides
    net = predicting.LIGHT if options.net == "light" else PoseNetConfig(backbone=options.net)
    estimator, forward = predicting.estimator_of(net, options.size, options.device, batch=64)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for kind, count in (("JPEGs", options.images), ("video", options.frames)):
            if not count:
                continue
            entry = predicting.video(place / "film.mp4", count) if kind == "video" else options.photos
            entry = entry or predicting.folder_of_jpegs(place / "photos", count)
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
