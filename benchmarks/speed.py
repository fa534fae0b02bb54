#!/usr/bin/env python
"""This project and the authors' pipeline (reference.py) side by side in one run: the ratios of docs/performance.md.

    python benchmarks/speed.py [DATA] [--recordings 256] [--repeats 3] [--rows preprocess,run_model] [--out table.md]

DATA is a folder of recordings, of which those of 12 leads, 10 s and 500 Hz are used (without it synthetic ones,
which have the same shape); they lie in the page cache. Networks have random weights. Both sides take turns; each row
runs in processes of its own with the number of threads it says. Takes about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import reference
import torch
from repository import ROOT
from shared import (
    CLASSES,
    alternate,
    figures,
    make_model,
    process,
    seconds,
    ten_seconds,
    with_epochs,
    write_table,
)

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import read_header
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.inference.ensemble import member_scores
from twelvelead.preprocessing.prepare import Prepared, prepare
from twelvelead.recipes import get_recipe
from twelvelead.training.batches import on_device
from twelvelead.training.member import train_member
from twelvelead.training.store import build_store, fingerprint, open_store

SLOW = 16  # recordings of the parts where the reference takes long


# ------------------------------------------------------------------------------------------- one core: read and
# preprocess


def preprocess(headers: list[Path], repeats: int) -> list[list[float]]:
    """Milliseconds a recording: ours, the reference, the reference with a filter as steep as ours."""
    recipe = get_recipe("butt-2020").input

    def ours() -> None:
        for header in headers:
            prepare(read_recording(header), recipe)

    def theirs(taps: int | None) -> None:
        for header in headers:
            reference.prepare(*reference.read(header), taps)

    ours()
    theirs(None)
    return [
        [1e3 * s / len(headers) for s in column]
        for column in alternate(repeats, ours, lambda: theirs(None), lambda: theirs(147))
    ]


# ------------------------------------------------------------------------------------------------------- two cores:
# scores


def run_model(model: Path, headers: list[Path], repeats: int) -> tuple[list[list[float]], float, float, float]:
    """Times and differences of run_model.

    Returns
    -------
    times : list of three lists
        Milliseconds a recording of our run_model, of the reference, and of the reference without its graph of
        gradients.
    equal, whole, inputs : float
        Largest difference of scores for the same input, and between the whole pipelines; mean relative difference of
        inputs.
    """
    import team_code

    ours, theirs = team_code.load_model(model, ()), reference.load_model(model)
    read = [reference.read(header) for header in headers[:SLOW]]

    def of_ours() -> None:
        for recording in read:
            team_code.run_model(ours, *recording)

    def of_theirs(graph: bool) -> None:
        for recording in read:
            reference.run_model(theirs, *recording, graph)

    of_ours()
    of_theirs(True)
    times = [
        [1e3 * s / len(read) for s in column]
        for column in alternate(repeats, of_ours, lambda: of_theirs(True), lambda: of_theirs(False))
    ]
    equal, whole, inputs = [], [], []
    for recording in read:
        prepared = prepare(recording_from(*recording), ours.recipe.input)
        one = one_score(ours, prepared)
        # the reference has no mask, so its input may have no padding: 19 × 64 samples, float16 as in our store
        short = Prepared(prepared.signal[:, :1216], prepared.leads, prepared.valid[:1216])
        x = torch.from_numpy(short.signal.astype(np.float16).astype(np.float32))[None]
        with torch.no_grad():
            plain = np.stack([torch.sigmoid(network(x))[0].numpy() for network in theirs])
        equal.append(np.abs(one_score(ours, short) - plain).max())
        whole.append(np.abs(one - reference.run_model(theirs, *recording)).max())
        inputs.append(
            np.abs(reference.prepare(*recording)[:, : prepared.signal.shape[1]] - prepared.signal).mean()
            / np.abs(prepared.signal).mean()
        )
    return times, float(max(equal)), float(max(whole)), float(np.mean(inputs))


def one_score(ensemble, prepared: Prepared) -> np.ndarray:
    """float32 (members, classes)"""
    from twelvelead.inference.predict import stack

    return member_scores(ensemble, stack([prepared], ensemble.device))[:, 0]


def folder(model: Path, data: Path, repeats: int, work: Path) -> list[list[float]]:
    """Milliseconds a recording of `python driver.py` and of the reference's, their start and the loading included."""
    count = len(find_recordings(data))

    def run(script: str) -> None:
        shutil.rmtree(work / "outputs", ignore_errors=True)
        subprocess.run([sys.executable, ROOT / script, model, data, work / "outputs"], check=True, capture_output=True)

    times = alternate(repeats, lambda: run("driver.py"), lambda: run("benchmarks/reference.py"))
    return [[1e3 * s / count for s in column] for column in times]


# ----------------------------------------------------------------------------------------------------- two cores:
# training


def train_ours(store_folder: Path, key: str, checkpoint: Path, width: int) -> None:
    """One epoch of one member over all recordings of a store."""
    store = open_store(store_folder, key)
    rows = np.arange(len(store))
    recipe = with_epochs(get_recipe("butt-2020").scaled(width=width), 1)
    train_member(
        on_device(store, torch.device("cpu")),
        CLASSES.labels(store.codes),
        rows,
        rows[:0],
        recipe,
        CLASSES,
        seed=0,
        member=0,
        checkpoint=checkpoint,
        log=lambda line: None,
    )
    checkpoint.unlink()


def train_theirs(headers: list[Path], width: int) -> None:
    network = reference.Network(len(CLASSES.codes), width)
    labels = CLASSES.labels(read_header(header).codes for header in headers)
    reference.train_epoch(network, reference.new_optimizer(network), headers, labels, np.random.default_rng(0))


def training(headers: list[Path], repeats: int, width: int, work: Path) -> list[list[float]]:
    """Recordings a second of one epoch, reading included.

    Ours: two processes that train a member each on a core, as members.py does it, and before that the store, built anew
    and charged to this one epoch. The reference: one member on both cores.
    """
    recipe = get_recipe("butt-2020").input
    with process(1) as one, process(1) as other, process(2) as both:

        def ours() -> None:
            shutil.rmtree(work / "store", ignore_errors=True)
            build_store(headers, recipe, work / "store", jobs=2)
            key = fingerprint(headers, recipe)
            jobs = [
                pool.submit(train_ours, work / "store", key, work / f"checkpoint_{k}", width)
                for k, pool in enumerate((one, other))
            ]
            [job.result() for job in jobs]

        def theirs() -> None:
            both.submit(train_theirs, headers, width).result()

        for pool in (one, other, both):  # imports
            pool.submit(train_theirs, headers[:2], 1).result()
        times = alternate(repeats, ours, theirs)
    return [[2 * len(headers) / s for s in times[0]], [len(headers) / s for s in times[1]]]


# -----------------------------------------------------------------------------------------------------------------
# loading


def loading(model: Path, repeats: int) -> list[float]:
    """Seconds of a process that imports team_code and loads the model."""
    code = f"import team_code; team_code.load_model({str(model)!r}, ())"
    return [seconds(lambda: subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)) for _ in range(repeats)]


# -------------------------------------------------------------------------------------------------------------------
# table


def measure(
    data: Path | None, recordings: int, repeats: int, rows: set[str], members: int, width: int, work: Path
) -> list[list[str]]:
    """The table's rows, each printed as soon as it is measured."""
    headers = ten_seconds(data, recordings, work / "recordings")
    model = make_model(work / "model", headers, members, width)
    table: list[list[str]] = []

    def add(title: str, unit: str, ours: list[float], theirs: list[float] | None, target: str) -> None:
        ratio = "" if theirs is None else statistics.median(theirs) / statistics.median(ours)
        if unit.endswith("/s"):
            ratio = 1 / ratio
        best = max if unit.endswith("/s") else min
        table.append(
            [
                title,
                figures(ours, unit, best),
                "" if theirs is None else figures(theirs, unit, best),
                ratio and f"{ratio:.1f}×",
                target,
            ]
        )
        print(" | ".join(table[-1]), flush=True)

    if "preprocess" in rows:
        with process(1) as pool:
            files = [header.resolve() for header in headers]  # not the links to them
            ours, theirs, steep = pool.submit(preprocess, files, repeats).result()
        add("read and preprocess a recording, one core", "ms", ours, theirs, "15×")
        add("the same, the reference with a filter as steep as ours", "ms", ours, steep, "")
    if "run_model" in rows:
        with process(2) as pool:
            (ours, theirs, bare), equal, whole, inputs = pool.submit(run_model, model, headers, repeats).result()
        add(f"run_model, {members} members, one recording, two cores", "ms", ours, theirs, "4.5×")
        add("the same, the reference without its graph of gradients", "ms", ours, bare, "")
        print(
            f"largest difference of the scores: {equal:.1e} with equal input, {whole:.1e} between the whole pipelines, "
            f"whose inputs differ by {inputs:.1%} of the mean amplitude",
            flush=True,
        )
    if "folder" in rows:
        ours, theirs = folder(model, work / "recordings", repeats, work)
        add(
            f"driver.py, {members} members, {len(headers)} recordings, two cores, start included",
            "ms",
            ours,
            theirs,
            "6×",
        )
    if "training" in rows:
        ours, theirs = training(headers, repeats, width, work)
        add("training, two cores, reading included", "rec/s", ours, theirs, "3.5×")
    if "loading" in rows:
        add(f"import and load of {members} members", "s", loading(model, repeats), None, "3 s")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--recordings", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", default="preprocess,run_model,folder,training,loading")
    parser.add_argument("--members", type=int, default=11)
    parser.add_argument("--width", type=int, default=30)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        table = measure(
            arguments.data,
            arguments.recordings,
            arguments.repeats,
            set(arguments.rows.split(",")),
            arguments.members,
            arguments.width,
            Path(work),
        )
    write_table(["work", "ours, median", "reference, median", "ratio of the medians", "to reach"], table, arguments.out)


if __name__ == "__main__":
    main()
