"""The heatmap work of a step: a whole batch at once, against the field's loop over samples and keypoints."""

from __future__ import annotations

import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor
from torchvision.transforms import InterpolationMode

from poseshift.apps.bench.timing import Measured, medians
from poseshift.batches import View
from poseshift.draws import Draws
from poseshift.ops import affine, heatmaps, pseudo_labels

KEYPOINTS, STRIDE, SIGMA = 16, 4, 2
CONFIDENT, PROBABILITY, SIDE = 0.9, 0.5, 20


class Work:
    """Heatmaps of a student and a teacher in their views, and what a step makes of them."""

    def __init__(self, samples: int, side: int) -> None:
        made = torch.Generator().manual_seed(0)
        self.angle = torch.rand(samples, generator=made) * 120 - 60
        self.shear = torch.rand(samples, generator=made) * 60 - 30
        self.scale = torch.rand(samples, generator=made) * 0.7 + 0.6
        self.shift = (torch.rand(samples, 2, generator=made) * 0.1 - 0.05) * side
        block = affine.rotation_shear_scale(self.angle.deg2rad(), self.shear.deg2rad(), self.scale)
        centre = torch.full((2,), (side - 1) / 2)
        self.matrix = affine.translation(self.shift) @ affine.linear(block, centre=centre)
        cells = torch.rand(samples, KEYPOINTS, 2, generator=made) * side / STRIDE
        peaks = torch.rand(samples, KEYPOINTS, 1, 1, generator=made) * 0.4 + 0.7
        self.maps = heatmaps.draw(cells, (side // STRIDE, side // STRIDE), SIGMA) * peaks
        self.images = torch.rand(samples, 3, side, side, generator=made)
        self.draws = Draws(seed=0, step=0, start=0, count=samples, total=samples, device=self.images.device)
        self.no_pairs = torch.zeros(0, 2, dtype=torch.long)

    @torch.no_grad()
    def batched(self) -> tuple[Tensor, ...]:
        """What a step calls."""
        teacher = affine.unwarp_heatmaps(self.maps, self.matrix, stride=STRIDE)
        student = affine.unwarp_heatmaps(self.maps, self.matrix, stride=STRIDE)
        mask, _ = pseudo_labels.trusted(teacher, fraction=0.5, pairs=self.no_pairs, exclusive=0.0)
        images = pseudo_labels.occlude_confident(
            View(images=self.images, matrix=self.matrix),
            teacher,
            self.draws,
            stride=STRIDE,
            threshold=CONFIDENT,
            probability=PROBABILITY,
            side=SIDE / self.images.shape[-1],
        )
        return student, heatmaps.rectify(teacher, SIGMA), mask, images

    @torch.no_grad()
    def looped(self) -> tuple[Tensor, ...]:
        """The same, a sample and a keypoint at a time, as the reference code has it (Kim et al., ECCV 2022)."""
        samples = range(len(self.maps))
        teacher, student = (torch.stack([self._back(self.maps[b], b, STRIDE) for b in samples]) for _ in range(2))
        peaks = teacher.flatten(2).amax(2)
        threshold = peaks.flatten().kthvalue(peaks.numel() // 2)[0].item()
        images = torch.stack([self._hidden(b, teacher[b], peaks[b]) for b in samples])
        rectified = torch.stack([torch.stack([_gaussian_at_peak(one) for one in maps]) for maps in teacher])
        return student, rectified, (peaks > threshold).float(), images

    def _back(self, maps: Tensor, sample: int, stride: int) -> Tensor:
        """Three affine calls to the nearest pixel: translation, rotation with scale, shear."""
        shift = [-value / stride for value in self.shift[sample].tolist()]
        none, angle, scale = [0.0, 0.0], -self.angle[sample].item(), 1 / self.scale[sample].item()
        maps = _affine(maps, 0.0, shift, 1.0, none)
        maps = _affine(maps, angle, none, scale, none)
        return _affine(maps, 0.0, none, 1.0, [-self.shear[sample].item(), 0.0])

    def _hidden(self, sample: int, maps: Tensor, peaks: Tensor) -> Tensor:
        confident = [k for k in range(KEYPOINTS) if peaks[k].item() >= CONFIDENT]
        image = self.images[sample]
        if not confident or torch.rand(()).item() > PROBABILITY:
            return image
        side = image.shape[-1]
        index = int(maps[confident[len(confident) // 2]].argmax().item())
        y, x = (STRIDE * cell for cell in divmod(index, maps.shape[-1]))
        image = self._back(image, sample, 1)
        top, left = (max(0, min(value - SIDE // 2, side - SIDE)) for value in (y, x))
        from_top, from_left = (int(value) for value in torch.randint(0, side - SIDE, (2,)))
        patch = image[:, from_top : from_top + SIDE, from_left : from_left + SIDE].clone()
        image[:, top : top + SIDE, left : left + SIDE] = patch
        shift, shear = self.shift[sample].tolist(), [self.shear[sample].item(), 0.0]
        return _affine(image, self.angle[sample].item(), shift, self.scale[sample].item(), shear)


def _affine(image: Tensor, angle: float, shift: list[float], scale: float, shear: list[float]) -> Tensor:
    moved: Tensor = tv.affine(image, angle, shift, scale, shear, interpolation=InterpolationMode.NEAREST)
    return moved


def _gaussian_at_peak(one: Tensor) -> Tensor:
    """A window of ±3σ of a Gaussian, pasted at the maximum."""
    reach, (height, width) = 3 * SIGMA, one.shape
    y, x = divmod(int(one.argmax().item()), width)
    offsets = torch.arange(-reach, reach + 1)
    window = torch.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * SIGMA**2))
    top, bottom, left, right = (
        max(0, y - reach),
        min(height, y + reach + 1),
        max(0, x - reach),
        min(width, x + reach + 1),
    )
    out = torch.zeros_like(one)
    out[top:bottom, left:right] = window[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
    return out


def measure(quick: bool) -> dict[str, Measured]:
    """The row ``heatmaps``: batched ÷ looped."""
    work = Work(8, 64) if quick else Work(32, 256)
    taken = medians({"batched": work.batched, "looped": work.looped}, repeats=3 if quick else 7)
    detail = {"samples": len(work.maps), "keypoints": KEYPOINTS, **taken}
    return {"heatmaps": Measured(value=taken["batched"] / taken["looped"], detail=detail)}
