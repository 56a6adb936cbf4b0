from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import tiny

from poseshift.apps.adapt import adapt
from poseshift.engine.run import open_run
from poseshift.errors import ConfigError, DataError, UsageError

TINY = [
    "common.model={backbone: small, head: pyramid, width: 16, stride: 4}",
    *("common.input_size=32", "common.batch_size=4", "common.agreement_images=4", "common.device=cpu"),
    *("stages.style.steps=2", "stages.source.steps=2", "stages.adapt.steps=2"),
]


def files(folder: Path, names: list[str]) -> dict[str, str]:
    """A COCO source with its own skeleton, and a folder of photographs without labels."""
    tiny.coco(folder / "train.json", tiny.photos(folder / "rendered", 6), names)
    tiny.photos(folder / "photos" / "a", 5, size=(60, 36), seed=1)
    return {"source": f"coco:{folder / 'train.json'}", "target": f"images:{folder / 'photos'}"}


def test_ones_own_data_with_its_own_skeleton(tmp_path: Path) -> None:
    names = ["left_ear", "right_ear", "tail"]
    run = adapt(**files(tmp_path, names), out=tmp_path / "runs", overrides=TINY, command="c", quiet=True)
    assert run.path == tmp_path / "runs" / "adapt"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"style", "source", "adapt"}
    assert run.skeleton.keypoints == tuple(names)
    assert run.skeleton.flip_index == (1, 0, 2)
    assert run.config.method.name == "multilevel"
    notes = run.manifest["notes"]
    assert "boxes: given" in notes["source"]
    assert "boxes: whole" in notes["target"]
    assert run.manifest["uses_target_labels"] == "no"
    assert "agreement" in run.checkpoint("best").info["scores"]
    assert all(open_run(path).finished for path in (tmp_path / "runs").iterdir())


def test_a_recipe_and_its_data(tmp_path: Path) -> None:
    raw: dict[str, Any] = {
        "common": {**tiny.COMMON, "steps": 1},
        "stages": {"only": {"method": {"name": "multilevel", "levels": []}}},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(raw))
    run = adapt(out=tmp_path / "runs", recipe=tmp_path / "r.yaml", quiet=True)
    assert run.config.source is not None
    assert run.config.source.data == tiny.SOURCE
    other = adapt(
        target="figures:middle,side=48,count=8", out=tmp_path / "other", recipe=tmp_path / "r.yaml", quiet=True
    )
    assert other.config.target is not None
    assert other.config.target.data == "figures:middle,side=48,count=8"
    assert other.config.target.boxes == tiny.COMMON["target"]["boxes"], "of the same format: the recipe's options stay"


def test_a_recipes_split_stays_with_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `--target lsp:PATH` for a recipe that adapts to the training half would adapt to the test half as well."""
    seen: list[Any] = []
    monkeypatch.setattr(
        "poseshift.apps.recipes.train_stages", lambda recipe, *args, **options: seen.append(recipe) or []
    )
    raw = {
        "common": {
            "source": {"data": "figures:source"},
            "target": {"data": "lsp:A", "split": "train", "boxes": "whole"},
        },
        "stages": {"only": {"method": {"name": "multilevel", "levels": []}}},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(raw))
    for target in ("lsp:B", "images:B"):
        with pytest.raises(AssertionError, match="at least one stage"):
            adapt(target=target, out=tmp_path / "runs", recipe=tmp_path / "r.yaml", quiet=True)
    assert seen[0].common["target"] == {"data": "lsp:B", "split": "train", "boxes": "whole"}
    assert seen[1].common["target"] == {"data": "images:B"}


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_role_that_nobody_names(role: str, tmp_path: Path) -> None:
    given = {"source": tiny.SOURCE, "target": tiny.TARGET}
    del given[role]
    with pytest.raises(UsageError, match=f"{role}: neither the command nor the recipe names it; give --{role} FORMAT"):
        adapt(**given, out=tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists()


def test_labels_of_the_target_need_a_mapping_where_counts_differ(tmp_path: Path) -> None:
    given = files(tmp_path, ["a", "b"])
    tiny.coco(tmp_path / "target.json", sorted((tmp_path / "photos" / "a").iterdir()), ["a", "b", "c"])
    given["target"] = f"coco:{tmp_path / 'target.json'}"
    with pytest.raises(DataError, match=r"2 keypoints \['a', 'b'\], expected 3"):
        adapt(**given, out=tmp_path / "runs", overrides=TINY, quiet=True)  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists()
    mapping = "common.target.mapping={c: b, b: ''}"
    run = adapt(**given, out=tmp_path / "runs", overrides=[*TINY, mapping, "stages.style.steps=1"], quiet=True)  # type: ignore[arg-type]
    assert run.skeleton.keypoints == ("a", "b", "c")


def test_overrides_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stage 'style': unknown key 'sed'; did you mean 'seed'"):
        adapt(tiny.SOURCE, tiny.TARGET, out=tmp_path / "runs", overrides=["common.sed=1"], quiet=True)
    assert not (tmp_path / "runs").exists()
