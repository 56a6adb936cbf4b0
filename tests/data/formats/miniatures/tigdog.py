"""A small TigDog: two labelled shots of a horse and one of a tiger, one shot without landmarks, published splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

RANGES = {"horse": [[7, 1, 3], [8, 4, 5], [12, 10, 11]], "tiger": [[2, 100, 102]]}
UNLABELLED = 8
SIZE = (90, 70)


def landmarks(count: int, first: int) -> np.ndarray:
    """``count×19×3``: landmark ``i`` of frame ``f`` at (20 + i, 30 + 2·i + f / 4), all visible."""
    index, frame = np.arange(19), np.arange(first, first + count)[:, None]
    x, y = np.broadcast_to(20.0 + index, (count, 19)), 30.0 + 2 * index + frame / 4
    return np.stack([x, y, np.ones((count, 19))], axis=2)


def write_shot(root: Path, animal: str, shot: int, rows: np.ndarray) -> None:
    """One cell a frame, as MATLAB writes a cell array of structures."""
    cells = np.empty((len(rows), 1), object)
    for i, row in enumerate(rows):
        cells[i, 0] = {"positions": row[:, :2], "visibility": row[:, 2:].astype(np.uint8)}
    folder = root / "landmarks" / animal
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{shot}.mat", {"landmarks": cells})


def write(root: Path) -> str:
    """Writes the data under ``root``; returns what stands after ``tigdog:``."""
    for animal, ranges in RANGES.items():
        (root / "ranges" / animal).mkdir(parents=True)
        savemat(root / "ranges" / animal / "ranges.mat", {"ranges": np.array(ranges, np.uint16)})
        (root / animal).mkdir()
        for shot, first, last in ranges:
            for frame in range(first, last + 1):
                Image.new("RGB", SIZE, (frame, 50, 90)).save(root / animal / f"{frame:08d}.jpg")
            if (animal, shot) != ("horse", UNLABELLED):
                write_shot(root, animal, shot, landmarks(last - first + 1, first))
    splits = {"horse": {"train": [3, 4], "valid": [0, 2]}, "tiger": {"train": [0], "valid": [2]}}
    (root / "tigdog_by_video.json").write_text(json.dumps(splits))
    return str(root)
