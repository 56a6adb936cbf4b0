"""Time and memory to open a million instances: COCO json beside ``json.load``, and packed data.

Usage: ``python benchmarks/opening.py [--instances N] [--repeats R] [--out FOLDER]``

Generates the set in a temporary folder: 17 keypoints, four instances an image (COCO has about as many), every image a
file of its own; the json twice, with whole coordinates as COCO's own has and with two decimals as tools write them.
Each measurement is a process of its own, with the files in the page cache. ``json.load`` and the reader take turns, and
a ratio is that of neighbours, since whatever else the machine does slows both. Packed data is opened twice in a
process: the first opening also loads pyarrow. Times are wall time, and processor time over all threads. Memory is the
resident set (RSS) after the first opening, and at its peak, less what it was before, by instance; pyarrow's own code is
counted. Writes ``opening.json`` and ``opening.md`` into ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parent / "results"
PER_IMAGE, KEYPOINTS, SIZE = 4, 17, (640, 480)
CHUNK = 10_000

MEASURE = """
import json, os, resource, sys, time
from poseshift.data import formats
def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
def peak():  # not ru_maxrss, which a process inherits
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
def load():
    with open(path, encoding="utf-8") as file:
        return json.load(file)
def timed():
    wall, cpu = time.perf_counter(), time.process_time()
    opened = load() if kind == "json.load" else formats.read(f"{kind}:{path}")
    return opened, time.perf_counter() - wall, time.process_time() - cpu
kind, path = sys.argv[1:]
before = resident()
found, wall, cpu = timed()
count = len(found["annotations"] if kind == "json.load" else found)
result = {"wall": wall, "cpu": cpu, "kept": (resident() - before) / count, "peak": (peak() - before) / count}
if kind == "packed":
    del found
    _, result["again_wall"], result["again_cpu"] = timed()
print(json.dumps(result))
sys.stdout.flush()
os._exit(0)  # freeing a hundred million objects is not opening
"""


def write_images(folder: Path, count: int) -> None:
    """Small JPEG files, all the same."""
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (90, 120, 60)).save(file, "JPEG")
    for number in range(count):
        (folder / f"{number:012d}.jpg").write_bytes(file.getvalue())


def write_json(path: Path, instances: int, decimals: int) -> None:
    """A COCO keypoint file, written some thousand instances at a time."""
    rng = np.random.default_rng(0)
    shape = (CHUNK, KEYPOINTS, 3)
    names = [f"keypoint_{number}" for number in range(KEYPOINTS)]
    images = (
        f'{{"id": {i}, "file_name": "{i:012d}.jpg", "width": {SIZE[0]}, "height": {SIZE[1]}, "license": 1}}'
        for i in range(instances // PER_IMAGE)
    )
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"year": 2026}, "images": [' + ", ".join(images) + '], "annotations": [')
        for start in range(0, instances, CHUNK):
            values = np.concatenate(
                [rng.uniform(0, SIZE, (*shape[:2], 2)), rng.integers(1, 3, (*shape[:2], 1))], axis=2
            )
            points = values.round(decimals).reshape(CHUNK, -1).tolist()
            for row in range(min(CHUNK, instances - start)):
                x, y = points[row][:2]
                numbers = [int(v) if j % 3 == 2 or not decimals else v for j, v in enumerate(points[row])]
                annotation = {"segmentation": [[x, y, x + 9.5, y, x, y + 7.25]], "num_keypoints": KEYPOINTS}
                annotation |= {
                    "area": 123.4,
                    "iscrowd": 0,
                    "keypoints": numbers,
                    "image_id": (start + row) // PER_IMAGE,
                }
                annotation |= {"bbox": [x, y, 50.5, 80.25], "category_id": 1, "id": start + row}
                file.write((", " if start + row else "") + json.dumps(annotation))
        category = {"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}
        file.write('], "categories": [' + json.dumps(category) + "]}")


def measure(kind: str, path: Path) -> dict[str, float]:
    """Opens once in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind, str(path)], capture_output=True, text=True, check=True, env=os.environ
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def spread(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """Median, least and most of each number."""
    return {key: [pick([row[key] for row in rows]) for pick in (statistics.median, min, max)] for key in rows[0]}


def ratios(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, list[float]]:
    """Of wall and processor time, neighbour by neighbour."""
    return spread([{key: a[key] / b[key] for key in ("wall", "cpu")} for a, b in zip(ours, theirs, strict=True)])


def run(folder: Path, instances: int, repeats: int) -> dict[str, Any]:
    """Generates and measures."""
    from poseshift.apps.pack import pack

    write_images(folder, instances // PER_IMAGE)
    result: dict[str, Any] = {"instances": instances, "repeats": repeats}
    for name, decimals in (("whole", 0), ("decimals", 2)):
        file = folder / f"{name}.json"
        write_json(file, instances, decimals)
        pairs = [(measure("coco", file), measure("json.load", file)) for _ in range(repeats)]
        ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
        result[name] = {"mib": file.stat().st_size / 2**20, "coco": spread(ours), "json.load": spread(theirs)}
        result[name]["ratio"] = ratios(ours, theirs)
    pack(f"coco:{folder / 'decimals.json'}", folder / "packed")
    size = sum(path.stat().st_size for path in (folder / "packed/instances").iterdir())
    opened = [measure("packed", folder / "packed") for _ in range(max(repeats, 5))]
    result["packed"] = {"mib": size / 2**20, "packed": spread(opened)}
    return result


def text(result: dict[str, Any]) -> str:
    """The result as Markdown."""

    def cell(values: list[float], digits: int) -> str:
        return f"{values[0]:.{digits}f} ({values[1]:.{digits}f} to {values[2]:.{digits}f})"

    titles = {"whole": "json, whole coordinates", "decimals": "json, two decimals", "packed": "packed, table"}
    lines = [
        "# Opening",
        "",
        f"`benchmarks/opening.py`: {result['instances']:,} instances of {KEYPOINTS} keypoints, {PER_IMAGE} an image; "
        f"median (least to most) of {result['repeats']} processes, at least 5 of packed data. {result['machine']}.",
        "",
        "| data | opened by | wall s | processor s | bytes kept an instance | bytes at the peak |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        for reader in [key for key in ("json.load", "coco", "packed") if key in result[name]]:
            row = result[name][reader]
            cells = [cell(row["wall"], 2), cell(row["cpu"], 2), cell(row["kept"], 0), cell(row["peak"], 0)]
            lines.append(f"| {title} ({result[name]['mib']:.0f} MiB) | {reader} | {' | '.join(cells)} |")
    again = result["packed"]["packed"]
    lines.append(f"| the same | packed, again | {cell(again['again_wall'], 2)} | {cell(again['again_cpu'], 2)} | | |")
    lines += ["", "| ratio of coco to json.load | wall | processor |", "|---|---|---|"]
    for name in ("whole", "decimals"):
        found = result[name]["ratio"]
        lines.append(f"| {titles[name]} | {cell(found['wall'], 2)} | {cell(found['cpu'], 2)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), options.instances, options.repeats)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    result["machine"] = f"{os.cpu_count()} cores, Python {platform.python_version()}, load averages {load} at the end"
    (options.out / "opening.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "opening.md").write_text(text(result), encoding="utf-8")
    print(text(result))


if __name__ == "__main__":
    main()
