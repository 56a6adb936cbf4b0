import json
import re
from pathlib import Path

import pytest
import yaml
from tests import tiny

from poseshift import cli
from poseshift.engine.run import Run, open_run
from poseshift.errors import DataError, Interrupted, TrainingError
from poseshift.version import __version__

COMMANDS = (
    *("adapt", "train", "evaluate", "predict", "calibrate", "export", "report", "compare", "ablate", "sweep"),
    *("check", "doctor", "convert", "pack", "demo", "info", "bench"),
)

HELP = """
import io, re, sys
from contextlib import redirect_stdout
from poseshift import cli
for words in [[], *([name] for name in sys.argv[1:])]:
    sys.argv[1:], out = [*words, "--help"], io.StringIO()
    try:
        with redirect_stdout(out):
            cli.main()
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
    text = " ".join(out.getvalue().split())
    assert "Example: poseshift " + " ".join(words) in text, (words, text)
    assert "Usage" in text
heavy = {"torch", "torchvision", "timm", "lightning_fabric", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
print("fine")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(tmp_path_factory.mktemp("cli") / "run", change={"steps": 2})


def test_help_shows_an_example_and_imports_no_torch(tmp_path: Path) -> None:
    done = tiny.python(HELP, *COMMANDS, cwd=tmp_path)
    assert done.stdout == "fine\n", done.stdout + done.stderr


def test_every_command_is_here() -> None:
    names = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    assert names == set(COMMANDS)


def test_as_a_module(tmp_path: Path) -> None:
    """A process of its own: ``python -m poseshift``, its streams and exit codes."""
    done = tiny.command("train", "nothing.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "poseshift: nothing.yaml: cannot read the configuration (No such file or directory); give a YAML file\n"
    )
    assert not list(tmp_path.iterdir())


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    "words",
    [["fly"], ["train"], ["train", "a.yaml", "--speed", "9"], ["evaluate", "run"], ["adapt", "--source", "a:b"]],
)
def test_usage_errors(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.call(monkeypatch, *words) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert re.search("Missing|No such|Usage", text)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("no data"), 3),
        (TrainingError("not finite"), 1),
        (Interrupted(15, "stopped"), 143),
        (Interrupted(2, "stopped"), 130),
        (OSError(28, "No space left on device", "runs/x"), 3),
        (PermissionError(13, "Permission denied", "runs/x"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("poseshift.apps.info.installation", fail)
    assert tiny.call(monkeypatch, "info") == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    if not isinstance(error, KeyboardInterrupt):
        (line,) = text.splitlines()
        assert line.startswith("poseshift: ")
    if isinstance(error, OSError):
        assert text == f"poseshift: runs/x: {error.strerror}\n"


def test_train_twice_and_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny.write_config(tmp_path / "mine.yaml", change={"steps": 2})
    words = ("train", config.name, "--set", "seed=3", "--set", "optimiser={rate: 0.01}", "--device", "cpu", "--quiet")
    assert tiny.call(monkeypatch, *words) == 0
    assert capsys.readouterr().out == "finished: runs/mine\n"
    made = open_run("runs/mine")
    assert (made.config.seed, made.config.optimiser.rate, made.config.steps) == (3, 0.01, 2)
    assert made.manifest["command"] == "poseshift " + " ".join(words).replace(
        "optimiser={rate: 0.01}", "'optimiser={rate: 0.01}'"
    )
    made.note(outcome="running")
    assert tiny.call(monkeypatch, *words) == 0, "the same command again goes on"
    assert open_run("runs/mine").finished
    assert tiny.call(monkeypatch, "train", config.name, "--quiet") == 2
    text = capsys.readouterr().err
    assert "runs/mine: holds a run of another configuration (optimiser.rate is 0.01 there, 0.002 now" in text
    assert tiny.call(monkeypatch, "train", config.name, "--set", "steps", "--quiet") == 2
    assert "--set 'steps': expected KEY.KEY=VALUE" in capsys.readouterr().err


def test_evaluate(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("evaluate", run.path, "--data", tiny.TARGET, "--split", "test")
    assert tiny.call(monkeypatch, *words, "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["protocol"], found["instances"], found["checkpoint"]) == ("exact", 12, 2)
    assert tiny.call(monkeypatch, *words, "--protocol", "reference", "--checkpoint", "2", "--flip-test") == 0
    out = capsys.readouterr().out
    assert "reference" in out
    assert "all, visible" in out
    for wrong, text in (
        (("--protocol", "pck"), "protocol 'pck' is unknown; expected one of exact, reference"),
        (("--checkpoint", "newest"), "--checkpoint 'newest': expected best, last or a step"),
        (("--boxes", "tight"), "boxes 'tight' is unknown; expected one of given, from_keypoints, whole"),
        (("--device", "tpu"), "device 'tpu' is unknown"),
    ):
        assert tiny.call(monkeypatch, *words, *wrong) == 2
        assert text in capsys.readouterr().err
    assert tiny.call(monkeypatch, *words, "--checkpoint", "77") == 3
    assert "no such checkpoint; this run has steps [2]" in capsys.readouterr().err


def test_comparisons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is written and printed; bad input is one line, exit 2, and starts nothing."""
    monkeypatch.chdir(tmp_path)
    stages = {"source": {"method": {"name": "source_only"}}, "last": {"method": {"name": "multilevel", "levels": []}}}
    raw = {"common": {**tiny.COMMON, "steps": 1}, "stages": stages}
    Path("r.yaml").write_text(
        yaml.safe_dump({**raw, "study": {"test": {"data": tiny.TARGET, "boxes": "whole"}}}, sort_keys=False)
    )
    for words, text in (
        (
            ("compare", "r.yaml", "--methods", "sauce", "--out", "o"),
            "did you mean 'source'? stages of this recipe: source",
        ),
        (
            ("compare", "r.yaml", "--methods", "source", "--seeds", "0,x", "--out", "o"),
            "--seeds: 'x' is no whole number",
        ),
        (("compare", "r.yaml", "--methods", ",", "--out", "o"), "--methods: the list is empty"),
        (("ablate", "r.yaml", "--seeds", "", "--out", "o"), "--seeds: the list is empty"),
        (("sweep", "r.yaml", "--out", "o"), "--set: nothing to sweep"),
        (("sweep", "r.yaml", "--set", "method.domain_weight=-1", "--out", "o"), "found -1"),
        (("sweep", "r.yaml", "--set", "stages.last.steps=0", "--set", "steps=1", "--out", "o"), "steps"),
    ):
        assert tiny.call(monkeypatch, *words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert text in line
        assert not Path("o").exists()
    assert tiny.call(monkeypatch, "compare", "r.yaml", "--methods", "source", "--out", "o", "--quiet") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-2:] == ["tables: o/table.md, table.tex, table.csv", "report: o/report.html"]
    assert "[1/1] seed 0: source: PCK@0.05 test " in shown.err
    assert open_run("o/runs/seed-0/source").manifest["command"] == (
        "poseshift compare r.yaml --methods source --out o --quiet"
    )
    words = (
        "sweep",
        "r.yaml",
        "--set",
        "method.consistency_weight=1,2",
        "--set",
        "stages.source.steps=1",
        "--out",
        "s",
    )
    assert tiny.call(monkeypatch, *words, "--quiet") == 0
    assert "consistency_weight=2.0  " in capsys.readouterr().out
    assert (tmp_path / "s/figure.svg").is_file()


def test_predict(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.photos(tmp_path / "photos", 3)
    assert tiny.call(monkeypatch, "predict", run.path, tmp_path / "photos", "--out", tmp_path / "p.json") == 0
    assert capsys.readouterr().out == f"3 instances: {tmp_path / 'p.json'}; scores are calibrated\n"
    assert len(json.loads((tmp_path / "p.json").read_text())) == 3
    assert tiny.call(monkeypatch, "predict", run.path, tmp_path / "photos", "--out", tmp_path / "p.xml") == 2
    assert "give a name that ends in .json, .csv, .h5 or .parquet" in capsys.readouterr().err
    assert tiny.call(monkeypatch, "predict", run.path, tmp_path / "nothing", "--out", tmp_path / "q.json") == 3
    assert not (tmp_path / "q.json").exists()


def test_info(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.call(monkeypatch, "info", run.path, "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["outcome"], found["method"]) == ("finished", "source_only")
    assert tiny.call(monkeypatch, "info") == 0
    assert f"poseshift: {__version__}" in capsys.readouterr().out
    assert tiny.call(monkeypatch, "info", run.path.parent) == 3
    assert "it holds the runs ['run'], name one of them" in capsys.readouterr().err


def test_the_main_job_on_ones_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """COCO with a skeleton of its own, photographs without labels; then every other command on what came out."""
    names = ["left_wing", "right_wing", "beak"]
    monkeypatch.chdir(tmp_path)
    tiny.coco(tmp_path / "train.json", tiny.photos(tmp_path / "rendered", 6), names)
    tiny.coco(tmp_path / "test.json", tiny.photos(tmp_path / "photos" / "a", 4, seed=1), names)
    raw = yaml.safe_load((tiny.ROOT / "src/poseshift/apps/presets/adapt.yaml").read_text())
    sets = ["common.model={backbone: small, width: 16}", "common.input_size=32", "common.batch_size=4"]
    sets += [f"stages.{stage}.steps=2" for stage in raw["stages"]] + ["common.agreement_images=4"]
    words = ["adapt", "--source", "coco:train.json", "--target", "images:photos", "--out", "runs/mine", "--quiet"]
    assert tiny.call(monkeypatch, *words, *(word for one in sets for word in ("--set", one))) == 0
    assert capsys.readouterr().out.splitlines() == [
        "adapted model: runs/mine/adapt",
        "next: poseshift predict runs/mine/adapt IMAGES --out predictions.json",
    ]
    scored = ("evaluate", "runs/mine/adapt", "--data", "coco:test.json", "--json")
    assert tiny.call(monkeypatch, *scored) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert list(found["visible"]["keypoints"]) == names
    assert found["boxes"] == "whole", "the photos were taken whole, though test.json has boxes"
    assert tiny.call(monkeypatch, *scored, "--boxes", "given") == 0
    assert json.loads(capsys.readouterr().out)["boxes"] == "given"
    assert tiny.call(monkeypatch, "predict", "runs/mine/adapt", "photos", "--boxes", "test.json", "--out", "p.csv") == 0
    assert (tmp_path / "p.csv").read_text().startswith("file,left_wing_x,left_wing_y,left_wing_score,right_wing_x")
    assert tiny.call(monkeypatch, "info", "runs/mine/adapt") == 0
    assert "method: multilevel" in capsys.readouterr().out
    assert tiny.call(monkeypatch, "report", "runs/mine/source", "runs/mine/adapt", "--out", "report.html") == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000
