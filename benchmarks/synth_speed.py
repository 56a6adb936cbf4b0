"""Images per second of CPU time (one core) that the procedural domains draw, and seconds to annotate 20,000.

Usage: ``python benchmarks/synth_speed.py [SIDE ...]`` (default 96 160)
"""

from __future__ import annotations

import sys
import time

from poseshift.data.synth import FIGURE_DOMAINS, QUADRUPED_DOMAINS, figures, quadrupeds

IMAGES = 300


def main(sides: list[int]) -> None:
    for draw, domains in ((figures, FIGURE_DOMAINS), (quadrupeds, QUADRUPED_DOMAINS)):
        start = time.process_time()
        draw("source", count=20_000)
        print(f"{draw.__name__}: 20,000 annotations in {time.process_time() - start:.2f} s")
        for side in sides:
            for domain in domains:
                images = draw(domain, count=IMAGES, side=side).images
                images.read(0)
                start = time.process_time()
                for i in range(IMAGES):
                    images.read(i)
                print(f"{draw.__name__} {domain} {side} px: {IMAGES / (time.process_time() - start):.0f} images/s")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [96, 160])
