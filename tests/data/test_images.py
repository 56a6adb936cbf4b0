from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poseshift.data import images as module
from poseshift.data.images import ImageFiles, Quarantine, missing_files, padded_crop
from poseshift.errors import DataError
from poseshift.types import Images


def picture(height: int = 37, width: int = 53) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 5, x + y], axis=-1).astype(np.uint8)


def files(root: Path, *names: str, **options: bool) -> ImageFiles:
    return ImageFiles(root=root, paths=names, **options)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.jpg"])
def test_reads_each_allowed_format(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture()).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    images = files(tmp_path, name)
    assert isinstance(images, Images)
    read = images.read(0)
    assert read.dtype == np.uint8
    assert read.shape == (37, 53, 3)
    assert images.size(0) == (53, 37)
    if not name.endswith("jpg"):
        np.testing.assert_array_equal(read, picture())


def test_refuses_a_format_that_is_not_on_the_list(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png.*does not decode.*JPEG"):
        files(tmp_path, "a.png").read(0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_for_pixels_and_size(tmp_path: Path, orientation: int) -> None:
    upright = picture()
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / "a.png", exif=exif)
    images = files(tmp_path, "a.png")
    np.testing.assert_array_equal(images.read(0), upright)
    assert images.size(0) == (53, 37)


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    grey = picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 256 + 17).save(tmp_path / "deep.png")
    Image.fromarray(picture()).convert("P").save(tmp_path / "palette.png", transparency=b"\x00\x7f")
    Image.fromarray(np.dstack([picture(), grey])).save(tmp_path / "alpha.png")
    images = files(tmp_path, "grey.png", "deep.png", "palette.png", "alpha.png")
    for index in (0, 1):
        np.testing.assert_array_equal(images.read(index), np.repeat(grey[..., None], 3, axis=2))
    assert images.read(2).shape == (37, 53, 3)
    np.testing.assert_array_equal(images.read(3), picture())


def test_a_jpeg_may_come_smaller(tmp_path: Path) -> None:
    Image.fromarray(picture(600, 800) // 4 * 2).save(tmp_path / "a.jpg")
    images = files(tmp_path, "a.jpg")
    assert images.reduced(0, 4).pixels.shape == (150, 200, 3)
    assert images.reduced(0, 2).pixels.shape == (300, 400, 3)
    assert images.read(0).shape == (600, 800, 3)


@pytest.mark.parametrize("keep", [0, 10, 200, 0.5, 0.9])
def test_a_truncated_jpeg_names_the_file(tmp_path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "broken.jpg")
    whole = (tmp_path / "broken.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"broken\.jpg.*does not decode"):
        files(tmp_path, "broken.jpg").read(0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of the damage before it raises
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_damaged_files_raise_nothing_but_our_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    Image.fromarray(picture()).save(folder / f"a.{suffix}")
    data = bytearray((folder / f"a.{suffix}").read_bytes())
    for position in np.random.default_rng(seed).integers(0, min(len(data), 200), 6):
        data[position] ^= 0xFF
    (folder / f"a.{suffix}").write_bytes(data[: 1 + seed % len(data)])
    images = files(folder, f"a.{suffix}")
    try:
        read = images.read(0)
    except DataError as error:
        message = str(error)
    else:
        message = f"a.{suffix} read"
        assert read.ndim == 3
    assert f"a.{suffix}" in message


def test_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg.*does not exist"):
        files(tmp_path, "gone.jpg").read(0)


def test_the_file_itself_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not looked at")
    assert files(tmp_path, "a.png").encoded(0) == b"not looked at"
    with pytest.raises(DataError, match=r"image .*gone\.png' cannot be read \(No such file.*check the data root"):
        files(tmp_path, "gone.png").encoded(0)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_PIXELS", 37 * 53 - 1)
    with pytest.raises(DataError, match=r"a\.png.*53×37.*scale it down"):
        files(tmp_path, "a.png").read(0)


def test_a_decompression_bomb_is_our_error(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png"):
        files(tmp_path, "bomb.png").size(0)


@pytest.mark.parametrize("path", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "..\\x.png", "a/.."])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"leaves the data root.*allow_outside"):
        files(tmp_path, "fine..png", path)
    assert len(files(tmp_path, path, allow_outside=True)) == 1


def test_names_with_dots_or_colons_are_fine(tmp_path: Path) -> None:
    assert len(files(tmp_path, "a..b.png", "t_10:20.png", "..c.png")) == 3


def test_a_link_out_of_the_root_is_refused_unless_allowed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.fromarray(picture()).save(tmp_path / "secret.png")
    Image.fromarray(picture()).save(root / "real.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "inner.png").symlink_to(root / "real.png")
    (tmp_path / "root2").symlink_to(root)
    with pytest.raises(DataError, match=r"link\.png.*outside the data root"):
        files(root, "link.png").read(0)
    assert files(root, "link.png", allow_outside=True).read(0).shape == (37, 53, 3)
    assert files(root, "inner.png").read(0).shape == (37, 53, 3)
    assert files(tmp_path / "root2", "real.png").read(0).shape == (37, 53, 3)


def test_a_million_paths_are_cheap_and_pickle(tmp_path: Path) -> None:
    paths = tuple(f"run0/seq_{i % 997}/frame_{i:07d}.jpg" for i in range(1_000_000))
    start = time.process_time()
    images = ImageFiles(root=tmp_path, paths=paths)
    assert time.process_time() - start < 1
    again = pickle.loads(pickle.dumps(images))  # noqa: S301 (made in the line itself)
    assert again == images
    assert again.key(999_999) == paths[-1]


def test_missing_files_are_found_in_nested_folders(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/1.png").touch()
    (tmp_path / "0.png").touch()
    assert missing_files(tmp_path, ["0.png", "a/b/1.png", "a/b/2.png", "c/3.png"]) == [2, 3]


def test_quarantine_skips_one_per_cent_and_then_stops() -> None:
    quarantine = Quarantine(300)
    for number in (1, 2, 3, 3, 2):
        quarantine.add(f"{number}.jpg", DataError("broken\nhere"))
    assert len(quarantine) == 3
    assert "2.jpg" in quarantine
    assert quarantine.lines()[0] == "1.jpg\tbroken here"
    with pytest.raises(DataError, match=r"4 of 300 images.*at most 3.*1\.jpg, 2\.jpg, 3\.jpg, 4\.jpg; replace"):
        quarantine.add("4.jpg", "broken")


def test_quarantine_of_few_images_allows_one() -> None:
    quarantine = Quarantine(7)
    quarantine.add("a", "x")
    with pytest.raises(DataError, match="2 of 7"):
        quarantine.add("b", "x")


def ramp(height: int, width: int) -> np.ndarray:
    """Red is 4x + 20, green 5y + 10: the value of a pixel tells where it lies."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x + 20, 5 * y + 10, np.zeros_like(x)], axis=-1).astype(np.uint8)


def position_error(box: tuple[float, ...], size: tuple[int, int], reach: float) -> np.ndarray:
    """How far, in image pixels, a plane fitted to a crop's colours is from where the matrix says they come from.

    Signed x and y errors at four points of the image.
    """
    crop, matrix = padded_crop(ramp(40, 56), box, size)
    assert crop.shape == (*size, 3)
    v, u = np.mgrid[: size[0], : size[1]]
    ones = np.ones_like(u)
    x, y, _ = np.tensordot(np.linalg.inv(matrix), np.stack([u, v, ones]), axes=1)
    inside = (x > reach) & (x < 55 - reach) & (y > reach) & (y < 39 - reach)
    assert inside.sum() > 20
    seen = np.stack([(crop[..., 0] - 20.0) / 4, (crop[..., 1] - 10.0) / 5], axis=-1)[inside]
    told = np.stack([x, y, ones], axis=-1)[inside]
    points = np.array([[15, 10, 1], [40, 10, 1], [15, 30, 1], [40, 30, 1]])
    return points @ np.linalg.lstsq(told, seen, rcond=None)[0] - points[:, :2]


@pytest.mark.parametrize("size", [(24, 24), (17, 40), (64, 31), (96, 96)])
@pytest.mark.parametrize(
    "box",
    [(3.2, 4.7, 33.0, 34.3), (-10.5, -6.2, 30.1, 50.7), (20.1, 5.0, 90.7, 60.3), (-29.7, -31.3, 81.1, 70.9)],
    ids=["inside", "top-left", "bottom-right", "around"],
)
def test_crop_and_matrix_agree_on_a_ramp(box: tuple[float, ...], size: tuple[int, int]) -> None:
    reach = 2 * max(1, (box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0])
    # One crop may be off by up to 0.1: eight-bit rounding is worth 0.2, and Pillow's sampled triangle 0.08 where it
    # shrinks by less than 2. Both average out over shifts of the box, a wrong half pixel would not.
    shifts = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    errors = [position_error(tuple(np.add(box, (*shift, *shift))), size, reach) for shift in shifts]
    assert np.abs(np.mean(errors, axis=0)).max() < 0.05
    assert np.abs(errors).max() < 0.25


def test_the_whole_image_at_its_own_size_is_the_image() -> None:
    image = picture()
    crop, matrix = padded_crop(image, (-0.5, -0.5, 52.5, 36.5), (37, 53))
    np.testing.assert_array_equal(crop, image)
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-12)


def test_what_lies_outside_is_black_and_what_lies_inside_is_not() -> None:
    image = np.full((20, 30, 3), 200, np.uint8)
    crop, _ = padded_crop(image, (-10.5, -0.5, 29.5, 39.5), 40)
    assert (crop[:20, 10:] == 200).all()
    assert (crop[20:] == 0).all()
    assert (crop[:, :10] == 0).all()
    assert (padded_crop(image, (100.0, 100.0, 140.0, 150.0), 8)[0] == 0).all()


def test_a_crop_inside_the_image_has_no_dark_rim() -> None:
    image = np.full((20, 30, 3), 200, np.uint8)
    assert (padded_crop(image, (-0.5, -0.5, 19.5, 19.5), 7)[0] == 200).all()


def test_a_long_thin_image_does_not_cost_its_square() -> None:
    image = np.full((10, 40_000, 3), 90, np.uint8)
    crop, _ = padded_crop(image, (-0.5, -20_000.0, 39_999.5, 20_000.0), 128)
    assert crop.shape == (128, 128, 3)


@given(
    st.floats(-200, 200),
    st.floats(-200, 200),
    st.floats(0.01, 500),
    st.floats(0.01, 500),
    st.integers(1, 40),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_any_box_gives_a_crop_whose_matrix_takes_its_corners_to_the_crops(
    x0: float, y0: float, w: float, h: float, height: int, width: int
) -> None:
    crop, matrix = padded_crop(picture(), (x0, y0, x0 + w, y0 + h), (height, width))
    assert crop.shape == (height, width, 3)
    corners = matrix @ np.array([[x0, x0 + w], [y0, y0 + h], [1, 1]])
    np.testing.assert_allclose(corners[:2], [[-0.5, width - 0.5], [-0.5, height - 0.5]], atol=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 0, 0, 5), (0, np.nan, 5, 5), (0, 0, np.inf, 5)])
def test_a_box_without_area_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="has no area"):
        padded_crop(picture(), box, 8)


def test_an_absurd_box_is_refused() -> None:
    with pytest.raises(DataError, match="far larger than its image"):
        padded_crop(picture(), (-1e7, -1e7, 1e7, 1e7), 8)


@pytest.fixture
def slow_reference() -> Callable[[np.ndarray, tuple[float, ...], int], np.ndarray]:
    """The crop by its definition: paste the image on a large black canvas, resize a float box of it."""

    def crop(image: np.ndarray, box: tuple[float, ...], size: int) -> np.ndarray:
        pad = 100
        canvas = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        edges = tuple(value + 0.5 + pad for value in box)
        return np.asarray(Image.fromarray(canvas).resize((size, size), Image.Resampling.BILINEAR, box=edges))

    return crop


@pytest.mark.parametrize("box", [(-20.3, -11.1, 40.2, 50.4), (30.2, 20.0, 70.0, 61.3), (-40.0, -40.0, 90.0, 90.0)])
def test_crop_equals_its_definition(
    slow_reference: Callable[[np.ndarray, tuple[float, ...], int], np.ndarray], box: tuple[float, ...]
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    for size in (16, 48, 130):
        found = padded_crop(noise, box, size)[0].astype(int)
        assert np.abs(found - slow_reference(noise, box, size)).max() <= 1
