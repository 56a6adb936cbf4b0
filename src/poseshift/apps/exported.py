"""A model that ``poseshift export`` wrote, run by onnxruntime: no torch is needed, nor imported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import ByteArray, FloatArray, Skeleton

SCHEMA = 1
SUFFIX = ".onnx"
KEY = "poseshift"
"""Of the metadata: the number of their layout; a model without it is of other origin."""
ERRORS_ONLY = 3


def onnxruntime_module() -> ModuleType:
    """onnxruntime. Raises :class:`UsageError` where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("an ONNX model needs onnxruntime, which is not installed; pip install onnxruntime") from error
    found: ModuleType = onnxruntime
    return found


class Exported:
    """Keypoints of crops, by an exported model.

    Args:
        model: The file, or its bytes.
        device: ``auto`` and ``cpu``: the CPU; ``cuda`` where this onnxruntime was built for it.
        threads: Of the CPU; None for what onnxruntime takes.

    Attributes:
        metadata: All of the file's, as text.
        skeleton: Names of the keypoints.
        input_size: Side ``S`` of the crops, pixels.
        padding: Factor on the longer side of a box, as in training.
        cut: How training cut images: ``given``, ``from_keypoints``, ``whole``; None where it is not known.
        calibrated: Whether scores are probabilities.
        flip_test: Whether the model averages with the mirrored image.

    Raises:
        UsageError: onnxruntime is not installed, or cannot use that device.
        FormatError: The file cannot be read, was not written by ``poseshift export``, or by a newer version.
    """

    def __init__(self, model: str | Path | bytes, *, device: str = "auto", threads: int | None = None) -> None:
        self.name = "the exported model" if isinstance(model, bytes) else str(model)
        content = model if isinstance(model, bytes) else _content(Path(model))
        self._session = session(content, name=self.name, device=device, threads=threads)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._refuse_foreign()
        self.skeleton = self._skeleton()
        self.input_size = int(self._said("input_size"))
        self.padding = float(self._said("padding"))
        self.cut: Literal["whole", "given", "from_keypoints"] | None = self._said("cut")
        self.calibrated = bool(self._said("calibrated"))
        self.flip_test = bool(self._said("flip_test"))

    def __call__(self, crops: ByteArray, regions: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Keypoints and scores of crops.

        Args:
            crops: ``B×S×S×3`` RGB, uint8.
            regions: ``B×4`` squares of the image that the crops show; None: keypoints are in pixels of the crop.

        Returns:
            ``B×K×2`` pixels of the image (or crop), and ``B×K`` scores in [0, 1]; float32.

        Raises:
            UsageError: Crops of another shape or type.
        """
        size = self.input_size
        if crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or crops.dtype != np.uint8:
            raise UsageError(
                f"{self.name}: crops are {crops.dtype} {crops.shape}, expected uint8 (B, {size}, {size}, 3); "
                "cut and scale images to that size"
            )
        feed: dict[str, Any] = {"image": crops} if regions is None else {"image": crops, "regions": regions}
        keypoints, scores = self._session.run(["keypoints", "scores"], feed)
        return keypoints, scores

    def _skeleton(self) -> Skeleton:
        raw = self._said("skeleton")
        try:
            return Skeleton(
                name=raw["name"],
                keypoints=tuple(self._said("names")),
                flip_pairs=tuple((int(a), int(b)) for a, b in self._said("flip_pairs")),
                edges=tuple((int(a), int(b)) for a, b in self._said("edges")),
                groups={name: tuple(rows) for name, rows in raw["groups"].items()},
                mean_groups=tuple(raw["mean_groups"]),
                sigmas=None if raw["sigmas"] is None else tuple(raw["sigmas"]),
            )
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise FormatError(f"{self.name}: its skeleton does not read ({error}); export it anew") from error

    def _refuse_foreign(self) -> None:
        schema = self.metadata.get(KEY, "")
        if not schema.isdecimal():
            raise FormatError(
                f"{self.name}: not written by `poseshift export` (no {KEY!r} in its metadata); export a run"
            )
        if int(schema) > SCHEMA:
            needed = self._said("version")
            raise FormatError(
                f"{self.name}: schema {schema}, this version reads up to {SCHEMA}; install poseshift {needed} or newer"
            )

    def _said(self, key: str) -> Any:
        try:
            return json.loads(self.metadata[key])
        except (KeyError, ValueError) as error:
            raise FormatError(f"{self.name}: no readable {key!r} in its metadata; export it anew") from error


def session(content: bytes, *, name: str, device: str = "auto", threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession``; see :class:`Exported` for what is given and raised."""
    runtime = onnxruntime_module()
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = _providers(device, runtime.get_available_providers())
    try:
        return runtime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes share no other base
        reason = " ".join(str(error).split())[:200]
        raise FormatError(f"{name}: no model that onnxruntime can run ({reason}); export it anew") from error


def _content(file: Path) -> bytes:
    """The file's bytes. Raises :class:`FormatError` where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise FormatError(f"{os.fspath(file)}: cannot be read ({error.strerror}); give an exported model") from error


def _providers(device: str, available: list[str]) -> list[str]:
    if device in ("auto", "cpu"):
        return ["CPUExecutionProvider"]
    wanted = {"cuda": "CUDAExecutionProvider"}.get(device)
    if wanted not in available:
        raise UsageError(
            f"device {device!r}: this onnxruntime has {', '.join(available)}; use --device cpu, or install another one"
        )
    return [wanted, "CPUExecutionProvider"]
