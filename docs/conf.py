"""Sphinx configuration. Builds without a network; `make docs` treats a warning as an error."""

import re
from pathlib import Path

_face = (Path(__file__).parents[1] / "src/poseshift/version.py").read_text(encoding="utf-8")

project = "poseshift"
author = "The poseshift authors"
copyright = author
version = release = re.findall(r'^__version__ = "(.+)"$', _face, re.MULTILINE)[0]

extensions = ["myst_parser"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"poseshift {release}"
