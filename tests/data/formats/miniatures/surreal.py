"""One split of SURREAL in the original layout: two clips of a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat


def clip(folder: Path, name: str, joints: np.ndarray, size: tuple[int, int] = (64, 48)) -> None:
    """A video with as many frames as ``joints`` (2×24×T) has, and its ``_info.mat``."""
    import av

    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{name}_info.mat", {"joints2D": joints, "clipNo": 1}, do_compression=True)
    with av.open(str(folder / f"{name}.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", 30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(joints.shape[2]):
            image = np.full((size[1], size[0], 3), 40 + 15 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())


def body(count: int, seed: int = 0) -> np.ndarray:
    """Joints 2×24×T inside the picture, whole numbers as the genuine ones are."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(5, 60, (24, count)), rng.integers(5, 44, (24, count))]).astype(np.float32)


def write(root: Path) -> str:
    folder = root / "surreal/cmu/train/run0/01_01"
    clip(folder, "01_01_c0001", body(4))
    clip(folder, "01_01_c0002", body(3, seed=1))
    return str(root / "surreal")
