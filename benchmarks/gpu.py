#!/usr/bin/env python
"""Speed on a GPU: recordings a second, share of the chip's peak, members at once, time of the full recipe.

    python benchmarks/gpu.py [DATA] [--device cuda] [--recordings 512] [--epoch 8192] [--at-once 1,2,4,8] [--out
    table.md]

Recordings of 12 leads, 10 s and 500 Hz from DATA, or synthetic ones, are taken over and over until an epoch is long
enough. Members at once are processes on the same chip, as `python -m twelvelead train --workers N` starts them. With
`--device cpu` and small numbers the script is its own test.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from profiles import best_of, giga_macs
from shared import CLASSES, make_model, process, ten_seconds, with_epochs, write_table

from twelvelead.data.recording import read_recording
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import predict, stack
from twelvelead.models.network import new_model
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import get_recipe
from twelvelead.training.batches import on_device
from twelvelead.training.member import train_member
from twelvelead.training.store import build_store, fingerprint, open_store

RECORDINGS = 43_101  # of the 2020 Challenge


def peak_gflops(device: torch.device) -> float:
    """GFLOP/s of a large matrix product in the precision that training uses."""
    size, kind = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return 2e-9 * size**3 / best_of(10, lambda: (a @ b, wait(device)))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train(
    store_folder: Path, key: str, device: torch.device, epoch: int, width: int, checkpoint: Path
) -> tuple[float, float]:
    """Seconds of a member's third epoch (the others warm up), and the peak GB on the device."""
    store = open_store(store_folder, key)
    rows = np.arange(epoch) % len(store)
    recipe = with_epochs(get_recipe("butt").scaled(width=width), 3)
    trained = train_member(
        on_device(store, device),
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
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    return max(trained.history[-1]["seconds"], 0.01), memory  # the history rounds to hundredths


def training_rates(
    store_folder: Path, key: str, device: torch.device, at_once: list[int], epoch: int, width: int, work: Path
) -> dict[int, tuple[float, float]]:
    """Members at once → recordings a second of all of them together, GB on the device of one."""
    rates = {}
    for count in at_once:
        with ExitStack() as stack_of:
            pools = [stack_of.enter_context(process(max(1, (os.cpu_count() or 1) // count))) for _ in range(count)]
            jobs = [
                pool.submit(train, store_folder, key, device, epoch, width, work / f"checkpoint_{k}")
                for k, pool in enumerate(pools)
            ]
            done = [job.result() for job in jobs]
        for path in work.glob("checkpoint_*"):
            path.unlink()
        rates[count] = sum(epoch / seconds for seconds, _ in done), max(memory for _, memory in done)
        print(f"{count} members at once: {rates[count][0]:.0f} recordings a second", flush=True)
    return rates


def measure(
    data: Path | None,
    device: torch.device,
    recordings: int,
    epoch: int,
    at_once: list[int],
    members: int,
    width: int,
    work: Path,
) -> list[list[str]]:
    """Rows of the table."""
    headers = ten_seconds(data, recordings, work / "recordings")
    model = make_model(work / "model", headers, members, width)
    recipe = get_recipe("butt").scaled(width=width)
    store = build_store(headers, recipe.input, work / "store")
    prepared = [prepare(read_recording(header), recipe.input) for header in headers[:64]]
    ours, on_cpu = load_ensemble(model, device), load_ensemble(model, "cpu")
    difference = np.abs(
        member_scores(ours, stack(prepared, device)) - member_scores(on_cpu, stack(prepared, torch.device("cpu")))
    ).max()
    peak = peak_gflops(device)
    whole = on_device(store, device)
    rows = np.arange(epoch) % len(store)
    scored = epoch / best_of(2, lambda: predict(ours.models[0], whole, rows, recipe.input))
    rates = training_rates(work / "store", fingerprint(headers, recipe.input), device, at_once, epoch, width, work)
    best = max(rates, key=lambda count: rates[count][0])

    macs = giga_macs(new_model(recipe, len(CLASSES.codes)), 1280)
    voting, epochs = recipe.voting, sum(phase.epochs for phase in recipe.training.phases)
    trained = round(voting.train_fraction * RECORDINGS)
    synthetic = recipe.synthetic.in_one_epoch(trained)
    epoch_s = (trained + synthetic) / rates[best][0] + (RECORDINGS - trained) / scored
    hours = voting.members * epochs * epoch_s / 3600
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    table = [
        [
            f"training, {count} members at once on one {name}",
            f"{rate:,.0f} recordings/s, {memory:.1f} GB each",
            f"{3 * 2 * macs * rate / peak:.0%} of {peak:,.0f} GFLOP/s",
        ]
        for count, (rate, memory) in rates.items()
    ]
    return [
        *table,
        ["scoring, one member", f"{scored:,.0f} recordings/s", f"{2 * macs * scored / peak:.0%}"],
        [
            f"default recipe, {voting.members} members, {epochs} epochs, {RECORDINGS:,} recordings and "
            f"{synthetic:,} synthetic ones an epoch, {best} members at once, computed from the rates above, reading "
            "not included",
            f"{60 * hours:,.0f} min",
            "to reach: 30 min on one H200",
        ],
        ["largest difference of scores to the CPU's", f"{difference:.1e}", "to reach: 1e-3"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recordings", type=int, default=512)
    parser.add_argument("--epoch", type=int, default=8192, help="recordings of an epoch")
    parser.add_argument("--at-once", default="1,2,4,8")
    parser.add_argument("--members", type=int, default=11)
    parser.add_argument("--width", type=int, default=30)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        table = measure(
            arguments.data,
            torch.device(arguments.device),
            arguments.recordings,
            arguments.epoch,
            [int(count) for count in arguments.at_once.split(",")],
            arguments.members,
            arguments.width,
            Path(work),
        )
    write_table(["work", "measured", "share of the chip's peak, or what to reach"], table, arguments.out)


if __name__ == "__main__":
    main()
