import inspect
import typing
from pathlib import Path

import pytest
from tests import tiny

import poseshift
from poseshift.engine import run as engine_run

NAMES = {
    *("adapt", "train", "evaluate", "predict", "calibrate", "export", "report"),
    *("open_run", "Run", "RunConfig", "PoseshiftError"),
    *("ablate", "compare", "sweep"),
}
TYPES = {"Skeleton", "Record", "Annotations", "Predictions", "View", "SourceBatch", "TargetBatch", "Batch"}


def test_what_is_public() -> None:
    assert set(poseshift.__all__) == NAMES | TYPES | {"__version__"}
    assert all(hasattr(poseshift, name) for name in poseshift.__all__)


def test_importing_it_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, poseshift; assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules; poseshift.types"
    )
    code = code.replace("poseshift.types", "poseshift.Skeleton; assert 'torch' not in sys.modules; print('fine')")
    done = tiny.python(code, cwd=tmp_path)
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("name", sorted(NAMES | TYPES))
def test_every_public_name_is_documented_and_typed(name: str) -> None:
    thing = getattr(poseshift, name)
    assert inspect.getdoc(thing), name
    assert thing.__doc__ is not None
    assert thing.__module__.startswith("poseshift.")
    if inspect.isfunction(thing):
        parameters = inspect.signature(thing).parameters.values()
        assert all(one.annotation is not inspect.Parameter.empty for one in parameters)
        assert "return" in typing.get_type_hints(thing, localns=vars(engine_run))
        doc = inspect.getdoc(thing) or ""
        assert [one.name for one in parameters if f"{one.name}:" not in doc and len(parameters) > 1] == []
    else:
        public = [getattr(thing, key) for key in vars(thing) if not key.startswith("_")]
        bare = [one.__name__ for one in public if inspect.isfunction(one) and not inspect.getdoc(one)]
        assert bare == []


def test_options_are_named() -> None:
    """More than the things themselves is never given by position."""
    for name in ("ablate", "adapt", "compare", "sweep", "train", "evaluate", "predict", "report"):
        parameters = inspect.signature(getattr(poseshift, name)).parameters.values()
        assert sum(one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for one in parameters) == 2, name


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match="no attribute 'adopt'; it has __version__, adapt"):
        poseshift.adopt  # type: ignore[attr-defined]  # noqa: B018


def test_it_is_typed() -> None:
    assert (Path(poseshift.__file__).parent / "py.typed").is_file()
