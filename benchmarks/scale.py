#!/usr/bin/env python
"""Growth to full size: time of the store for up to 43,101 recordings, peak memory of training and run_model.

    python benchmarks/scale.py [DATA] [--counts 1000,4115,10000,20000,43101] [--minutes 3] [--out table.md]

The recordings of DATA (without it synthetic ones) are linked under other folders as often as need be: a link is a
file to read, and all content is in the page cache. Training is the real command on the largest store, ended by its
time budget. Memory is the sum over all processes of what each holds alone and its share of what they hold together
(Linux' PSS). Takes about 10 minutes on two cores; needs 2 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor
from repository import ROOT
from shared import make_model, markdown, process

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.recipes import get_recipe
from twelvelead.training.store import build_store


def linked(headers: list[Path], count: int, folder: Path) -> Path:
    """A folder of `count` recordings: those given, over and over, each round in a folder of its own."""
    for k in range(count):
        header = headers[k % len(headers)]
        # a thousand files a folder, as the Challenge's g1, g2, …
        place = folder / f"copy{k // len(headers)}" / f"g{k % len(headers) // 1000 + 1}"
        place.mkdir(parents=True, exist_ok=True)
        for path in (header, header.with_suffix(".mat")):
            try:
                os.link(path.resolve(), place / path.name)
            except OSError:  # another file system
                (place / path.name).symlink_to(path.resolve())
    return folder


# -----------------------------------------------------------------------------------------------------------------
# growth


def store_seconds(data: Path, count: int, folder: Path) -> dict[str, float]:
    """Seconds of finding, reading and storing the first `count` recordings, and of opening the store again."""
    started = time.perf_counter()
    headers = find_recordings(data)[:count]
    found = time.perf_counter()
    store = build_store(headers, get_recipe("butt").input, folder, root=data)
    built = time.perf_counter()
    build_store(headers, get_recipe("butt").input, folder, root=data)
    opened = time.perf_counter()
    get_reusable_executor().shutdown(wait=True)  # otherwise this process would wait for joblib's processes for ever
    return dict(
        recordings=len(store),
        finding=found - started,
        building=built - found,
        opening=opened - built,
        gigabytes=store.samples.nbytes / 1e9,
    )


def growth(data: Path, counts: list[int], work: Path) -> list[dict[str, float]]:
    rows = []
    for count in counts:
        with process(os.cpu_count() or 1) as pool:
            rows.append(pool.submit(store_seconds, data, count, work / f"store_{count}").result())
        print({name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    return rows


# -----------------------------------------------------------------------------------------------------------------
# memory


def family_pss(pid: int) -> dict[int, int]:
    """Bytes (PSS) of a process and of all below it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family, bytes_of = {pid}, {}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    for member in family:
        with suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    bytes_of[member] = 1024 * int(line.split()[1])
    return bytes_of


def training_memory(data: Path, model: Path, minutes: float, width: int) -> tuple[float, str]:
    """Peak GB over all processes of a training run with a time budget, and what it printed."""
    command = [
        sys.executable,
        "-m",
        "twelvelead",
        "train",
        data,
        model,
        "--time-budget-hours",
        minutes / 60,
        "--width",
        width,
        "--members",
        2,
    ]
    peak = 0
    with tempfile.TemporaryFile("w+") as log:
        run = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        while run.poll() is None:
            peak = max(peak, sum(family_pss(run.pid).values()))
            time.sleep(0.2)
        log.seek(0)
        text = log.read().strip()
    if run.returncode:
        sys.exit(f"training failed: {text.splitlines()[-1]}")
    return peak / 1e9, text


def run_model_memory(model: Path, minutes: float, frequency_hz: int) -> tuple[float, float, float]:
    """Seconds of run_model on a long recording, and the process's peak GB after it and after loading the model."""
    import team_code

    ensemble = team_code.load_model(model, ())
    loaded = peak_gb()
    samples = round(minutes * 60 * frequency_hz)
    # float64, as the organizers' 2020 script hands it over
    signal = np.rint(500 * np.random.default_rng(0).standard_normal((12, samples)))
    header = f"LONG 12 {frequency_hz} {samples}\n" + "".join(
        f"LONG.mat 16+24 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS
    )
    started = time.perf_counter()
    _, _, scores = team_code.run_model(ensemble, header, signal)
    assert np.isfinite(scores).all()
    return time.perf_counter() - started, peak_gb(), loaded


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


# ------------------------------------------------------------------------------------------------------------------
# tables


def measure(
    data: Path | None, counts: list[int], minutes: float, width: int, members: int, long_minutes: float, work: Path
) -> str:
    if data is None:
        from twelvelead.synthetic import write_hospital

        data = work / "synthetic"
        write_hospital(data, "birch", min(max(counts), 500), seed=1)
    headers = find_recordings(data)
    many = linked(headers, max(counts), work / "many")
    for path in headers:  # into the page cache
        path.with_suffix(".mat").read_bytes()
    rows = growth(many, counts, work)
    text = markdown(
        ["recordings", "finding, s", "reading and storing, s", "ms a recording", "opening again, s", "store, GB"],
        [
            [
                f"{row['recordings']:,}",
                f"{row['finding']:.2f}",
                f"{row['building']:.2f}",
                f"{1e3 * row['building'] / row['recordings']:.2f}",
                f"{row['opening']:.2f}",
                f"{row['gigabytes']:.2f}",
            ]
            for row in rows
        ],
    )
    model = make_model(work / "model", headers, members, width)
    with process(os.cpu_count() or 1) as pool:
        seconds, peak, loaded = pool.submit(run_model_memory, model, long_minutes, 1000).result()
    print(
        f"run_model on {long_minutes:g} min of 1000 Hz: {seconds:.1f} s, peak {peak:.2f} GB, before {loaded:.2f} GB",
        flush=True,
    )
    train_peak, log = training_memory(many, work / "trained", minutes, width)
    print(log, flush=True)
    epochs = json.loads((work / "trained" / "recipe.json").read_text())
    text += "\n" + markdown(
        ["peak memory", "GB", "to reach"],
        [
            [f"training, 2 processes, a store of {epochs['recordings']:,} recordings", f"{train_peak:.2f}", "6"],
            [f"run_model, {members} members, {long_minutes:g} min of 1000 Hz ({seconds:.1f} s)", f"{peak:.2f}", "1.5"],
        ],
    )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--counts", default="1000,4115,10000,20000,43101")
    parser.add_argument("--minutes", type=float, default=3, help="time budget of the training run")
    parser.add_argument("--long", type=float, default=30, help="minutes of the long recording")
    parser.add_argument("--width", type=int, default=30)
    parser.add_argument("--members", type=int, default=11)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = measure(
            arguments.data,
            [int(count) for count in arguments.counts.split(",")],
            arguments.minutes,
            arguments.width,
            arguments.members,
            arguments.long,
            Path(work),
        )
    print("\n" + text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
