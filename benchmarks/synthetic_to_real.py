#!/usr/bin/env python
"""What synthetic recordings alone teach: a small network learns from them and is tested on real recordings, by class.

    python benchmarks/synthetic_to_real.py data/challenge --recordings 4000 --epochs 10             while developing
    python benchmarks/synthetic_to_real.py data/challenge --recordings 8000 --epochs 12 --test      for a report

While developing, the test recordings are PTB-XL's folds 1 to 8: 1,000 drawn at random, and every recording of a class
that has fewer than 130 there. With --test there are PTB-XL's fold 9, and the other sources together, too, which
nothing was chosen by. DATA holds recordings.csv, as `../shared/unpack data` makes data/challenge. Not one real
recording trains. With --labels hospital the synthetic recordings have the labels of hospitals with conventions of their
own, instead of everything that is true of the heart.

Two macro AUROCs are printed, with 95 % bootstrap intervals over the recordings: over the classes with at least 5
positives in the group, and over all with any.
`--scores FILE.npz` keeps the scores, for a look at what is misclassified.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import torch
from repository import ROOT

from twelvelead.data.classes import Classes, load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import RecordingError
from twelvelead.evaluation.bootstrap import draw_counts, interval, resampled_metrics
from twelvelead.evaluation.metrics import auroc
from twelvelead.inference.predict import PackedRecordings, predict_each, stack
from twelvelead.models.network import new_model
from twelvelead.preprocessing.prepare import Prepared, prepare
from twelvelead.recipes import Input, Recipe, get_recipe
from twelvelead.synthetic import draw_recording
from twelvelead.training.member import train_member

FEWEST = 5  # positives that a class must have for the first macro average
RARE = 130  # a class with fewer in PTB-XL's folds 1 to 8 is tested with all of them while developing
CHUNK = 100  # recordings that a job draws
RESAMPLES = 300  # behind an interval


def draw_prepared(
    seed: int, first: int, count: int, labels: str, spec: Input
) -> list[tuple[Prepared, tuple[str, ...]]]:
    """Synthetic recordings first … first + count − 1, prepared, with their codes; `labels` as in draw_recording."""
    drawn = (draw_recording(seed, k, labels=labels) for k in range(first, first + count))
    return [(prepare(recording, spec), recording.codes) for recording in drawn]


def synthetic_data(
    seed: int, count: int, labels: str, recipe: Recipe, classes: Classes, jobs: int
) -> tuple[PackedRecordings, np.ndarray]:
    """`count` drawn recordings as training data, and their labels, bool (count, classes)."""
    tasks = (
        joblib.delayed(draw_prepared)(seed, first, min(CHUNK, count - first), labels, recipe.input)
        for first in range(0, count, CHUNK)
    )
    drawn = [pair for chunk in joblib.Parallel(n_jobs=jobs)(tasks) for pair in chunk]
    return stack([item for item, _ in drawn], torch.device("cpu")), classes.labels([codes for _, codes in drawn])


def test_groups(data: Path, test: bool, classes: Classes) -> dict[str, list[Path]]:
    """Header paths of the real recordings by group; see the module's first lines."""
    with open(data / "recordings.csv", newline="") as file:
        fold_of = {row["recording"]: row["ptbxl_strat_fold"] for row in csv.DictReader(file)}
    paths = {path.stem: path for path in find_recordings(data)}
    training = [path for name, path in sorted(paths.items()) if fold_of[name] in set("12345678")]
    labels = classes.labels([read_recording(path).codes for path in training])
    chosen = labels[:, labels.sum(axis=0) < RARE].any(axis=1)
    chosen[np.random.default_rng(0).permutation(len(training))[:1000]] = True
    groups = {"PTB-XL folds 1 to 8": [training[row] for row in np.flatnonzero(chosen)]}
    if test:
        groups["PTB-XL fold 9"] = [path for name, path in paths.items() if fold_of[name] == "9"]
        groups["other sources"] = [path for name, path in paths.items() if fold_of[name] == ""]
    return groups


def real_data(paths: list[Path], spec: Input) -> tuple[PackedRecordings, list[tuple[str, ...]], list[str]]:
    """Prepared recordings, their codes and names; those without a usable lead are left out."""
    prepared, codes, names = [], [], []
    for path in paths:
        recording = read_recording(path)
        try:
            prepared.append(prepare(recording, spec))
        except RecordingError as error:
            print(f"left out: {error}")
            continue
        codes.append(recording.codes)
        names.append(path.stem)
    return stack(prepared, torch.device("cpu")), codes, names


def train(
    recipe: Recipe, classes: Classes, data: PackedRecordings, labels: np.ndarray, seed: int
) -> list[torch.nn.Module]:
    """The recipe's members, each trained on all synthetic recordings; the last epoch's weights are kept."""
    models = []
    for member in range(recipe.voting.members):
        with tempfile.TemporaryDirectory() as folder:
            trained = train_member(
                data,
                labels,
                np.arange(len(labels)),
                np.arange(0),
                recipe,
                classes,
                seed=seed,
                member=member,
                checkpoint=Path(folder, "checkpoint"),
                log=partial(print, flush=True),
            )
        model = new_model(recipe, len(classes.codes))
        model.load_state_dict(trained.state)
        models.append(model.eval())
    return models


def resampled_areas(labels: np.ndarray, scores: np.ndarray, classes: Classes) -> np.ndarray:
    """AUROC (resamples, classes) of `RESAMPLES` resamples of the recordings; NaN where a class has no positive."""
    counts = draw_counts(len(labels), RESAMPLES, seed=0)
    predictions = [(scores > 0.5, scores)]
    return resampled_metrics(labels, predictions, counts, classes.weights, classes.sinus_rhythm)[0]["auroc_classes"]


def table(results: dict[str, tuple[np.ndarray, np.ndarray]], classes: Classes) -> str:
    """AUROC by class and group as a Markdown table: `results` are labels and scores (recordings, classes) by group."""
    areas = {name: auroc(labels, scores) for name, (labels, scores) in results.items()}
    drawn = {name: resampled_areas(labels, scores, classes) for name, (labels, scores) in results.items()}
    positives = {name: labels.sum(axis=0) for name, (labels, _) in results.items()}
    lines = [
        "| class | " + " | ".join(f"{name} (positives)" for name in results) + " |",
        "|---" * (len(results) + 1) + "|",
    ]
    for k, abbreviation in enumerate(classes.abbreviations):
        cells = [f"{areas[name][k]:.3f} ({positives[name][k]})" if positives[name][k] else "" for name in results]
        lines.append(f"| {abbreviation} | " + " | ".join(cells) + " |")
    for title, fewest in ((f"macro, classes with {FEWEST} or more", FEWEST), ("macro, all classes with any", 1)):
        cells = []
        for name in results:
            counted = positives[name] >= fewest
            low, high = interval(np.nanmean(drawn[name][:, counted], axis=1))
            cells.append(f"{np.mean(areas[name][counted]):.3f} [{low:.3f}, {high:.3f}] ({counted.sum()} classes)")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder of the real recordings")
    parser.add_argument("--recordings", type=int, default=4000, help="synthetic ones that train")
    parser.add_argument("--recipe", default="butt")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic recordings and of training")
    parser.add_argument("--jobs", type=int, default=1, help="processes that draw recordings")
    parser.add_argument("--labels", choices=["truth", "hospital"], default="truth", help="of the synthetic recordings")
    parser.add_argument("--test", action="store_true", help="PTB-XL's fold 9 and the other sources too, for reports")
    parser.add_argument("--scores", type=Path, help="write labels, scores and names into this .npz")
    options = parser.parse_args()

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    classes = scored_classes(load_weights(ROOT / "weights.csv"))
    recipe = get_recipe(options.recipe).scaled(members=options.members, epochs=options.epochs, width=options.width)
    started = time.perf_counter()
    data, labels = synthetic_data(options.seed, options.recordings, options.labels, recipe, classes, options.jobs)
    print(
        f"{options.recordings} synthetic recordings drawn and prepared in {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    models = train(recipe, classes, data, labels, options.seed)
    print(f"trained after {time.perf_counter() - started:.0f} s")
    results, kept = {}, {}
    for group, paths in test_groups(options.data, options.test, classes).items():
        real, codes, names = real_data(paths, recipe.input)
        scores = predict_each(models, real, np.arange(len(names)), recipe.input).mean(axis=0)
        results[group] = classes.labels(codes), scores
        kept.update({f"{group}/names": names, f"{group}/labels": results[group][0], f"{group}/scores": scores})
    print(table(results, classes))
    if options.scores:
        np.savez(options.scores, codes=classes.codes, **kept)


if __name__ == "__main__":
    main()
