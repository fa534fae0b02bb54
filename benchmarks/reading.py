#!/usr/bin/env python
"""Wall time and peak memory of reading and storing a folder of recordings, and of run_model on each: docs/results.md.

    python benchmarks/reading.py DATA MODEL [--limit N]

Each part runs in a process of its own, so that its peak memory is its own. run_model gets what the organizers' 2021
script hands over: the header's text and the signal that scipy's loadmat gives, which is not timed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import repository  # noqa: F401 (makes the package importable)


def store_all(data: str) -> dict:
    from joblib.externals.loky import get_reusable_executor

    from twelvelead.data.folders import find_recordings
    from twelvelead.recipes import Input
    from twelvelead.training.store import build_store

    started = time.perf_counter()
    headers = find_recordings(data)
    found = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(headers, Input(), Path(folder), root=Path(data))
        done = time.perf_counter()
        get_reusable_executor().shutdown(wait=True)  # only then does the system tell the peak of the workers
        peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return {
            "recordings": len(store),
            "left out": len(store.left_out),
            "finding s": found - started,
            "reading and storing s": done - found,
            "ms a recording": 1e3 * (done - found) / len(headers),
            "store MiB": store.samples.nbytes / 2**20,
            "peak MiB": peaks[0],
            "peak MiB of a worker": peaks[1],
        }


def run_all(data: str, model_folder: str, limit: int | None) -> dict:
    import numpy as np
    import scipy.io

    import team_code
    from twelvelead.data.folders import find_recordings

    started = time.perf_counter()
    model = team_code.load_model(model_folder, ())
    loaded = time.perf_counter() - started
    milliseconds, failed = [], 0
    for path in find_recordings(data)[:limit]:
        header, signal = path.read_text(), scipy.io.loadmat(path.with_suffix(".mat"))["val"]
        started = time.perf_counter()
        _, _, scores = team_code.run_model(model, header, signal)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        failed += not np.isfinite(scores).all()
    return {
        "recordings": len(milliseconds),
        "members": len(model.models),
        "loading s": loaded,
        "not finite": failed,
        "fell back": model.tally.faults,
        "median ms": np.median(milliseconds),
        "95th percentile ms": np.percentile(milliseconds, 95),
        "slowest ms": max(milliseconds),
        "all s": sum(milliseconds) / 1e3,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("model")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for title, work, values in (
        ("read and store", store_all, (arguments.data,)),
        ("run_model", run_all, (arguments.data, arguments.model, arguments.limit)),
    ):
        with ProcessPoolExecutor(1, context) as pool:
            result = pool.submit(work, *values).result()
        print(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in result.items()), flush=True)


if __name__ == "__main__":
    main()
