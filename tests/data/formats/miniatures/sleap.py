"""Two instances in a video of four frames, one in a list of two images, as sleap-io writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

POINTS = np.array([[[1.0, 2], [10, 3], [5.5, 20]], [[4, 5], [np.nan, np.nan], [7, 8]], [[0, 0], [2, 2], [11, 12.25]]])


def frame(number: int) -> np.ndarray:
    """24 high, 32 wide; grey tells the number."""
    return np.full((24, 32, 3), 40 * number + 20, np.uint8)


def video(path: Path, count: int = 4) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 24, "yuv420p", 2
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(number), format="rgb24")))
        container.mux(stream.encode())


def labels(videos: list[Any]) -> Any:
    import sleap_io as sio

    skeleton = sio.Skeleton(
        nodes=["nose", "tail", "hip"],
        edges=[("nose", "tail"), ("tail", "hip")],
        symmetries=[("tail", "hip")],
        name="rat",
    )
    track = sio.Track("anna")
    one, two, three = (sio.Instance.from_numpy(points, skeleton=skeleton) for points in POINTS)
    one.track = track
    frames = [
        sio.LabeledFrame(video=videos[0], frame_idx=1, instances=[one]),
        sio.LabeledFrame(video=videos[0], frame_idx=3, instances=[two]),
        sio.LabeledFrame(video=videos[1], frame_idx=1, instances=[three]),
    ]
    return sio.Labels(frames, videos=videos, skeletons=[skeleton], tracks=[track])


def write(root: Path) -> str:
    import sleap_io as sio

    video(root / "clip.mp4")
    for number in range(2):
        Image.fromarray(frame(number)).save(root / f"still{number}.png")
    names = ["still0.png", "still1.png"]
    stills = {"filename": names[0], "filenames": names, "type": "ImageVideo"}
    videos = [
        sio.Video(filename="clip.mp4", open_backend=False),
        sio.Video(filename=names, backend_metadata=stills, open_backend=False),
    ]
    sio.save_slp(labels(videos), str(root / "labels.slp"), embed=False, verbose=False)
    return str(root / "labels.slp")


def package(root: Path, *, order: str | None = None) -> str:
    """The first frame of the above in a package with an embedded image, red on top, as SLEAP 1.3 wrote it."""
    import h5py
    import sleap_io as sio

    everything = labels(
        [sio.Video(filename="a.mp4", open_backend=False), sio.Video(filename="b.mp4", open_backend=False)]
    )
    everything.labeled_frames = everything.labeled_frames[:1]
    sio.save_slp(everything, str(root / "few.pkg.slp"), embed=False, verbose=False)
    image = frame(0)
    image[:12] = (250, 10, 10)
    Image.fromarray(image).save(root / "embedded.png")
    content = np.frombuffer((root / "embedded.png").read_bytes(), np.int8)
    (root / "embedded.png").unlink()
    with h5py.File(root / "few.pkg.slp", "r+") as file:
        file.create_dataset("video0/video", data=content[None])
        file["video0/frame_numbers"] = np.array([1])
        if order:
            file["video0/video"].attrs["channel_order"] = order
        backend = {"filename": ".", "dataset": "video0/video", "input_format": "channels_last"}
        del file["videos_json"]
        file["videos_json"] = [json.dumps({"backend": backend}).encode()]
        file["frames"][0] = (0, 0, 1, 0, 1)
    return str(root / "few.pkg.slp")


def write_package(root: Path) -> str:
    return package(root)
