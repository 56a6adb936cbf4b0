"""Decoded training images per second from packed shards, beside the same images as local files.

Three places: the files, shards on the local disk, and the shards in a bucket of an S3 server on loopback (moto, which
is a test server: what it takes to answer is in its number). Images are drawn in the order of training with nothing in
the crop cache. The places take turns, ``ROUNDS`` times, every other round in the reverse order; medians are printed.

Usage: ``python benchmarks/shards.py FORMAT:PATH [--images 256] [--rounds 5]``, say ``lsp:DATA/lsp``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import s3fs
from moto.server import ThreadedMotoServer

from poseshift.apps.pack import pack
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.formats import read
from poseshift.data.loaders import Order, Share

BATCH = 32


def seconds(spec: str, images: int) -> float:
    """To draw ``images`` crops of 128 px in training's order, everything but the annotations read anew."""
    crops = Crops(read(spec), CropConfig(boxes="whole"), size=128, cache_bytes=0)
    order = Order(len(crops), Share.of(BATCH), seed=0, stream="target", units=crops.units)
    began = time.perf_counter()
    for step in range(images // BATCH):
        for row in order.at(step):
            crops[row]
    return time.perf_counter() - began


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """The folder in a bucket of a server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    system = s3fs.S3FileSystem()
    system.mkdir("pictures")
    system.put(str(folder), "pictures/packed", recursive=True)
    try:
        yield "packed:s3://pictures/packed"
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed"
        pack(options.data, packed)
        with bucket(packed) as url:
            places = {"files": options.data, "shards": f"packed:{packed}", "bucket": url}
            found: dict[str, list[float]] = {name: [] for name in places}
            for number in range(options.rounds):
                for name in list(places)[:: -1 if number % 2 else 1]:
                    found[name].append(seconds(places[name], options.images))
    usual = median(found["files"])
    print("| place | images/s | ÷ files |\n|---|---|---|")
    for name, times in found.items():
        print(f"| {name} | {options.images / median(times):.0f} | {usual / median(times):.2f} |")


if __name__ == "__main__":
    main()
