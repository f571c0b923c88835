"""Images a second through the networks of keras.applications that can be a backbone.

    python tests/benchmarks/applications.py resnet50 vgg16   # these; half a minute each
    python tests/benchmarks/applications.py --write          # all, half an hour; into docs/

What is timed is Keras's `predict` on stored uint8 RGB images of the network's own side, through the
same network that computes features: float32 on all cores of this machine, in batches of 32, after
one batch that is not timed. The weights are random, which takes the same time. With --write the
last column of the table in docs/backbones.md holds the result.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cnn.model.applications import APPLICATIONS, application

TABLE = Path(__file__).parent.parent.parent / "docs" / "backbones.md"
BATCH = 32
SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="networks; default: all")
    parser.add_argument("--write", action="store_true", help="fill the table in docs/backbones.md")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = [application(name).name for name in args.names or APPLICATIONS]
    if args.one:
        print(rate(names[0]))
        return
    print(f"{os.cpu_count()} cores, float32, batches of {BATCH}")
    for name in names:
        # Each in a process of its own, whose memory is given back.
        command = [sys.executable, __file__, name, "--one"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = float(done.stdout.split()[-1])
        print(f"{name:24} {found:8,.1f} images a second", flush=True)
        if args.write:
            TABLE.write_text(filled(TABLE.read_text(), name, found))


def rate(name: str) -> float:
    """Images a second of one network."""
    from cnn.model.applications import build_application
    from cnn.model.backbone import extractor

    side = application(name).side
    model = extractor(build_application(name, weights=None), size=side, channels=3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    model.predict(images, batch_size=BATCH, verbose=0)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        model.predict(images, batch_size=BATCH, verbose=0)
        count += BATCH
    return count / (time.perf_counter() - began)


def filled(table: str, name: str, found: float) -> str:
    """The document with a result in the last column of a network's row."""
    row = re.compile(rf"^(\| `{name}` \|.*\| )[^|]*( \|)$", re.MULTILINE)
    return row.sub(rf"\g<1>{found:,.1f}\g<2>", table)


if __name__ == "__main__":
    main()
