"""Five images of noise with one to three instances of three points each, in three row groups of one shard."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from poseshift.apps.pack import pack
from poseshift.data.formats import coco
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import from_names
from poseshift.types import Annotations

SIZES = ((30, 20), (24, 32), (17, 40), (33, 21), (28, 28))


def instances(root: Path, *, seed: int = 0) -> Annotations:
    """Ten instances in five images, not in the order of the images; two have no box."""
    rng = np.random.default_rng(seed)
    names = tuple(f"picture {number}.{'jpg' if number % 2 else 'png'}" for number in range(len(SIZES)))
    for name, (width, height) in zip(names, SIZES, strict=True):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / name)
    visible = rng.integers(0, 3, (10, 3)).astype(np.uint8)
    visible[:, 0] = 2
    corner = rng.uniform(0, 9, (10, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 9, (10, 2))], axis=1).astype(np.float32)
    boxes[[2, 7]] = np.nan
    image_index = np.array([3, 0, 1, 1, 4, 2, 2, 2, 0, 4])
    return Annotations(
        name="miniature",
        images=ImageFiles(root=root, paths=names),
        image_index=image_index,
        skeleton=from_names("cat", ("nose", "left_ear", "right_ear"), edges=((0, 1), (0, 2))),
        keypoints=(rng.uniform(0, 16, (10, 3, 2)) * (visible > 0)[..., None]).astype(np.float32),
        visible=visible,
        boxes=boxes,
        groups=np.array([f"grüppe {image % 3}" for image in image_index]),
        categories=np.array(["cat", "dög"])[rng.integers(0, 2, 10)],
    )


def write(root: Path) -> str:
    with TemporaryDirectory() as folder:
        data = instances(Path(folder))
        coco.write(data, Path(folder) / "labels.json")
        pack(f"coco:{folder}/labels.json", root / "packed", group_bytes=5000)
    return str(root / "packed")
