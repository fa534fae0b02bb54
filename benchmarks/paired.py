#!/usr/bin/env python
"""Two systems that were trained on the same splits at different budgets, compared on the same test recordings.

    python benchmarks/paired.py --new OUT/new-0 --new OUT/new-1 --old OUT/old-0 --old OUT/old-1 [--out table.md]

Each folder is a finished experiment (`holdout`, `leave-one-source-out`, `crossval`) with one recipe; the folders of one
system differ in their seed alone. Recipes, epochs and synthetic recordings may differ between the two systems, training
and test recordings may not. Each source of the test recordings has a row, and so have all sources together from which
no recording trained. A row has the means over the seeds: Challenge metric, macro AUROC over the classes with at least 5
positives, labels a recording and F of sinus rhythm; and the differences with their 95 % bootstrap intervals over
recordings (round brackets: range over the seeds), the same resamples for every seed and system.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from shared import CLASSES, difference_over_seeds, write_table

from twelvelead.data.sources import source_of
from twelvelead.experiments.compare import score

LEAST_POSITIVES = 5
NEW, OLD = "new", "old"
UNSEEN = "all sources without a training recording"


@dataclass(frozen=True)
class Scored:
    """The test recordings of an experiment, ordered by name, with what its recipe made of them.

    Attributes
    ----------
    names, sources : str (recordings,)
    unseen : bool (recordings,)
        Whether no recording of the source was trained on.
    labels, outputs : bool (recordings, classes)
    scores : float64 (recordings, classes)
    """

    names: np.ndarray
    sources: np.ndarray
    unseen: np.ndarray
    labels: np.ndarray
    outputs: np.ndarray
    scores: np.ndarray


def read(folder: Path) -> Scored:
    """Reads a finished experiment. Ends the program if it has several recipes."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    if len(results["recipes"]) != 1:
        sys.exit(f"{folder}: has the recipes {', '.join(results['recipes'])}; name an experiment with one")
    (recipe,) = results["recipes"]
    parts = []
    for split in results["splits"]:
        trained = {source_of(name, ".") for name in splits[split]["train"]}
        with np.load(folder / recipe / split / "scores.npz") as arrays:
            names = arrays["recordings"]
            sources = np.array([source_of(str(name), ".") for name in names])
            unseen = ~np.isin(sources, list(trained))
            parts.append((names, sources, unseen, *(arrays[key] for key in ("labels", "outputs", "scores"))))
    names, *columns = (np.concatenate(column) for column in zip(*parts))
    order = np.argsort(names)
    return Scored(names[order], *(column[order] for column in columns))


def row(experiments: dict[str, list[Scored]], rows: np.ndarray, resamples: int) -> list[str]:
    """The cells of one part of the test recordings, bool `rows` of them."""
    labels = experiments[NEW][0].labels[rows]
    counted = labels.sum(axis=0) >= LEAST_POSITIVES
    predictions = {
        f"{system} {seed}": (scored.outputs[rows], scored.scores[rows])
        for system, of_system in experiments.items()
        for seed, scored in enumerate(of_system)
    }
    figures = score(labels, predictions, CLASSES, None, resamples, 0)
    sinus = CLASSES.sinus_rhythm

    def of(system: str, figure) -> tuple[np.ndarray, np.ndarray]:
        """Values (seeds,) and resampled values (seeds, resamples) of a figure, a function of what metrics gives."""
        pairs = [figures[f"{system} {seed}"] for seed in range(len(experiments[system]))]
        return np.array([figure(value) for value, _ in pairs]), np.array([figure(sample) for _, sample in pairs])

    def metric(result):
        return result["challenge_metric"]

    def auroc(result):
        areas = np.asarray(result["auroc_classes"])[..., counted]
        return np.nanmean(areas, axis=-1) if counted.any() else np.full(areas.shape[:-1], np.nan)

    cells = []
    for figure in (metric, auroc):
        new, old = of(NEW, figure), of(OLD, figure)
        cells += [
            f"{old[0].mean():.3f} → {new[0].mean():.3f}",
            difference_over_seeds(new, old),
        ]
    written = {
        system: np.mean([scored.outputs[rows].sum(axis=1).mean() for scored in experiments[system]])
        for system in experiments
    }
    f = {system: of(system, lambda result: result["f_measure_classes"][..., sinus])[0].mean() for system in experiments}
    cells.append(f"{labels.sum(axis=1).mean():.2f}; {written[OLD]:.2f} → {written[NEW]:.2f}")
    cells.append(f"{f[OLD]:.2f} → {f[NEW]:.2f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--new", action="append", type=Path, required=True, metavar="OUT", help="once for each seed")
    parser.add_argument("--old", action="append", type=Path, required=True, metavar="OUT", help="once for each seed")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    experiments = {NEW: [read(folder) for folder in arguments.new], OLD: [read(folder) for folder in arguments.old]}
    first = experiments[NEW][0]
    for scored in experiments[NEW] + experiments[OLD]:
        if not (np.array_equal(scored.names, first.names) and np.array_equal(scored.unseen, first.unseen)):
            sys.exit("the experiments were tested on other recordings, or trained on those of other sources")
    parts = {source: first.sources == source for source in np.unique(first.sources).tolist()}
    if first.unseen.any() and len(np.unique(first.sources[first.unseen])) > 1:
        parts[UNSEEN] = first.unseen
    rows = [[name, str(mask.sum()), *row(experiments, mask, arguments.resamples)] for name, mask in parts.items()]
    write_table(
        [
            "scored on",
            "recordings",
            "Challenge metric",
            "difference [95 % interval] (seeds)",
            "macro AUROC",
            "difference [95 % interval] (seeds)",
            "labels a recording: annotated; written",
            "F of sinus rhythm",
        ],
        rows,
        arguments.out,
    )


if __name__ == "__main__":
    main()
