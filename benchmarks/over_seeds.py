#!/usr/bin/env python
"""Experiments that differ only in their seed, averaged: how far recipes differ from each other, and how far seeds do.

    for seed in 0 1 2; do
        python -m twelvelead leave-one-source-out DATA OUT/$seed --seed $seed --recipe butt --recipe butt-2020
    done
    python benchmarks/over_seeds.py OUT/0 OUT/1 OUT/2 [--out table.md]

Each part of the test recordings (a source left out, the pooled small ones, all together) has a row: the mean of the
seeds' Challenge metrics with the range of the seeds, and the mean paired difference of the first recipe and each
other one with its 95 % bootstrap interval over recordings, the same resamples for every seed and recipe. Once on all
classes, once on those that the recording's source annotates (twelvelead/comparison.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from shared import CLASSES, difference_over_seeds, over_seeds, range_of, write_table

from twelvelead.data.sources import source_of
from twelvelead.experiments.compare import annotated_classes, score

METRIC = "challenge_metric"
ALL = "all together"


def read(folders: list[Path]) -> tuple[list[str], dict[str, dict]]:
    """Recipes, and for each part of the recordings: sources, labels and outputs by (recipe, seed)."""
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    same = [{key: result[key] for key in ("experiment", "budget", "data", "weights", "splits")} for result in results]
    recipes = list(results[0]["recipes"])
    if any(one != same[0] for one in same) or any(list(result["recipes"]) != recipes for result in results):
        sys.exit("the experiments differ in more than their seed")
    if len({result["seed"] for result in results}) < len(folders):
        sys.exit("two of the experiments have the same seed")
    parts: dict[str, dict] = {}
    for folder, result in zip(folders, results):
        for split in result["splits"]:
            for recipe in recipes:
                with np.load(folder / recipe / split / "scores.npz") as arrays:
                    part = parts.setdefault(
                        split, dict(names=arrays["recordings"], labels=arrays["labels"], outputs={})
                    )
                    if not np.array_equal(part["names"], arrays["recordings"]):
                        sys.exit(f"{folder}: {split} was tested on other recordings")
                    part["outputs"][recipe, result["seed"]] = arrays["outputs"]
    for part in parts.values():
        part["sources"] = np.array([source_of(Path(str(name)), ".") for name in part["names"]])
    if len(parts) > 1:
        parts = {
            ALL: dict(
                sources=np.concatenate([part["sources"] for part in parts.values()]),
                labels=np.concatenate([part["labels"] for part in parts.values()]),
                outputs={
                    key: np.concatenate([part["outputs"][key] for part in parts.values()])
                    for key in next(iter(parts.values()))["outputs"]
                },
            )
        } | parts
    return recipes, parts


def row(part: dict, recipes: list[str], annotated_only: bool, resamples: int) -> list[str]:
    """The cells of a part: each recipe's mean over the seeds and their range, differences to the first recipe."""
    labels, outputs = part["labels"], part["outputs"]
    if annotated_only:
        known = annotated_classes(labels, part["sources"])
        outputs = {key: given & known for key, given in outputs.items()}
    predictions = {key: (given, given.astype(float)) for key, given in outputs.items()}
    figures = score(labels, predictions, CLASSES, None, resamples, 0)
    seeds = sorted({seed for _, seed in outputs})

    of_recipe = {recipe: over_seeds((figures[recipe, seed] for seed in seeds), METRIC) for recipe in recipes}
    cells = [f"{values.mean():.3f} {range_of(values)}" for values, _ in of_recipe.values()]
    return cells + [difference_over_seeds(of_recipe[recipes[0]], of_recipe[recipe]) for recipe in recipes[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="OUT", help="finished experiments")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    recipes, parts = read(arguments.folders)
    rows = []
    for name, part in parts.items():
        for kind, annotated_only in (("all", False), ("annotated", True)):
            rows.append(
                [name, str(len(part["labels"])), kind, *row(part, recipes, annotated_only, arguments.resamples)]
            )
    differences = [f"{recipes[0]} − {recipe} [95 % interval] (seeds)" for recipe in recipes[1:]]
    write_table(
        ["scored on", "recordings", "classes", *(f"{recipe} (seeds)" for recipe in recipes), *differences],
        rows,
        arguments.out,
    )


if __name__ == "__main__":
    main()
