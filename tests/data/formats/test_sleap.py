from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.data.formats.miniatures import sleap as miniature

from poseshift.data.archives import decode_image
from poseshift.data.formats import coco, sleap
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import from_names
from poseshift.data.sleap_frames import SleapImages
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations


def test_instances_frames_and_skeleton(tmp_path: Path) -> None:
    data = sleap.read(miniature.write(tmp_path))
    assert data.skeleton.keypoints == ("nose", "tail", "hip")
    assert data.skeleton.flip_pairs == ((1, 2),)
    assert data.skeleton.edges == ((0, 1), (1, 2))
    assert data.categories.tolist() == ["anna", "instance", "instance"]
    assert data.groups.tolist() == ["clip.mp4", "clip.mp4", "still0.png"]
    np.testing.assert_allclose(data.keypoints, np.nan_to_num(miniature.POINTS))
    np.testing.assert_array_equal(data.visible, np.where(np.isnan(miniature.POINTS[..., 0]), 0, 2))
    assert [record.key for record in data] == ["clip.mp4/000001", "clip.mp4/000003", "still0.png/000001"]
    images = pickle.loads(pickle.dumps(data.images))  # noqa: S301
    for i, number in ((1, 3), (0, 1), (2, 1)):
        assert images.size(i) == (32, 24)
        np.testing.assert_allclose(images.read(i), miniature.frame(number), atol=4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images)).read(1), images.read(1))  # noqa: S301


def test_only_images_that_are_files_are_given_as_such(tmp_path: Path) -> None:
    images = sleap.read(miniature.write(tmp_path)).images
    assert isinstance(images, SleapImages)
    for i in range(len(images)):
        source, content = images.sources[int(images.video[i])], images.encoded(i)
        assert (content is not None) == (source.kind == "images")
        if content is not None:
            np.testing.assert_array_equal(decode_image(content, "x"), images.read(i))
    assert {source.kind for source in images.sources.values()} > {"images"}


def test_points_at_the_origin_can_be_taken_for_missing(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    assert sleap.read(f"{path}@zeros").visible[2].tolist() == [0, 2, 2]
    with h5py.File(path, "r+") as file:
        for row in (0, 1):
            file["points"][row] = (0, 0, True, False)
    assert "3 points lie at exactly (0, 0)" in sleap.read(path).note


def test_a_point_that_is_not_visible_is_not_labelled(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    with h5py.File(path, "r+") as file:
        file["points"][1] = (10, 3, False, False)
        for row in (6, 7, 8):
            file["points"][row] = (1, 1, False, False)
    data = sleap.read(path)
    assert data.visible[0].tolist() == [2, 0, 2]
    assert (len(data), data.note) == (2, "Left out: 1 instances without a labelled point.")


def test_format_one_counts_from_the_corner(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    with h5py.File(path, "r+") as file:
        file["metadata"].attrs["format_id"] = 1.0
    data = sleap.read(path)
    np.testing.assert_allclose(data.keypoints[0], miniature.POINTS[0] - 0.5)
    assert (data.keypoints[1, 1] == 0).all()


def test_predicted_instances_are_asked_for(tmp_path: Path) -> None:
    import sleap_io as sio

    path = miniature.write(tmp_path)
    with pytest.raises(DataError, match="no instance predicted"):
        sleap.read(f"{path}@predicted")
    labels = sio.load_slp(path, open_videos=False)
    skeleton = labels.skeletons[0]
    labels[0].instances = [sio.PredictedInstance.from_numpy(miniature.POINTS[2], skeleton=skeleton)]
    labels[2].instances = []
    sio.save_slp(labels, str(tmp_path / "both.slp"), embed=False, verbose=False)
    assert len(sleap.read(str(tmp_path / "both.slp"))) == 1
    predicted = sleap.read(f"{tmp_path / 'both.slp'}@predicted")
    np.testing.assert_allclose(predicted.keypoints[0], miniature.POINTS[2])
    assert predicted[0].key == "clip.mp4/000001"


def test_embedded_images_and_their_order_of_colours(tmp_path: Path) -> None:
    for order, colour in ((None, [250, 10, 10]), ("RGB", [250, 10, 10]), ("BGR", [10, 10, 250])):
        folder = tmp_path / str(order)
        folder.mkdir()
        data = sleap.read(miniature.package(folder, order=order))
        image = pickle.loads(pickle.dumps(data.images)).read(0)  # noqa: S301
        assert image.shape == (24, 32, 3)
        assert image[0, 0].tolist() == colour
        assert (data[0].key, data[0].group) == ("video0/000001", "video0")


def test_written_files_read_the_same(tmp_path: Path) -> None:
    import sleap_io as sio

    data = sleap.read(miniature.write(tmp_path))
    sleap.write(data, tmp_path / "copy.slp")
    again = sleap.read(str(tmp_path / "copy.slp"))
    for column in ("keypoints", "visible", "image_index", "groups", "categories"):
        np.testing.assert_array_equal(getattr(again, column), getattr(data, column))
    assert (again.skeleton.flip_pairs, again.skeleton.edges) == (data.skeleton.flip_pairs, data.skeleton.edges)
    np.testing.assert_array_equal(again.images.read(1), data.images.read(1))
    labels = sio.load_slp(str(tmp_path / "copy.slp"), open_videos=False)
    np.testing.assert_allclose(labels[2].instances[0].numpy(), miniature.POINTS[2])
    with pytest.raises(DataError, match="exists already"):
        sleap.write(data, tmp_path / "copy.slp")


def test_images_that_are_files_can_be_written(tmp_path: Path) -> None:
    miniature.write(tmp_path)
    rows = [{"id": i, "image_id": i, "category_id": 1, "keypoints": [i, 2, 2, 3, 4, 1]} for i in (1, 2)]
    images = [{"id": i, "file_name": f"still{i - 1}.png"} for i in (1, 2)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "a", "keypoints": ["p", "q"]}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    sleap.write(coco.read(str(tmp_path / "a.json")), tmp_path / "files.slp")
    data = sleap.read(str(tmp_path / "files.slp"))
    assert data.keypoints[:, 0, 0].tolist() == [1, 2]
    assert data.categories.tolist() == ["a", "a"]
    assert set(data.groups) == {"still0.png"}, "groups of one image each are one video"
    np.testing.assert_array_equal(data.images.read(1), miniature.frame(1))


@pytest.mark.parametrize(("count", "joints"), [(1, 1), (400, 3), (20, 300)])
def test_room_is_asked_for_before_hdf5_needs_it(
    count: int, joints: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    asked: list[int] = []
    monkeypatch.setattr("os.posix_fallocate", lambda file, start, size: asked.append(size))
    names = [f"{'é' * 80}{i}.png" for i in range(count)]
    Image.new("RGB", (8, 6)).save(tmp_path / names[0])
    for name in names[1:]:
        (tmp_path / name).hardlink_to(tmp_path / names[0])
    data = Annotations(
        name="x",
        images=ImageFiles(root=tmp_path, paths=tuple(names)),
        image_index=np.arange(count),
        skeleton=from_names("x", [f"{i:050}" for i in range(joints)]),
        keypoints=np.ones((count, joints, 2), np.float32),
        visible=np.full((count, joints), 2, np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.full(count, ""),
        categories=np.full(count, "track"),
    )
    sleap.write(data, tmp_path / "a.slp")
    (size,) = asked
    assert (tmp_path / "a.slp").stat().st_size < size
    assert len(sleap.read(str(tmp_path / "a.slp"))) == count


def test_a_track_is_one_animal_and_a_video_has_one_size(tmp_path: Path) -> None:
    from PIL import Image

    for name, size in (("a.png", (8, 6)), ("b.png", (8, 6)), ("c.png", (6, 8))):
        Image.new("RGB", size).save(tmp_path / name)
    data = Annotations(
        name="x",
        images=ImageFiles(root=tmp_path, paths=("a.png", "b.png", "c.png")),
        image_index=np.array([0, 0, 1, 2]),
        skeleton=from_names("x", ["p", "q"]),
        keypoints=np.arange(16, dtype=np.float32).reshape(4, 2, 2),
        visible=np.array([[2, 1], [2, 0], [0, 0], [2, 2]], np.uint8),
        boxes=np.full((4, 4), np.nan, np.float32),
        groups=np.array(["a", "a", "b", "c"]),
        categories=np.array(["ann", "bob", "ann", "bob"]),
    )
    sleap.write(data, tmp_path / "two.slp")
    again = sleap.read(str(tmp_path / "two.slp"))
    assert again.categories.tolist() == ["ann", "bob", "bob"], "an instance without a point is no instance"
    assert again.groups.tolist() == ["a.png", "a.png", "c.png"]
    with h5py.File(tmp_path / "two.slp") as file:
        backends = [json.loads(text)["backend"] for text in file["videos_json"][()]]
    assert [backend["filenames"] for backend in backends] == [["a.png", "b.png"], ["c.png"]]
    sleap.write(replace(data, categories=np.full(4, "mouse")), tmp_path / "same.slp")
    assert set(sleap.read(str(tmp_path / "same.slp")).categories) == {"instance"}


def rename(path: Path, old: str, new: str) -> None:
    with h5py.File(path, "r+") as file:
        text = [row.replace(old.encode(), new.encode()) for row in file["videos_json"][()]]
        del file["videos_json"]
        file["videos_json"] = text


@pytest.mark.parametrize("place", ["C:\\\\films\\\\clip.mp4", "/far/away/clip.mp4", "../../clip.mp4"])
def test_videos_are_found_beside_the_file(tmp_path: Path, place: str) -> None:
    path = miniature.write(tmp_path)
    rename(Path(path), "clip.mp4", place)
    data = sleap.read(path)
    assert data.groups[0] == "clip.mp4"
    np.testing.assert_allclose(data.images.read(1), miniature.frame(3), atol=4)
    (tmp_path / "clip.mp4").unlink()
    with pytest.raises(DataError, match=r"looked for '.*clip\.mp4' and found no file; put 'clip\.mp4' beside"):
        sleap.read(path)


def test_a_video_outside_is_refused_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    path = miniature.write(tmp_path / "labels")
    (tmp_path / "labels/clip.mp4").rename(tmp_path / "clip.mp4")
    rename(Path(path), "clip.mp4", "../clip.mp4")
    with pytest.raises(DataError, match="found no file"):
        sleap.read(path)
    assert sleap.read(path, allow_outside=True).images.read(0).shape == (24, 32, 3)
    (tmp_path / "labels/clip.mp4").symlink_to(tmp_path / "clip.mp4")
    data = sleap.read(path)
    with pytest.raises(DataError, match="outside the data root"):
        data.images.read(0)


def test_a_frame_beyond_the_video(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    with h5py.File(path, "r+") as file:
        row = file["frames"][1]
        row["frame_idx"] = 99
        file["frames"][1] = row
    with pytest.raises(DataError, match=r"'clip.mp4/000099' cannot be read from .* \(frame 99 of 4\)"):
        sleap.read(path).images.read(1)


def test_a_playlist_that_calls_itself_a_video_is_not_followed(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    (tmp_path / "clip.mp4").rename(tmp_path / "other.mp4")
    (tmp_path / "clip.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'other.mp4'}'\n")
    with pytest.raises(DataError, match="cannot be read"):
        sleap.read(path).images.read(0)


def drop(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def cell(table: str, row: int, column: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        content = file[table][row]
        content[column] = value
        file[table][row] = content

    return change


def put(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if isinstance(value, dict):
            file.create_dataset(name, **value)
        else:
            file[name] = value

    return change


BROKEN: dict[str, tuple[Callable[[h5py.File], None], type[DataError], str]] = {
    "no points": (drop("points"), FormatError, "no label file of SLEAP"),
    "no metadata": (drop("metadata"), FormatError, "no label file of SLEAP"),
    "no videos": (drop("videos_json"), FormatError, "no label file of SLEAP"),
    "objects": (put("points", np.array([b"x"], dtype=h5py.string_dtype())), FormatError, "no label file of SLEAP"),
    "group": (put("frames/inner", 1), FormatError, "no label file of SLEAP"),
    "huge": (put("points", {"shape": (10**12,), "dtype": "f8", "chunks": (1000,)}), FormatError, "claims 8,000,000"),
    "newer": (lambda f: f["metadata"].attrs.__setitem__("format_id", 3.5), DataError, "SLEAP format 3.5"),
    "ranges": (cell("frames", 1, "instance_id_end", 10**9), FormatError, "ranges of frames in 'instances'"),
    "points": (cell("instances", 1, "point_id_end", 10**9), FormatError, "instance 1 has points 3 to 1000000000"),
    "negative": (cell("instances", 0, "point_id_start", 2**63), FormatError, "instance 0 has points"),
    "skeleton": (cell("instances", 2, "skeleton", 7), FormatError, r"skeletons \[0, 7\] of 1"),
    "track": (cell("instances", 2, "track", 7), FormatError, "track 7 of 1"),
    "video": (cell("frames", 2, "video", 9), FormatError, "of video 9"),
    "frame": (cell("frames", 2, "frame_idx", 7), DataError, "frame 7 of 'still0.png'"),
    "infinite": (cell("points", 0, "x", np.inf), FormatError, "instance 0 has a point beyond"),
    "enormous": (cell("points", 4, "y", 1e30), FormatError, "instance"),
    "link": (put("frames", h5py.ExternalLink("other.h5", "frames")), DataError, "'frames' is a link to another file"),
    "text": (put("videos_json", [b"\xff\xfe{"]), FormatError, "no label file of SLEAP"),
    "kinds": (put("videos_json", [b"3", b"4"]), FormatError, "no label file of SLEAP"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(tmp_path: Path, kind: str) -> None:
    path = miniature.write(tmp_path)
    damage, error, message = BROKEN[kind]
    with h5py.File(path, "r+") as file:
        if kind == "group":
            del file["frames"]
        if kind == "enormous":
            file["points"][4] = (1, 1, True, False)
        damage(file)
    with pytest.raises(error, match=message) as caught:
        sleap.read(path)
    assert "\n" not in str(caught.value)


def test_missing_and_garbage_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for a file .*gone\.slp"):
        sleap.read(str(tmp_path / "gone.slp"))
    path = Path(miniature.write(tmp_path))
    with pytest.raises(UsageError, match="unknown option 'both'"):
        sleap.read(f"{path}@both")
    with pytest.raises(UsageError, match="no split 'train'"):
        sleap.read(str(path), split="train")
    content = path.read_bytes()
    for damaged in (b"", b"not hdf5" * 99, content[:100], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="no label file of SLEAP"):
            sleap.read(str(path))


def test_the_real_video(shared_data: Path) -> None:
    import sleap_io as sio

    path = str(shared_data / "samples/sleap/clip.slp")
    data = sleap.read(path)
    assert (len(data), len(data.images), len(data.skeleton)) == (3000, 1500, 13)
    assert set(data.categories) == {"female", "male"}
    assert len(data.skeleton.edges) == 12
    labels = sio.load_slp(path, open_videos=False)
    for number in (0, 700, 1499):
        expected = np.stack([instance.numpy() for instance in labels[number]])
        rows = data.image_index == number
        np.testing.assert_allclose(
            data.keypoints[rows][data.visible[rows] > 0], expected[~np.isnan(expected)].reshape(-1, 2)
        )
    assert data.images.read(1499).shape == (1024, 1024, 3)


def test_the_real_packages(shared_data: Path) -> None:
    from PIL import Image

    data = sleap.read(str(shared_data / "samples/sleap/minimal_instance.pkg.slp"))
    assert (len(data), len(data.images), data.skeleton.keypoints) == (2, 1, ("A", "B"))
    assert data.images.read(0).shape == (384, 384, 3)
    folder = shared_data / "samples/replicant/SLEAP_single"
    data = sleap.read(f"{folder / 'labels.slp'}@zeros")
    assert (len(data), len(data.skeleton)) == (10, 62)
    np.testing.assert_allclose(data.keypoints[0, :2], [[64.0, 224.0], [57.3, 202.6]], rtol=1e-6)
    with Image.open(folder / "input-single_00_synth.png") as image:
        np.testing.assert_array_equal(data.images.read(0), np.asarray(image.convert("RGB")))
