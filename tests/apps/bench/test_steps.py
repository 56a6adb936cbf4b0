from __future__ import annotations

import torch

from poseshift.apps.bench import sessions, steps
from poseshift.apps.bench.steps import Bare


def test_bare_passes_are_those_of_a_step_and_move_no_parameter() -> None:
    preset, overrides = steps.TINY
    with sessions.adaptation(preset, overrides, images=8, steps=4) as session:
        batches = session.batches(0)
        batch = next(batches)
        bare = Bare(session, batch)
        seen: list[str] = []
        for name, net in (("student", bare.student), ("teacher", bare.teacher), ("other", bare.others[0])):
            net.register_forward_hook(lambda *given, name=name: seen.append(name))  # type: ignore[misc]
        before = [p.detach().clone() for p in session.method.parameters()]
        bare(batch)
        passed = sorted(seen)
        assert all(torch.equal(p, old) for p, old in zip(session.method.parameters(), before, strict=True))
        assert all(p.grad is None for p in session.method.parameters())
        seen.clear()
        session.step(1, batch)  # the rate of step 0 is 0
        assert passed == sorted(seen) == ["other", "other", "student", "student", "teacher"]
        assert not all(torch.equal(p, old) for p, old in zip(session.method.parameters(), before, strict=True))


def test_rows_of_one_run() -> None:
    found = steps.light(quick=True)
    assert set(found) == {"step_light", "loop_light"}
    assert found["loop_light"].value > found["step_light"].value > 0
    assert found["loop_light"].detail == found["step_light"].detail
