"""What the benchmarks share: recordings, a model with random weights, processes with a number of threads, tables.

This file is not a benchmark itself.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from repository import ROOT
from safetensors.torch import save_file

from twelvelead import __version__
from twelvelead.data.classes import load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.evaluation.bootstrap import interval
from twelvelead.files import write_json
from twelvelead.inference.model_files import FORMAT, member_path
from twelvelead.inference.predict import stack
from twelvelead.models.layers import MaskedBatchNorm
from twelvelead.models.network import new_model
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import Recipe, get_recipe, to_dict
from twelvelead.training.batches import gather
from twelvelead.training.beat_passes import passes_of_epoch

CLASSES = scored_classes(load_weights(ROOT / "weights.csv"))


def over_seeds(results: Iterable[tuple[dict, dict]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """A metric of each seed (seeds,), and its values on the same resamples, (seeds, resamples).

    Parameters
    ----------
    results : pairs of dicts
        Of each seed, as twelvelead.experiments.compare.score returns them.
    """
    values, samples = zip(*((value[metric], sample[metric]) for value, sample in results))
    return np.array(values), np.stack(samples)


def mean_with_interval(values: np.ndarray, samples: np.ndarray) -> str:
    """The mean over the seeds with its 95 % interval; the arguments are what `over_seeds` returns."""
    low, high = interval(samples.mean(axis=0))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def range_of(values: np.ndarray) -> str:
    """The smallest and the largest of some values, as words for a cell."""
    return f"({values.min():.3f} to {values.max():.3f})"


def difference_over_seeds(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> str:
    """The mean difference of two systems over seeds, its 95 % interval, and in round brackets the range of the seeds.

    Parameters
    ----------
    one, other : pairs of arrays
        Values (seeds,) of a metric, and its values on the same resamples, (seeds, resamples). With unequal numbers of
        seeds the range is that of the means alone.
    """
    low, high = interval(one[1].mean(axis=0) - other[1].mean(axis=0))
    mean = one[0].mean() - other[0].mean()
    apart = one[0] - other[0] if len(one[0]) == len(other[0]) else np.array([mean])
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}] ({apart.min():+.3f} to {apart.max():+.3f})"


# ----------------------------------------------------------------------------------------------------------------
# inputs


def ten_seconds(data: Path | None, count: int, folder: Path) -> list[Path]:
    """`count` recordings of 12 leads, 10 s and 500 Hz in `folder`: links to those of `data`, or synthetic ones."""
    folder.mkdir(parents=True)
    if data is None:
        from twelvelead.synthetic import write_hospital

        write_hospital(folder, "birch", count, seed=1)
        return find_recordings(folder)
    chosen: dict[str, Path] = {}
    for path in find_recordings(data):
        if path.stem not in chosen and path.read_text().split("\n", 1)[0].split()[1:4] == ["12", "500", "5000"]:
            chosen[path.stem] = path
        if len(chosen) == count:
            break
    if len(chosen) < count:
        sys.exit(
            f"{data}: only {len(chosen)} recordings of 12 leads, 10 s and 500 Hz, {count} are wanted; use --recordings"
        )
    for path in chosen.values():
        for file in (path, path.with_suffix(".mat")):
            (folder / file.name).symlink_to(file.resolve())
    return find_recordings(folder)


def make_model(folder: Path, headers: list[Path], members: int = 11, width: int = 30) -> Path:
    """A model folder of the published network (butt-2020) with random weights, for measuring time.

    The statistics of batch normalisation come from some of the recordings, so that activations have a natural size.
    """
    recipe = get_recipe("butt-2020").scaled(members=members, width=width)
    folder.mkdir(parents=True)
    data = stack([prepare(read_recording(header), recipe.input) for header in headers[:32]], torch.device("cpu"))
    for member in range(members):
        torch.manual_seed(member)
        model = new_model(recipe, len(CLASSES.codes)).train()
        for norm in model.modules():
            if isinstance(norm, MaskedBatchNorm):
                norm.momentum = 1.0
        with torch.no_grad():
            model(*gather(data, np.arange(len(data.lengths)), recipe.input))
        save_file(model.state_dict(), member_path(folder, member))
    cuts = dict(thresholds=dict.fromkeys(CLASSES.codes, 0.5))
    write_json(folder / "classes.json", dict(**CLASSES.to_dict(), priors=[0.1] * len(CLASSES.codes)))
    write_json(folder / "thresholds.json", dict(ensemble=cuts, members=dict.fromkeys(range(members), cuts)))
    write_json(
        folder / "recipe.json",
        dict(
            format=FORMAT, twelvelead=__version__, complete=True, members=list(range(members)), recipe=to_dict(recipe)
        ),
    )
    return folder


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with only its first phase, of so many epochs, each as in the whole recipe, and without averaging."""
    training = recipe.training
    phase = replace(training.phases[0], epochs=epochs)
    # As many passes of the average beat in each epoch as there are in the whole recipe.
    passes = passes_of_epoch(training.beat_epochs, sum(each.epochs for each in training.phases))
    return replace(recipe, training=replace(training, phases=(phase,), averaged_epochs=0, beat_epochs=epochs * passes))


# -------------------------------------------------------------------------------------------------------------
# processes


def process(threads: int) -> ProcessPoolExecutor:
    """A pool of one process whose numpy and torch use so many threads: `with process(1) as p: p.submit(…).result()`."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        pool.submit(os.getpid).result()  # the process starts now, with this environment
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return pool


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(repeats: int, *works: Callable[[], object]) -> list[list[float]]:
    """Seconds of each work. They take turns, so that other load on the machine affects all of them alike."""
    times = [[seconds(work) for work in works] for _ in range(repeats)]
    return [list(column) for column in zip(*times)]


def figures(values: list[float], unit: str, best: Callable = min) -> str:
    """The median and the best of several values, for a table."""
    return f"{statistics.median(values):.3g} {unit} (best {best(values):.3g})"


def write_table(head: list[str], rows: list[list[str]], out: Path | None) -> None:
    """Prints a table, and writes it if a file is given."""
    text = markdown(head, rows)
    print("\n" + text)
    if out:
        out.write_text(text)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"
