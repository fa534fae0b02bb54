#!/usr/bin/env python
"""Where the time goes, and what this machine could do: the profiles of docs/performance.md.

    python benchmarks/profiles.py [DATA] [--recordings 256] [--rows machine,preprocess,scores,training,store,loading]

Every profile is of one core. In real work the other core does the same with another member or other recordings. The
file is not called profile.py because Python has a module of that name.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from repository import ROOT
from shared import CLASSES, make_model, markdown, process, seconds, ten_seconds, with_epochs

from twelvelead.data.recording import read_recording
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.inference.predict import predict, stack
from twelvelead.models.cpu.minimal_conv import ScoringConv
from twelvelead.models.network import accelerated, new_model
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import get_recipe
from twelvelead.training.batches import gather, on_device
from twelvelead.training.losses import LOSSES, Weighting, class_weights
from twelvelead.training.store import build_store

TOP = 10  # lines of a profile


def best_of(count: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    work()
    return min(seconds(work) for _ in range(count))


# ----------------------------------------------------------------------------------------------------------------
# machine


def matmul_gflops(size: int = 2048) -> float:
    """GFLOP/s of a float32 matrix product with the threads of this process."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2e-9 * size**3 / best_of(8, lambda: a @ b)


def copy_gigabytes(megabytes: int = 512) -> float:
    """GB/s that a copy reads and writes."""
    a = torch.zeros(megabytes << 18)
    b = torch.empty_like(a)
    return 2e-9 * 4 * a.numel() / best_of(8, lambda: b.copy_(a))


def disk_gigabytes(folder: Path, megabytes: int = 512) -> tuple[float, float]:
    """GB/s of writing a file until it is on the disk, and of reading it when it is not in memory."""
    block, path = os.urandom(1 << 20), folder / "disk"

    def write() -> None:
        with open(path, "wb", buffering=0) as file:
            for _ in range(megabytes):
                file.write(block)
            os.fsync(file.fileno())

    def read() -> None:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass

    written = seconds(write)
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rate = 1e-3 * megabytes * 1.048576
    return rate / written, rate / seconds(read)


def machine(work: Path) -> list[list[str]]:
    rows = []
    for title, work_of, unit in (
        ("float32 matrix product", matmul_gflops, "GFLOP/s"),
        ("copy in memory", copy_gigabytes, "GB/s"),
    ):
        values = []
        for threads in (1, os.cpu_count() or 1):
            with process(threads) as pool:
                values.append(f"{pool.submit(work_of).result():.3g} {unit}")
        rows.append([title, *values])
    write, read = disk_gigabytes(work)
    return [*rows, ["disk, writing and reading", f"{write:.2g} GB/s", f"{read:.2g} GB/s"]]


# ---------------------------------------------------------------------------------------------------------------
# profiles


def of_python(work: Callable[[], object]) -> list[list[str]]:
    """Time in each function without those that it calls. cProfile makes short functions look slower than they are."""
    profile = cProfile.Profile()
    work()
    profile.runcall(work)
    entries = pstats.Stats(profile).stats.items()
    total = sum(entry[2] for _, entry in entries)
    rows = [(alone, count, file, name) for (file, _, name), (_, count, alone, _, _) in entries]
    top = sorted(rows, reverse=True)[:TOP]
    return [
        [f"{Path(file).stem}.{name}" if file != "~" else name.strip("<>"), str(count), f"{alone / total:.0%}"]
        for alone, count, file, name in top
    ]


def of_torch(work: Callable[[], object]) -> list[list[str]]:
    """Time in each of torch's operators, without those that it calls."""
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    entries = profile.key_averages()
    total = sum(entry.self_cpu_time_total for entry in entries)
    top = sorted(entries, key=lambda entry: -entry.self_cpu_time_total)[:TOP]
    return [[entry.key, str(entry.count), f"{entry.self_cpu_time_total / total:.0%}"] for entry in top]


# The steps of scoring_layers.ConvolutionReLU, by the number of dimensions of the left factor of their matrix product.
STEPS = {2: "transforms of inputs and outputs", 5: "products"}


@contextmanager
def counted(calls: dict[str, list[float]]) -> Iterator[None]:
    """Adds, for each kind of numpy's matrix products, their number, seconds and multiply-adds to `calls`."""
    plain = np.matmul

    def matmul(a, b, out=None):
        start = time.perf_counter()
        result = plain(a, b, out=out)
        entry = calls.setdefault(STEPS.get(a.ndim, "other"), [0, 0.0, 0])
        for k, value in enumerate((1, time.perf_counter() - start, result.size * a.shape[-1])):
            entry[k] += value
        return result

    with mock.patch.object(np, "matmul", matmul):
        yield


def giga_macs(model: torch.nn.Module, samples: int) -> float:
    """Billions of multiply-adds of the convolutions for one recording of so many samples, as they are executed."""
    direct, calls = 0, {}

    def count(module, inputs, output) -> None:
        nonlocal direct
        positions = output[0, 0].numel()
        if isinstance(module, ScoringConv):  # the products, and the transforms of inputs and outputs
            points, channels_in, channels_out = module.weight.shape
            outputs = points - module.taps + 1
            each = channels_in * channels_out + points * channels_in + outputs * channels_out
            direct += -(-positions // outputs) * points * each
        else:
            direct += positions * module.weight.numel()

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, (torch.nn.Conv2d, ScoringConv))
    ]
    with torch.inference_mode(), counted(calls):
        model(torch.zeros(1, 12, samples))
    for hook in hooks:
        hook.remove()
    return (direct + sum(macs for _, _, macs in calls.values())) / 1e9


def of_steps(work: Callable[[], object]) -> list[list[str]]:
    """Time in numpy's products by their kind, and in every other function without those that it calls."""
    calls: dict[str, list[float]] = {}
    with counted(calls):
        total = seconds(work)
    products = [[name, str(count), f"{spent / total:.0%}"] for name, (count, spent, _) in sorted(calls.items())]
    with counted({}):
        besides = [row for row in of_python(work) if "matmul" not in row[0]]
    return [*products, *besides][:TOP]


def preprocess(headers: list[Path]) -> tuple[str, list[list[str]]]:
    recipe = get_recipe("butt-2020").input

    def work() -> None:
        for header in headers:
            prepare(read_recording(header), recipe)

    each = best_of(5, work) / len(headers)
    size = sum(header.with_suffix(".mat").stat().st_size for header in headers) / len(headers)
    return (f"{1e3 * each:.2f} ms a recording; {1e-9 * size / each:.2g} GB/s of the file's bytes"), of_python(work)


def scores(headers: list[Path], model: Path) -> tuple[str, list[list[str]]]:
    ensemble = load_ensemble(model)
    network, recipe = ensemble.models[0], ensemble.recipe.input
    data = stack([prepare(read_recording(header), recipe) for header in headers[:32]], ensemble.device)
    x, valid, metadata = gather(data, np.arange(1), recipe)
    with torch.inference_mode():
        one = best_of(10, lambda: network(x, valid, metadata))
    many = best_of(5, lambda: predict(network, data, np.arange(len(data.lengths)), recipe)) / len(data.lengths)
    work = 2 * giga_macs(network, x.shape[2])
    plain = 2 * giga_macs(new_model(ensemble.recipe, len(CLASSES.codes)).eval(), x.shape[2])
    with torch.inference_mode():
        table = of_steps(lambda: [network(x, valid, metadata) for _ in range(10)])
    return (
        f"a member, one recording: {1e3 * one:.1f} ms alone ({work / one:.0f} GFLOP/s), {1e3 * many:.1f} ms in a batch "
        f"({work / many:.0f} GFLOP/s); {work:.2f} GFLOP each, {plain:.2f} without minimal filtering"
    ), table


def training(headers: list[Path], width: int) -> tuple[str, list[list[str]]]:
    recipe = with_epochs(get_recipe("butt-2020").scaled(width=width), 1)
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(headers[:64], recipe.input, Path(folder), jobs=1)
        data, labels = on_device(store, device), CLASSES.labels(store.codes)
        positive, negative = class_weights(labels, 100)
        weighting = Weighting(*(torch.tensor(a, dtype=torch.float32) for a in (positive, negative, CLASSES.weights)))
        targets = torch.tensor(labels, dtype=torch.float32)
        model = accelerated(new_model(recipe, len(CLASSES.codes)), training=True).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        rng = np.random.default_rng(0)
        rows = np.arange(min(32, len(store)))

        def step() -> None:  # as in training.member
            x, valid, metadata = gather(data, rows, recipe.input, recipe.augmentation, rng)
            loss = LOSSES["weighted_cross_entropy"](model(x, valid, metadata), targets[rows], weighting)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        each = best_of(4, step) / len(rows)
        work = 3 * 2 * giga_macs(model.eval(), 1280)
        model.train()
        return (
            f"{1 / each:.1f} recordings a second; direct convolutions would need {work / each:.0f} GFLOP/s for that",
            of_torch(step),
        )


def store(headers: list[Path]) -> tuple[str, list[list[str]]]:
    recipe = get_recipe("butt-2020").input
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder, str(k)) for k in range(9))

        def work() -> None:
            build_store(headers, recipe, next(places), jobs=1)

        each = best_of(3, work) / len(headers)
        return f"{1e3 * each:.2f} ms a recording in one process, {1 / each:.0f} recordings a second", of_python(work)


def loading(model: Path) -> tuple[str, list[list[str]]]:
    """Seconds of importing, by the first-level imports of team_code, and of loading."""
    code = f"import team_code, time; t = time.time(); team_code.load_model({str(model)!r}, ()); print(time.time() - t)"
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = re.findall(r"import time:\s+(\d+) \|\s+(\d+) \| +([\w.]+)", run.stderr)
    alone: dict[str, int] = {}
    for microseconds, _, name in lines:
        package = name.partition(".")[0]
        alone[package] = alone.get(package, 0) + int(microseconds)
    total = sum(alone.values())
    top = sorted(alone.items(), key=lambda item: -item[1])[:TOP]
    return (
        f"{1e-6 * total:.2f} s of imports, {float(run.stdout):.2f} s of loading",
        [[name, "", f"{microseconds / total:.0%}"] for name, microseconds in top],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--recordings", type=int, default=256)
    parser.add_argument("--rows", default="machine,preprocess,scores,training,store,loading")
    parser.add_argument("--members", type=int, default=11)
    parser.add_argument("--width", type=int, default=30)
    arguments = parser.parse_args()
    rows = arguments.rows.split(",")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        headers = ten_seconds(arguments.data, arguments.recordings, work / "recordings")
        model = make_model(work / "model", headers, arguments.members, arguments.width)
        if "machine" in rows:
            print(markdown(["machine", "one thread", f"{os.cpu_count()} threads"], machine(work)), flush=True)
        parts = dict(
            preprocess=(preprocess, headers),
            scores=(scores, headers, model),
            training=(training, headers, arguments.width),
            store=(store, headers),
            loading=(loading, model),
        )
        for name in filter(parts.__contains__, rows):
            with process(1) as pool:
                text, table = pool.submit(*parts[name]).result()
            print(f"{name}: {text}\n\n{markdown(['where', 'calls', 'share'], table)}", flush=True)


if __name__ == "__main__":
    main()
