"""The memory of training in a process of its own: beyond model, optimiser and activations, and whether it grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from poseshift.apps.bench import sessions
from poseshift.apps.bench.timing import Measured

STEPS, QUICK_STEPS = 2000, 60
SMALL = (
    "common.model={backbone: small, head: pyramid, width: 16, stride: 4}",
    "common.input_size=64",
    "common.batch_size=4",
    "common.cache_mib=1",
)
CHILD = "import sys; from poseshift.apps.bench import memory; print(memory.trained(int(sys.argv[1])))"


def resident() -> int:
    """Bytes of this process that lie in memory, shared ones left out; Linux only."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def trained(steps: int) -> str:
    """Trains and says, as JSON: bytes before there is a net, at checkpoints of the run, and what the nets need."""
    import torch

    torch.set_num_threads(1)
    before = resident()
    seen = []
    with sessions.adaptation("adapt", SMALL, images=64, steps=steps) as session:
        needed = session.memory().device
        batches = session.batches(0)
        for step in range(steps):
            session.step(step, next(batches))
            session.journal.flush_if_due(step + 1)
            if (step + 1) % max(1, steps // 10) == 0:
                seen.append(resident())
    return json.dumps({"before": before, "needed": needed, "seen": seen})


def measure(quick: bool) -> dict[str, Measured]:
    """The rows ``memory``, the most beyond what is needed, and ``memory_growth``, last fifth less second; MiB."""
    steps = QUICK_STEPS if quick else STEPS
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(steps)], capture_output=True, text=True, check=True, timeout=3600
    )
    found = json.loads(done.stdout.splitlines()[-1])
    seen, mib = found["seen"], 2**20
    detail = {"steps": steps, "needed_mib": found["needed"] / mib, "start_mib": found["before"] / mib}
    detail |= {"seen_mib": ", ".join(f"{value / mib:.0f}" for value in seen)}
    return {
        "memory": Measured(value=(max(seen) - found["needed"]) / mib, detail=detail),
        "memory_growth": Measured(value=(max(seen[-2:]) - max(seen[2:4])) / mib, detail=detail),
    }
