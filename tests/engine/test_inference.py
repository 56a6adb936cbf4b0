from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny
from torch import Tensor, nn

from poseshift.data.crops import CropConfig, Crops
from poseshift.engine import inference
from poseshift.models.pose_net import PoseOutput
from poseshift.ops import heatmaps

CPU = torch.device("cpu")


class Sees(nn.Module):
    """Two keypoints: the red and the green spot of a picture, which heatmaps are."""

    stride, logit_sigma = 2, None

    def forward(self, images: Tensor) -> PoseOutput:
        low = images.amin(dim=(-2, -1), keepdim=True)
        maps = torch.nn.functional.avg_pool2d(images - low, 2)[:, :2]
        maps = maps / maps.amax(dim=(-2, -1), keepdim=True)
        return PoseOutput(maps, maps)


def spots(file: Path, size: tuple[int, int], places: list[tuple[float, float]]) -> None:
    """A picture of (width, height) with a red and a green Gaussian of 5 px."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    picture = np.zeros((size[1], size[0], 3))
    for channel, (at_x, at_y) in enumerate(places):
        picture[..., channel] = 255 * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 50)
    Image.fromarray(picture.round().astype(np.uint8)).save(file)


@pytest.mark.parametrize("size", [(90, 60), (50, 120)])
def test_what_the_net_sees_is_found_where_it_is(size: tuple[int, int], tmp_path: Path) -> None:
    places = [(20.3, 30.6), (34.8, 22.1)]
    spots(tmp_path / "a.png", size, places)
    crops = Crops(tiny.whole_images([tmp_path / "a.png"]), CropConfig(boxes="given", padding=1.2), size=96)
    found = inference.infer(Sees(), crops, device=CPU)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.predictions.keypoints[0], places, atol=0.3)
    assert found.predictions.crop_side.tolist() == pytest.approx([1.2 * max(size)])
    assert found.map_size == (48, 48)


class Mirrored(nn.Module):
    """Says ``left`` at (10, 20) of a picture that is bright at the left; of its mirror image what belongs there."""

    stride, logit_sigma = 4, None

    def forward(self, images: Tensor) -> PoseOutput:
        points = []
        for image in images:
            bright_left = image[:, :, :8].mean() > image[:, :, -8:].mean()
            straight = [(10.0, 20.0), (30.0, 24.0)]
            swapped = [(63 - x, y) for x, y in reversed(straight)]
            points.append(straight if bright_left else swapped)
        shown = torch.tensor(points)
        maps, _ = heatmaps.encode(shown, torch.ones(shown.shape[:2]), (16, 16), stride=4, sigma=1.5)
        return PoseOutput(maps, maps)


def test_the_flip_test_swaps_sides_and_mirrors_back() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., :20] = 1
    net = Mirrored()
    plain = inference.heatmaps_of(net, image, None)  # type: ignore[arg-type]
    both = inference.heatmaps_of(net, image, (1, 0))  # type: ignore[arg-type]
    torch.testing.assert_close(both, plain, atol=1e-5, rtol=0)
    wrong = inference.heatmaps_of(net, image, (0, 1))  # type: ignore[arg-type]
    assert (wrong - plain).abs().max() > 0.3


def test_batches_do_not_matter_and_progress_is_told(tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path, 5)
    crops = Crops(tiny.whole_images(photos), CropConfig(boxes="whole"), size=32)
    told: list[int] = []
    one = inference.infer(Sees(), crops, device=CPU, batch_size=2, advance=told.append)  # type: ignore[arg-type]
    other = inference.infer(Sees(), crops, device=CPU, batch_size=5)  # type: ignore[arg-type]
    assert told == [2, 2, 1]
    np.testing.assert_allclose(one.predictions.keypoints, other.predictions.keypoints, atol=1e-4)


def test_each_batch_is_seen_before_it_is_predicted_without_what_did_not_decode(tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path, 5)
    crops = Crops(tiny.whole_images(photos), CropConfig(boxes="whole"), size=32, margin=4)
    for number in (1, 4):
        photos[number].write_bytes(photos[number].read_bytes()[:200])
    order: list[object] = []

    class Counts(Sees):
        def forward(self, images: Tensor) -> PoseOutput:
            order.append("predicted")
            return super().forward(images)

    seen: list[Tensor] = []

    def see(batch: Tensor) -> None:
        order.append(len(batch))
        seen.append(batch)

    inference.infer(Counts(), crops, device=CPU, batch_size=2, see=see)  # type: ignore[arg-type]
    assert order == [1, "predicted", 2, "predicted", "predicted"]
    assert torch.equal(seen[1][1], crops[3].crop)
    assert seen[0].shape == (1, 3, 40, 40)


def test_what_does_not_decode_has_no_prediction(tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path, 4)
    crops = Crops(tiny.whole_images(photos), CropConfig(boxes="whole"), size=32)
    photos[1].write_bytes(photos[1].read_bytes()[:200])
    photos[3].write_bytes(b"")
    found = inference.infer(Sees(), crops, device=CPU)  # type: ignore[arg-type]
    assert found.failed == (1, 3)
    missing = np.isnan(found.predictions.keypoints).all(axis=(1, 2))
    assert missing.tolist() == [False, True, False, True]
    assert found.predictions.scores[1].tolist() == [0, 0]


def test_scores_of_logits_are_those_of_their_softmax(tmp_path: Path) -> None:
    spots(tmp_path / "a.png", (90, 60), [(20.3, 30.6), (34.8, 22.1)])
    crops = Crops(tiny.whole_images([tmp_path / "a.png"]), CropConfig(boxes="given", padding=1.2), size=96)
    net = Sees()
    drawn = inference.infer(net, crops, device=CPU)  # type: ignore[arg-type]
    net.logit_sigma = 1.5  # type: ignore[assignment]
    softened = inference.infer(net, crops, device=CPU)  # type: ignore[arg-type]
    np.testing.assert_array_equal(softened.cells, drawn.cells)
    assert drawn.predictions.scores.tolist() == [[1.0, 1.0]]
    assert (softened.predictions.scores < 0.05).all()
