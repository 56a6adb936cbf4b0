"""What is measured: each row with its goal. A new row is one entry here and one function that measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from poseshift.apps.bench import exporting, heatmaps, images, memory, predicting, startup, steps
from poseshift.apps.bench.timing import Measured


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        what: It measures, for the table.
        measure: Measures this row, perhaps with others from the same run; given whether to take small sizes.
        goal: ``<=`` or ``>=`` and a number.
        unit: Of the value; empty for a ratio.
    """

    what: str
    measure: Callable[[bool], Mapping[str, Measured]]
    goal: str
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps to the goal."""
        limit = float(self.goal[2:])
        return value <= limit if self.goal.startswith("<=") else value >= limit


ROWS: dict[str, Row] = {
    "step_light": Row(
        what="adaptation step ÷ bare network passes, mobilenetv2_100, 128 px, 16",
        measure=steps.light,
        goal="<=1.15",
    ),
    "loop_light": Row(what="the loop with its data ÷ the same passes", measure=steps.light, goal="<=1.25"),
    "step_deep": Row(
        what="adaptation step ÷ bare network passes, resnet50, 256 px, 8", measure=steps.deep, goal="<=1.15"
    ),
    "loop_deep": Row(what="the loop with its data ÷ the same passes", measure=steps.deep, goal="<=1.25"),
    "heatmaps": Row(
        what="heatmaps back, rectified, masked, occlusion: batched ÷ loop over samples",
        measure=heatmaps.measure,
        goal="<=0.2",
    ),
    "images_first": Row(
        what="JPEG to two views, first epoch, images/s a core ÷ per-sample PIL", measure=images.measure, goal=">=1.5"
    ),
    "images_cached": Row(what="the same from the cache", measure=images.measure, goal=">=5"),
    "predict": Row(
        what="predict end to end ÷ its net alone (a light net: ÷ the slower of net and decoding), JPEGs and video",
        measure=predicting.measure,
        goal=">=0.9",
    ),
    "export": Row(what="eager torch ÷ exported ONNX, seconds for one image", measure=exporting.measure, goal=">=1.5"),
    "memory": Row(
        what="training beyond model, optimiser and activations", measure=memory.measure, goal="<=1024", unit="MiB"
    ),
    "memory_growth": Row(what="its growth over the run", measure=memory.measure, goal="<=16", unit="MiB"),
    "start_import": Row(what="import poseshift", measure=startup.measure, goal="<=0.2", unit="s"),
    "start_help": Row(what="poseshift --help", measure=startup.measure, goal="<=0.5", unit="s"),
    "start_torch": Row(what="how many of the two import torch", measure=startup.measure, goal="<=0"),
}
