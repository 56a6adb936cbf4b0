"""An adaptation that is ready to take steps: a preset's own, on procedural figures, its parents trained for two."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poseshift.apps import recipes
from poseshift.engine.train import Session, train

DOMAINS = (("source", "source"), ("target", "middle"))
PARENTS = ("steps=2", "save_every=2", "norms_every=0", "agreement_images=4", "held_out=0")
ITSELF = ("agreement_images=4", "held_out=0")


@contextmanager
def adaptation(preset: str, overrides: tuple[str, ...], *, images: int, steps: int) -> Iterator[Session]:
    """The last stage of a preset before its first step, in a folder that goes away.

    Args:
        preset: Of the package.
        overrides: As of ``--set``.
        images: Of source and target each.
        steps: That the session is to have.
    """
    data = [f"common.{role}={{data: 'figures:{domain},count={images}', boxes: whole}}" for role, domain in DOMAINS]
    recipe = recipes.preset(preset)
    *parents, last = recipe.stages
    changes = [f"stages.{stage}.{change}" for stage in parents for change in PARENTS]
    changes += [f"stages.{last}.{change}" for change in (*ITSELF, f"steps={steps}")]
    recipe = recipe.overridden([*data, *overrides, *changes])
    with tempfile.TemporaryDirectory(prefix="poseshift-bench-") as folder:
        out = Path(folder)
        for stage in parents:
            train(recipe.stage(stage, out), out / stage, quiet=True)
        session = Session(recipe.stage(last, out), out / last, None, command="bench", quiet=True)
        session.method.train()
        session.method.refresh(session.batches.plain_targets(batch_size=session.config.batch_size))
        yield session
