"""How long the package and the command take to start, each in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from poseshift.apps.bench.timing import Measured, medians

SCRIPTS = {
    "import": "import poseshift",
    "help": "import sys; sys.argv[1:] = ['--help']; from poseshift.cli import main; main()",
}
WATCH = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))\n"


def _run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def measure(quick: bool) -> dict[str, Measured]:
    """The rows ``start_import`` and ``start_help`` (seconds) and ``start_torch``: how many of the two import torch."""
    jobs = {name: (lambda script=script: _run(script)) for name, script in SCRIPTS.items()}
    taken = medians({**jobs, "python": lambda: _run("pass")}, repeats=3 if quick else 9)
    heavy = [name for name, script in SCRIPTS.items() if _run(WATCH + script).endswith("True\n")]
    detail = {"bare_python_seconds": taken["python"]}
    return {
        "start_import": Measured(value=taken["import"], detail=detail),
        "start_help": Measured(value=taken["help"], detail=detail),
        "start_torch": Measured(value=float(len(heavy)), detail={"who": ", ".join(heavy) or "none"}),
    }
