"""Every command shown in README, docs and recipes is executed.

Each documented command stands in ``EXECUTED`` with how it is run in miniature, or in ``ELSEWHERE`` with what runs it.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.apps.predict.films import film

from poseshift.apps import recipes
from poseshift.data.images import ImageFiles

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)```(?:bash|console|sh)[ \t]*\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command line, continuation lines joined, prompt and comment removed."""

    text: str
    place: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """How a documented command is run small.

    Attributes:
        replace: Words of the command to what stands in their place.
        add: Words that are added at the end.
        creates: Files, in the folder that all commands share, that must be there afterwards.
    """

    replace: Mapping[str, str] = field(default_factory=dict)
    add: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()


def stages_of(recipe: str) -> tuple[str, ...]:
    return tuple(recipes.load(ROOT / "recipes" / recipe).stages)


FIGURES_STAGES = stages_of("daml/figures-middle.yaml")

# A command as it is shown, spaces normalised -> its miniature, in the order in which they must run.
ADAPT_SMALL = (
    *("--set", "common.model={backbone: small, head: pyramid, width: 16}", "--set", "common.input_size=64"),
    *("--set", "common.batch_size=4", "--set", "stages.style.steps=2", "--set", "stages.source.steps=2"),
)
FEW_STEPS = (
    *("--set", "common.source.data=figures:source,side=64,count=8", "--set", "common.source.boxes=whole"),
    *("--set", "common.batch_size=4", "--set", "common.agreement_images=4"),
)
SMALL_RUN = (
    *("--set", "steps=2", "--set", "batch_size=4", "--set", "source.data=figures:source,side=64,count=8"),
    *("--set", "model.width=16"),
)
SMALL_STUDY = (
    *("--set", "common.agreement_images=4", "--set", "common.model.width=16"),
    *("--set", "common.target.data=figures:middle,side=64,count=8"),
    *("--set", "study.test.data=figures:middle,side=64,count=8"),
    *("--set", "common.save_every=1", "--set", "common.norms_every=0"),
    *(word for stage in FIGURES_STAGES for word in ("--set", f"stages.{stage}.steps=1")),
)
RECIPE = "recipes/daml/{}.yaml"
PAIR = RECIPE.format("figures-middle")
EXECUTED: dict[str, Miniature] = {
    "poseshift adapt --source coco:rendered/train.json --target images:photos --out runs/mine": Miniature(
        add=(*ADAPT_SMALL, "--set", "stages.adapt.steps=2"),
        creates=("runs/mine/style/manifest.json", "runs/mine/source/manifest.json", "runs/mine/adapt/manifest.json"),
    ),
    "poseshift adapt --source coco:rendered/train.json --target images:photos --out runs/better"
    " --set common.model.weights=mobilenetv2.safetensors": Miniature(
        add=(
            *("--set", "common.input_size=64", "--set", "common.batch_size=4", "--set", "stages.style.steps=1"),
            *("--set", "stages.source.steps=1", "--set", "stages.adapt.steps=1"),
        ),
        creates=("runs/better/adapt/manifest.json",),
    ),
    "poseshift train runs/mine/adapt/run.yaml --set selection=plausibility --out runs/plausible": Miniature(
        creates=("runs/plausible/manifest.json",)
    ),
    "poseshift predict runs/mine/adapt photos --out predictions.json": Miniature(creates=("predictions.json",)),
    "poseshift predict runs/mine/source photos --adapt statistics --out predictions.csv": Miniature(
        creates=("predictions.csv",)
    ),
    "poseshift predict runs/mine/adapt photos --raw-scores --out raw.json": Miniature(creates=("raw.json",)),
    "poseshift predict runs/mine/adapt film.mp4 --out film.csv --overlay film-poses.mp4": Miniature(
        creates=("film.csv", "film-poses.mp4")
    ),
    'poseshift predict runs/mine/adapt photos "films/*.mp4" --out predictions.parquet': Miniature(
        creates=("predictions.parquet",)
    ),
    "poseshift predict runs/mine/adapt film.mp4 --boxes boxes.csv --out tracks.h5": Miniature(creates=("tracks.h5",)),
    "poseshift calibrate runs/mine/adapt": Miniature(),
    "poseshift export runs/mine/adapt --format onnx": Miniature(creates=("runs/mine/adapt/export/model.onnx",)),
    "poseshift predict runs/mine/adapt/export/model.onnx photos --out predictions.json": Miniature(
        creates=("predictions.json",)
    ),
    "poseshift export runs/mine/adapt --quantise int8": Miniature(creates=("runs/mine/adapt/export/model-int8.onnx",)),
    "poseshift predict runs/mine/adapt photos --boxes boxes.json --flip-test --out predictions.csv": Miniature(
        creates=("predictions.csv",)
    ),
    "poseshift evaluate runs/mine/adapt --data coco:labelled.json": Miniature(),
    "poseshift evaluate runs/mine/adapt --data coco:labelled.json --boxes whole": Miniature(),
    "poseshift report runs/mine/source runs/mine/adapt --data coco:labelled.json --out report.html": Miniature(
        creates=("report.html",)
    ),
    "poseshift info runs/mine/adapt": Miniature(),
    "poseshift bench --rows heatmaps,images_cached": Miniature(add=("--quick",)),
    "poseshift check coco:labelled.json --split groups_0_80": Miniature(),
    "poseshift check coco:rendered/train.json --html check.html": Miniature(creates=("check.html",)),
    "poseshift convert coco:rendered/train.json yolo_pose:converted": Miniature(creates=("converted/data.yaml",)),
    "poseshift convert coco:labelled.json deeplabcut:converted-dlc": Miniature(creates=("converted-dlc/labeled-data",)),
    "poseshift convert figures:source,count=100 coco:drawn/labels.json --split val": Miniature(
        replace={"figures:source,count=100": "figures:source,count=3,side=32"}, creates=("drawn/labels.json",)
    ),
    "poseshift convert coco:labelled.json yolo_pose:converted-yolo --images link": Miniature(
        creates=("converted-yolo/data.yaml",)
    ),
    "poseshift convert coco:labelled.json lightning_pose:CollectedData.csv --images keep": Miniature(
        creates=("CollectedData.csv",)
    ),
    "poseshift doctor --source coco:rendered/train.json --target images:photos --html doctor.html": Miniature(
        add=("--set", "common.input_size=64"), creates=("doctor.html",)
    ),
    "poseshift doctor --source coco:rendered/train.json --target images:photos --weights mobilenetv2.safetensors": (
        Miniature(add=("--set", "common.input_size=64"))
    ),
    "poseshift doctor --recipe recipes/daml/figures-middle.yaml --json": Miniature(
        replace={RECIPE.format("figures-middle"): str(ROOT / RECIPE.format("figures-middle"))}, add=("--images", "20")
    ),
    "poseshift pack coco:rendered/train.json packed/train": Miniature(
        creates=("packed/train/index.json", "packed/train/data/train-00000-of-00001.parquet")
    ),
    "poseshift check packed:packed/train": Miniature(),
    "poseshift train source.yaml --set optimiser.rate=0.0005 --out runs/source": Miniature(
        add=SMALL_RUN, creates=("runs/source/manifest.json",)
    ),
    "poseshift train source.yaml --on-nonfinite skip --out runs/patient": Miniature(
        add=SMALL_RUN, creates=("runs/patient/manifest.json",)
    ),
    "poseshift train prior.yaml --out runs/prior": Miniature(
        add=("--set", "steps=2", "--set", "batch_size=4"), creates=("runs/prior/manifest.json",)
    ),
    "poseshift adapt --recipe recipes/daml/figures-middle.yaml --out runs/figures-middle": Miniature(
        replace={RECIPE.format("figures-middle"): str(ROOT / RECIPE.format("figures-middle"))},
        add=(
            *FEW_STEPS,
            *("--set", "common.target.data=figures:middle,side=64,count=8"),
            *("--set", "stages.oracle.source.data=figures:middle,side=64,count=8"),
            *(word for stage in FIGURES_STAGES for word in ("--set", f"stages.{stage}.steps=1")),
        ),
        creates=("runs/figures-middle/multilevel/manifest.json",),
    ),
    **{
        f"poseshift {text}": Miniature(
            replace={PAIR: str(ROOT / PAIR), "0,1,2": "0", "0,1": "0"}
            | {word: word.replace(",0.1,1", "").replace(",0.15,0.5", "") for word in text.split() if "_weight=" in word}
            | {"20": "2"},
            add=(*FEW_STEPS, *SMALL_STUDY, "--quiet"),
            creates=tuple(
                f"{text.split()[-1]}/{file}" for file in ("table.md", "table.tex", "table.csv", "report.html")
            ),
        )
        for text in (
            f"compare {PAIR} --methods source,dann,shot,multilevel --seeds 0,1,2 --out runs/compared",
            f"compare {PAIR} --methods source,dann --seeds 3 --add runs/compared/scores.json --out runs/fourth",
            f"ablate {PAIR} --seeds 0,1,2 --out runs/ablation",
            f"sweep {PAIR} --set method.domain_weight=0.001,0.01,0.1,1"
            " --set method.certainty_weight=0.05,0.15,0.5 --seeds 0,1 --out runs/swept",
            f"sweep {PAIR} --set method.domain_weight=0.001..1 --guided 20 --out runs/searched",
            f"sweep {PAIR} --set method.domain_weight=0.001..1 --guided 20"
            " --storage sqlite:///search.db --out runs/searched-here",
        )
    },
    **{
        f"poseshift adapt --recipe recipes/daml/{name}.yaml --target {data} --out runs/{name}"
        " --set common.model.weights=DATA/weights/mobilenetv2_100.imagenet.fp16.safetensors": Miniature(
            replace={
                RECIPE.format(name): str(ROOT / RECIPE.format(name)),
                data: "images:photos",
                "common.model.weights=DATA/weights/mobilenetv2_100.imagenet.fp16.safetensors": (
                    "common.model.weights=mobilenetv2.safetensors"
                ),
            },
            add=(
                *("--set", f"common.source.data={source},side=64,count=8", "--set", "common.batch_size=4"),
                *("--set", "common.input_size=64", "--set", "common.agreement_images=4"),
                *("--set", "stages.oracle.source={data: 'figures:source,side=64,count=8', boxes: whole}"),
                *(word for stage in stages_of(f"daml/{name}.yaml") for word in ("--set", f"stages.{stage}.steps=1")),
            ),
            creates=(f"runs/{name}/multilevel/manifest.json",),
        )
        for name, data, source in (
            ("figures-lsp", "lsp:DATA/lsp", "figures:source"),
            ("quadrupeds-animalpose", "animalpose:DATA/animalpose", "quadrupeds:source"),
        )
    },
}

# Recipes of published pairs: what stands for their data is written by the formats' own miniatures.
PUBLISHED = (
    ("surreal-lsp", "surreal:DATA/surreal", "lsp:DATA/lsp"),
    ("surreal-human36m", "surreal:DATA/surreal", "human36m:DATA/human36m"),
    ("rhd-h3d", "rhd:DATA/rhd@visible_only,mirror=left", "h3d:DATA/h3d"),
    ("syntheticanimal-tigdog", "synthetic_animal:DATA/animal_data@18", "tigdog:DATA/animal_data/behaviorDiscovery2.0"),
    ("syntheticanimal-animalpose", "synthetic_animal:DATA/animal_data@14", "animalpose:DATA/animalpose"),
)
SMALL_NET = ("backbone=small", "head=pyramid", "width=16", "weights=null")


def published(folder: str, name: str, source: str, target: str) -> tuple[str, Miniature]:
    """The command in the header of a published pair's recipe, and its miniature."""
    recipe, out = f"recipes/{folder}/{name}.yaml", f"runs/{name}" if folder == "daml" else f"runs/{folder}-{name}"
    command = f"poseshift adapt --recipe {recipe} --source {source} --target {target} --out {out}"
    miniature = Miniature(
        replace={recipe: str(ROOT / recipe), "common.model.weights=pretrained": "common.precision=32-true"},
        add=(
            *(word for change in SMALL_NET for word in ("--set", f"common.model.{change}")),
            *("--set", "common.input_size=64", "--set", "common.batch_size=4", "--set", "common.workers=0"),
            *("--set", "common.agreement_images=4", "--set", "common.source.limit=6", "--set", "common.target.limit=6"),
            *(word for stage in stages_of(f"{folder}/{name}.yaml") for word in ("--set", f"stages.{stage}.steps=1")),
        ),
        creates=(f"{out}/adapt/manifest.json",),
    )
    return f"{command} --set common.model.weights=pretrained", miniature


EXECUTED |= dict(
    published(path.parent.name, name, source, target)
    for name, source, target in PUBLISHED
    for path in sorted((ROOT / "recipes").glob(f"*/{name}.yaml"))
)

METHODS_LIST = ",".join(
    (
        *("source", "source_longer", "bn_adapt", "mean_teacher", "uniframe", "multilevel", "multilevel_plus", "dann"),
        *("regda", "ccssl", "uda_animal", "shot", "maps", "sfdahpe", "post"),
    )
)
SMALL_PAIR = ("common.input_size=64", "common.batch_size=4", "common.agreement_images=4", "common.workers=0")


def every_method(name: str, seeds: str, data: str, domains: tuple[str, str]) -> tuple[str, Miniature]:
    """The command in the header of a recipe that compares all methods; in miniature some of them, for one step."""
    recipe, weights = f"recipes/methods/{name}.yaml", "DATA/weights/mobilenetv2_100.imagenet.fp16.safetensors"
    command = f"poseshift compare {recipe} --seeds {seeds} --jobs 2 --out runs/methods-{name} --methods {METHODS_LIST}"
    if data:
        command += f" --set common.target.data={data} --set study.test.data={data} --set common.model.weights={weights}"
    source, target = (f"{domain},side=64,count=8" for domain in domains)
    changes = (
        *SMALL_PAIR, *(f"common.model.{change}" for change in SMALL_NET), f"common.source.data={source}",
        f"common.target={{data: '{target}', split: train, boxes: whole}}",
        f"study.test={{data: '{target}', boxes: whole, splits: [test]}}",
        *(f"stages.{stage}.steps=1" for stage in stages_of(f"methods/{name}.yaml")),
    )  # fmt: skip
    small = Miniature(
        replace={recipe: str(ROOT / recipe), seeds: "0", "2": "1", METHODS_LIST: "source,multilevel_plus,post"},
        add=tuple(word for change in changes for word in ("--set", change)),
        creates=(f"runs/methods-{name}/table.md", f"runs/methods-{name}/report.html"),
    )
    return command, small


EXECUTED |= dict(
    (
        every_method("figures-middle", "0,1,2", "", ("figures:plain", "figures:middle")),
        every_method("figures-lsp", "0", "lsp:DATA/lsp", ("figures:source", "figures:middle")),
        every_method("quadrupeds-animalpose", "0", "animalpose:DATA/animalpose", ("quadrupeds:source",) * 2),
    )
)

# Configurations that a page shows, and that its commands use: the page and the name in their first line.
SHOWN = (("getting-started.md", "source.yaml"), ("method.md", "prior.yaml"))

# Commands that no test here can run -> the file that runs them, and the text in it that shows it.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "make env": (".ci/run", "make env"),
    "make test": (".ci/run", "make test"),
    "make check": (".ci/run", "make check"),
    "make demo": (".ci/run", "make demo"),
    "make format": ("Makefile", "format: $(STAMP)"),
}

# Commands that start several processes -> what the test that starts them so says.
LAUNCHED = {
    "torchrun --standalone --nproc-per-node 2 -m poseshift train source.yaml --out runs/source":
        '"--standalone", "--nproc-per-node", "2", "-m", "poseshift", "train"',
    "torchrun --standalone --nproc-per-node 2 -m poseshift evaluate runs/source --data coco:labelled.json":
        'words = ("evaluate", "whole", "--data"',
    **{
        f"torchrun --nnodes 2 --node-rank {node} --nproc-per-node 4 --master-addr first --master-port 29500"
        " -m poseshift train source.yaml --out runs/source":
            '"--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port"'
        for node in range(2)
    },
}  # fmt: skip

# How a user gets the code: needs a network or a repository, and starts no code of ours.
NO_CODE_OF_OURS = re.compile(r"^(git clone|cd) \S+$")


def fenced_commands(text: str, place: str) -> list[Command]:
    """Commands of all ``bash``, ``console`` and ``sh`` blocks; where lines start with ``$``, those alone."""
    commands = []
    for block in FENCE.finditer(text):
        body = block["body"].replace("\\\n", " ")
        lines = [line.strip() for line in body.splitlines()]
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        commands += [part.strip() for line in prompted or lines for part in re.split(r"\s&&\s|;\s", line)]
    commands = [" ".join(re.sub(r"(?<=\s)#.*$", "", c).split()) for c in commands if c and not c.startswith("#")]
    return [Command(text=text, place=place) for text in commands if text]


def header_commands(text: str, place: str) -> list[Command]:
    """Commands in the comment at the head of a recipe."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    joined = "\n".join(lines).replace("\\\n", " ")
    found = re.findall(
        r"^(?:command:\s*)?(?:\$\s+)?((?:poseshift|python|make) .*)$", joined, re.MULTILINE | re.IGNORECASE
    )
    return [Command(text=" ".join(command.split()), place=place) for command in found]


@cache
def documented() -> tuple[Command, ...]:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [c for p in pages if p.exists() for c in fenced_commands(p.read_text(encoding="utf-8"), p.name)]
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        found += header_commands(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    return tuple(found)


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``poseshift WORDS`` with this interpreter, with wide and plain output."""
    plain = {"COLUMNS": "400", "TERM": "dumb", "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", "from poseshift.cli import main; main()", *words]
    environment = os.environ | plain
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=280)


@cache
def options_of(command: str) -> frozenset[str]:
    """The options that ``poseshift COMMAND --help`` lists; empty where there is no such command."""
    done = run(command, "--help", cwd=ROOT)
    return frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", done.stdout)) if done.returncode == 0 else frozenset()


def test_the_collector_reads_blocks_prompts_and_continuations() -> None:
    text = (
        "a\n```bash\nposeshift train x.yaml \\\n  --out runs/x  # why\n# only a comment\nmake demo && make test\n```\n"
    )
    text += "```console\n$ poseshift info\nposeshift 0.1.0\n```\n```python\nposeshift.train()\n```\n"
    texts = [command.text for command in fenced_commands(text, "page")]
    assert texts == ["poseshift train x.yaml --out runs/x", "make demo", "make test", "poseshift info"]


def test_the_collector_reads_headers_of_recipes() -> None:
    head = ["# Some paper, table 2", "# command: poseshift train recipes/a.yaml \\", "#   --out runs/a", "# hours: 2"]
    text = "\n".join([*head, "seed: 0", "# poseshift info"])
    found = [command.text for command in header_commands(text, "recipe")]
    assert found == ["poseshift train recipes/a.yaml --out runs/a"]


def test_each_documented_option_exists() -> None:
    """The sub-command's ``--help`` lists each option that is used."""
    wrong = []
    for command in documented():
        if command.words[0] != "poseshift" or len(command.words) < 2 or command.words[1].startswith("-"):
            continue
        used = {word.partition("=")[0] for word in command.words[2:] if re.match(r"--?[a-zA-Z]", word)}
        missing = used - options_of(command.words[1]) - {"--help"}
        if missing or not options_of(command.words[1]):
            wrong.append(f"{command.place}: {command.text}: unknown {sorted(missing) or command.words[1]}")
    assert not wrong


def test_each_documented_command_is_executed() -> None:
    unknown = [
        f"{command.place}: {command.text}"
        for command in documented()
        if command.text not in {*EXECUTED, *ELSEWHERE, *LAUNCHED} and not NO_CODE_OF_OURS.match(command.text)
    ]
    assert not unknown, "give each a miniature in EXECUTED, or what runs it in ELSEWHERE"


def test_the_tables_hold_nothing_that_is_not_documented() -> None:
    shown = {command.text for command in documented()}
    assert not {*EXECUTED, *LAUNCHED} - shown


@pytest.mark.parametrize("command", LAUNCHED)
def test_what_starts_several_processes_is_started_so(command: str) -> None:
    assert LAUNCHED[command] in (ROOT / "tests/engine/test_processes.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(ELSEWHERE))
def test_what_runs_elsewhere_does(command: str) -> None:
    file, text = ELSEWHERE[command]
    assert text in (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def write_material(work: Path) -> None:
    """The files that the documentation's user has: renderings, photographs, boxes, a configuration, weights."""
    import timm
    from PIL import Image
    from safetensors.torch import save_file

    from poseshift.data import formats

    for name, folder, split in (("rendered/train.json", "rendered", "train"), ("labelled.json", ".", "test")):
        annotations = formats.read("figures:plain,side=64,count=8", split=split)
        paths = []
        for index in range(len(annotations)):
            path = work / folder / f"{split}-{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(annotations.images.read(index)).save(path)
            paths.append(path.name)
        images = ImageFiles(root=work / folder, paths=tuple(paths))
        formats.write(replace(annotations, images=images, image_index=np.arange(len(paths))), f"coco:{work / name}")
    (work / "photos").mkdir()
    photos = [work / f"photos/{index}.png" for index in range(6)]
    for index, photo in enumerate(photos):
        noise = np.random.default_rng(index).integers(0, 255, (50, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photo)
    boxes = {
        "images": [{"id": index, "file_name": photo.name} for index, photo in enumerate(photos)],
        "annotations": [{"id": i, "image_id": i, "bbox": [5, 5, 40, 40], "category_id": 1} for i in range(6)],
    }
    (work / "boxes.json").write_text(json.dumps(boxes))
    for name in ("film.mp4", "films/other.mp4"):
        film(work / name, range(4))
    (work / "boxes.csv").write_text("file,frame,x,y,width,height,id\nfilm.mp4,0,4,4,40,30,left mouse\n")
    for page, name in SHOWN:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        shown = re.findall(rf"```yaml\n(# {re.escape(name)}\n.*?)```", text, re.DOTALL)
        (work / name).write_text(shown[0], encoding="utf-8")
    save_file(timm.create_model("mobilenetv2_100").state_dict(), work / "mobilenetv2.safetensors")
    for word in sorted({word for _, *words in PUBLISHED for word in words}):
        name, _, path = word.partition(":")
        folder = work / path.partition("@")[0]
        if not folder.exists():
            folder.mkdir(parents=True)
            miniature = runpy.run_path(str(ROOT / f"tests/data/formats/miniatures/{name}.py"))
            written = Path(miniature.get("whole", miniature["write"])(folder))
            if written != folder:
                shutil.copytree(written, folder, dirs_exist_ok=True)


def call(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs ``poseshift WORDS`` in this process, where torch is imported already; returns the exit code."""
    from poseshift.cli import main

    monkeypatch.setattr(sys, "argv", ["poseshift", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def kind(text: str) -> str:
    """Which commands use what others of their kind made: recipes and studies stand for themselves."""
    if text.split()[1] in ("compare", "ablate", "sweep"):
        return "studies"
    return "recipes" if "adapt --recipe" in text else "a user's day"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("of", ["a user's day", "recipes", "studies"])
def test_the_documented_commands_run_in_miniature(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind in one folder and in order, since one command uses what another made."""
    write_material(tmp_path)
    monkeypatch.chdir(tmp_path)
    for text, small in EXECUTED.items():
        if kind(text) != of:
            continue
        words = [small.replace.get(word, word) for word in shlex.split(text)[1:]] + list(small.add)
        assert call(words, monkeypatch) == 0, text
        assert not [name for name in small.creates if not (tmp_path / name).exists()], text
