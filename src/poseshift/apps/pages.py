"""Pages: one self-contained HTML file each, from a template of this package. They need no network and no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from poseshift.engine import checkpoint
from poseshift.errors import UsageError


def refuse_folder(out: Path) -> None:
    """Raises :class:`UsageError` where the file to write is a folder."""
    if out.is_dir():
        raise UsageError(f"{out}: is a folder, expected a file to write; give for example {out / 'page.html'}")


def write(out: Path, template: str, **values: Any) -> Path:
    """Renders a template into ``out``, which is replaced at once where it exists; returns ``out``.

    Args:
        out: The HTML file.
        template: Its path in ``poseshift/apps``.
        values: What the template shows; text is escaped.

    Raises:
        UsageError: ``out`` is a folder.
        CheckpointError: It cannot be written.
    """
    refuse_folder(out)
    checkpoint.write_text(out, environment().get_template(template).render(values))
    return out


def environment() -> Environment:
    """Of all templates: text is escaped, a name that a template does not get is an error."""
    made = Environment(
        loader=PackageLoader("poseshift.apps", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["breakable"] = _breakable
    return made


def _breakable(name: str) -> Markup:
    """A name of a keypoint or a file that may be broken after an underscore or a slash, not within a word."""
    return Markup(str(escape(name)).replace("_", "_<wbr>").replace("/", "/<wbr>"))
