#!/usr/bin/env python
"""How long drawing synthetic recordings takes, beside reading and beside preparing as many real ones, in one run.

    python benchmarks/synthetic_speed.py data/challenge --recordings 20000 --jobs 2

DATA is a folder of recordings; its headers are taken over and over until there are as many.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import joblib

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from twelvelead.data.folders import find_recordings  # noqa: E402
from twelvelead.data.recording import read_recording  # noqa: E402
from twelvelead.preprocessing.prepare import prepare  # noqa: E402
from twelvelead.recipes import get_recipe  # noqa: E402
from twelvelead.synthetic import draw_recording  # noqa: E402

CHUNK = 100  # recordings a job


def draw(numbers: Sequence[int]) -> None:
    """Draws these recordings."""
    for k in numbers:
        draw_recording(0, k)


def read(headers: Sequence[Path]) -> None:
    """Reads these recordings, in millivolts."""
    for header in headers:
        read_recording(header).signal_mv  # noqa: B018  (a stored recording computes it when asked)


def read_and_prepare(headers: Sequence[Path]) -> None:
    """Reads these recordings and prepares them as the default recipe does."""
    spec = get_recipe("butt").input
    for header in headers:
        prepare(read_recording(header), spec)


def seconds(function: Callable[[Sequence], None], items: Sequence, parallel: joblib.Parallel) -> float:
    """Wall-clock seconds of a function of chunks of the items, in the pool's processes."""
    chunks = [items[k : k + CHUNK] for k in range(0, len(items), CHUNK)]
    started = time.perf_counter()
    parallel(joblib.delayed(function)(chunk) for chunk in chunks)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder of real recordings")
    parser.add_argument("--recordings", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    headers = list(itertools.islice(itertools.cycle(find_recordings(options.data)), options.recordings))
    with joblib.Parallel(n_jobs=options.jobs) as parallel:
        seconds(draw, range(CHUNK * options.jobs), parallel)  # processes start, libraries are read
        taken = {
            "drawing synthetic ones": seconds(draw, range(options.recordings), parallel),
            "reading real ones": seconds(read, headers, parallel),
            "reading and preparing real ones": seconds(read_and_prepare, headers, parallel),
        }
    print(f"| {options.recordings} recordings, {options.jobs} processes | seconds | ms each | ratio to reading |")
    print("|---|---|---|---|")
    for what, time_s in taken.items():
        print(
            f"| {what} | {time_s:.1f} | {1000 * time_s / options.recordings:.2f} | "
            f"{time_s / taken['reading real ones']:.2f} |"
        )


if __name__ == "__main__":
    main()
