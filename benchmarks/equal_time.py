#!/usr/bin/env python
"""Every recipe with the same time on one core, on the same recordings, with and without synthetic ones beside them.

    python benchmarks/ptbxl_groups.py data/challenge groups.csv
    python benchmarks/equal_time.py data/challenge OUT --groups groups.csv --minutes 8 --synthetic 0 1700
    python benchmarks/equal_time.py data/challenge OUT --groups groups.csv --minutes 8 --recipes butt s4 --seeds 0 1 2

Each recipe trains one network (a recipe that joins others, one of each) within --minutes of one core, which include
reading, preparing and making recordings; each network is as wide as --parameters allow. Its number of epochs is fitted
to the time as in any training with a time budget. The clock is that of the training's own process, so that whatever
else the machine does takes nothing from it. All trainings of one seed share out the recordings alike: 80 %
train and the other 20 % validate, whatever part a recipe takes at full size. Everything else is the recipe's own:
input, loss, schedule, rule for thresholds.

The recordings of groups.csv are tested and take no part in training. OUT gets a folder for each training and, of all
trainings with these --minutes and --parameters that are in it, equal_time.md: the Challenge metric and macro AUROC on
PTB-XL's fold 9 (or whatever else was tested of a source that trained) and on the sources that no recording trained,
with 95 % bootstrap intervals over patients and the range of the seeds, and the paired differences from the default.

A run that was stopped goes on, and several may train in one OUT at a time (--train-only). time_to_quality.py draws the
same trainings against time, and compositions.py joins their networks.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from repository import ROOT
from shared import CLASSES, difference_over_seeds, markdown, mean_with_interval, over_seeds, process, range_of

from twelvelead.commands import find_patients
from twelvelead.data.classes import classes_for, load_weights
from twelvelead.data.groups import read_groups
from twelvelead.errors import UserError
from twelvelead.experiments.budget import narrowed
from twelvelead.experiments.compare import UNSEEN, laid_out, score
from twelvelead.experiments.design import Cohort, holdout, read_cohort
from twelvelead.experiments.scored import score_recordings
from twelvelead.files import write_arrays, write_json
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.models.network import parameters_of
from twelvelead.recipes import RECIPES, AnyRecipe, Recipe
from twelvelead.training.workers import train_ensemble

DEFAULT, DEFAULT_SYNTHETIC = "butt", 1700  # what the others are compared with, if it was trained
TRAIN_FRACTION = 0.8
PARAMETERS = 200_000
TABLE = load_weights(ROOT / "weights.csv")
METRICS = {"challenge_metric": "Challenge metric", "auroc": "Macro AUROC"}


System = tuple[str, int]


class Training(NamedTuple):
    """What one training is: a recipe, how many synthetic recordings it may use, a seed, and its minutes."""

    recipe: str
    synthetic: int
    seed: int
    minutes: float

    @property
    def system(self) -> System:
        """What is compared: the recipe, and how many synthetic recordings it may use."""
        return self.recipe, self.synthetic

    def folder(self, out: Path) -> Path:
        return out / f"{self.recipe}, {self.synthetic} synthetic, seed {self.seed}, {self.minutes:g} min"


def comparable() -> list[str]:
    """The recipes that have one network and the Challenge's classes."""
    return [name for name, recipe in RECIPES.items() if isinstance(recipe, Recipe) and recipe.label_set == "challenge"]


def one_network(recipe: AnyRecipe, synthetic: int, parameters: int) -> AnyRecipe:
    """The recipe with one network (one of each recipe that it joins), which every recipe validates on the same part."""
    recipe = recipe.scaled(members=len(recipe.parts), synthetic=synthetic)
    recipe = narrowed(recipe, len(classes_for(recipe.label_set, TABLE).codes), parameters)
    if isinstance(recipe, Recipe):
        return replace(recipe, voting=replace(recipe.voting, folds=0, train_fraction=TRAIN_FRACTION))
    return recipe  # members of several recipes share the recordings out alike in any case


def read_data(data: Path, groups: Path | None) -> tuple[Cohort, np.ndarray, np.ndarray]:
    """The recordings with a diagnosis, the rows of those that train, and of those that are tested."""
    cohort = read_cohort(data, find_patients(data, None))
    if groups is None:
        return cohort, np.arange(len(cohort.names)), np.zeros(0, dtype=np.int64)
    train, test = holdout(cohort, read_groups(groups, "group")).splits["holdout"]
    return cohort, train, test


# ----------------------------------------------------------------------------------------------------------------
# training


def trained(training: Training, out: Path, cohort: Cohort, train: np.ndarray, parameters: int) -> Path:
    """The folder of a training with its model and curve.json; trains it in a process of one thread if need be."""
    folder = training.folder(out)
    made_with = dict(training=training._asdict(), parameters=parameters, recordings=len(train))
    settings = folder / "settings.json"
    if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")) != made_with:
        sys.exit(f"{folder}: was made with other settings or recordings; name another folder")
    if not (folder / "curve.json").is_file():
        print(folder.name, flush=True)
        shutil.rmtree(folder, ignore_errors=True)  # its clock starts anew
        folder.mkdir(parents=True)
        write_json(settings, made_with)
        with process(1) as one:
            one.submit(_train, training, folder, cohort, train, parameters).result()
    return folder


@contextmanager
def seconds_of_this_process() -> Iterator[None]:
    """Clocks count the seconds that this process computes, on all cores together, and not those that it waits."""
    start = time.time()
    with (
        mock.patch("time.time", lambda: start + time.process_time()),
        mock.patch("time.perf_counter", time.process_time),
    ):
        yield


def _train(training: Training, folder: Path, cohort: Cohort, train: np.ndarray, parameters: int) -> None:
    """Trains into folder/model, and writes curve.json: minutes, metric and member of each epoch."""
    torch.set_num_threads(1)
    recipe = one_network(RECIPES[training.recipe], training.synthetic, parameters)
    prepared = [0.0]
    started = time.process_time()

    def log(line: str) -> None:
        if line.startswith("training "):  # what train_ensemble says when all recordings are prepared
            prepared[0] = time.process_time() - started
        print(f"  {line}", flush=True)

    with seconds_of_this_process():
        train_ensemble(
            [cohort.headers[row] for row in train],
            folder / "model",
            recipe,
            classes_for(recipe.label_set, TABLE),
            root=cohort.root,
            seed=training.seed,
            budget_hours=training.minutes / 60,
            patients=cohort.listed_patients,
            jobs=1,
            workers=1,
            log=log,
        )
    with open(folder / "model" / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ends = (prepared[0] + np.cumsum([float(row["seconds"]) for row in rows])) / 60
    metric = [float(row["metric"]) for row in rows]
    write_json(
        folder / "curve.json", dict(minutes=ends.tolist(), metric=metric, member=[row["member"] for row in rows])
    )


def validation_of(training: Training, out: Path) -> list[str]:
    """The recordings that validated the first network of a training, named as in `Cohort.names`."""
    path = training.folder(out) / "model" / "splits.json"
    headers = json.loads(path.read_text(encoding="utf-8"))["validation_of_member"]["0"]
    return [Path(header).with_suffix("").as_posix() for header in headers]


def trainings_in(out: Path, minutes: float, parameters: int) -> list[Training]:
    """All finished trainings of an OUT with these minutes and parameters, in the order of the recipes."""
    trainings = []
    for path in out.glob("*/curve.json"):
        settings = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
        training = Training(**settings["training"])
        if (training.minutes, settings["parameters"]) == (minutes, parameters):
            trainings.append(training)
    return sorted(trainings, key=lambda training: (list(RECIPES).index(training.recipe), *training[1:]))


# ----------------------------------------------------------------------------------------------------------------
# testing


def answers(training: Training, out: Path, cohort: Cohort, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of the tested recordings for the Challenge's classes; kept in answers.npz."""
    folder = training.folder(out)
    kept, names = folder / "answers.npz", [cohort.names[row] for row in test]
    if kept.is_file():
        with np.load(kept) as arrays:
            if arrays["recordings"].tolist() == names:
                return arrays["outputs"], arrays["scores"]
    ensemble = load_ensemble(folder / "model")
    scores, outputs, _ = score_recordings(ensemble, [cohort.headers[row] for row in test])
    scores, outputs = (laid_out(values, ensemble.classes, CLASSES) for values in (scores, outputs))
    write_arrays(kept, recordings=names, outputs=outputs, scores=scores)
    return outputs, scores


def parts_of(cohort: Cohort, train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Which tested recordings each column of the table is about, bool (tested,): by source, and all unseen sources."""
    sources = np.array(cohort.sources)
    seen = np.isin(sources[test], np.unique(sources[train]))
    parts = {f"{name}, other recordings": (sources[test] == name) for name in np.unique(sources[test][seen])}
    if not seen.all():
        parts[UNSEEN] = ~seen
    for name in np.unique(sources[test][~seen]):
        if (sources[test] == name).sum() >= 100:
            parts[str(name)] = sources[test] == name
    return parts


Answers = dict[Training, tuple[np.ndarray, np.ndarray]]  # labels and scores (tested, classes)


def tables(
    answered: Answers,
    cohort: Cohort,
    train: np.ndarray,
    test: np.ndarray,
    about: dict[System, list[str]],
    resamples: int,
) -> str:
    """The figures of each system on each part, and its differences from the default, as text with tables."""
    labels = CLASSES.labels([cohort.codes[row] for row in test])
    parts, patients = parts_of(cohort, train, test), cohort.groups(test)
    default = (DEFAULT, DEFAULT_SYNTHETIC) if (DEFAULT, DEFAULT_SYNTHETIC) in about else next(iter(about))
    figures = {metric: {system: [*map(str, system), *words] for system, words in about.items()} for metric in METRICS}
    differences = {metric: {system: [*map(str, system)] for system in about} for metric in METRICS}
    for mask in parts.values():
        predictions = {training: (outputs[mask], scores[mask]) for training, (outputs, scores) in answered.items()}
        results = score(labels[mask], predictions, CLASSES, patients[mask], resamples, 0)
        for metric in METRICS:
            of_system = {
                system: over_seeds((results[one] for one in answered if one.system == system), metric)
                for system in about
            }
            for system, (values, samples) in of_system.items():
                apart = f" {range_of(values)}" if len(values) > 1 else ""
                figures[metric][system].append(mean_with_interval(values, samples) + apart)
                difference = difference_over_seeds(of_system[system], of_system[default])
                differences[metric][system].append("–" if system == default else difference)
    head = ["recipe", "synthetic"]
    columns = [f"{name} ({mask.sum()})" for name, mask in parts.items()]
    text = ""
    for metric, title in METRICS.items():
        text += f"{title}:\n\n"
        text += markdown([*head, "parameters (width)", "epochs", "seeds", *columns], [*figures[metric].values()]) + "\n"
        text += f"{title}, minus that of {default[0]} with {default[1]} synthetic recordings, paired:\n\n"
        text += markdown([*head, *columns], [*differences[metric].values()]) + "\n"
    return text


def about_trainings(trainings: Sequence[Training], out: Path, parameters: int) -> dict[System, list[str]]:
    """For each system its parameters with the width, the epochs of its networks, and how many seeds there are."""
    about: dict[System, list[str]] = {}
    for system in dict.fromkeys(training.system for training in trainings):
        of_system = [training for training in trainings if training.system == system]
        recipe = one_network(RECIPES[system[0]], system[1], parameters)
        sizes = [
            f"{parameters_of(part, len(classes_for(part.label_set, TABLE).codes)):,} ({part.network['width']})"
            for part in recipe.parts
        ]
        epochs = []
        for training in of_system:
            members = json.loads((training.folder(out) / "curve.json").read_text(encoding="utf-8"))["member"]
            epochs.append("+".join(str(members.count(member)) for member in sorted(set(members))))
        about[system] = [", ".join(sizes), ", ".join(dict.fromkeys(epochs)), str(len(of_system))]
    return about


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of recordings")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for trainings and tables")
    parser.add_argument("--groups", type=Path, required=True, metavar="CSV", help="recording,group of those to test")
    parser.add_argument("--minutes", type=float, default=8.0, metavar="M", help="of each training, on one core (8)")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES), metavar="NAME")
    parser.add_argument(
        "--synthetic", type=int, nargs="+", default=[DEFAULT_SYNTHETIC], metavar="N", help="most synthetic recordings"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument(
        "--parameters", type=int, default=PARAMETERS, metavar="N", help=f"of a network ({PARAMETERS:,})"
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the intervals (1000)")
    parser.add_argument("--train-only", action="store_true", help="test nothing and write no table")
    options = parser.parse_args(arguments)
    cohort, train, test = read_data(options.data, options.groups)
    for seed in options.seeds:
        for synthetic in options.synthetic:
            for name in options.recipes:
                training = Training(name, synthetic, seed, options.minutes)
                trained(training, options.out, cohort, train, options.parameters)
    if options.train_only:
        return
    trainings = trainings_in(options.out, options.minutes, options.parameters)
    answered = {training: answers(training, options.out, cohort, test) for training in trainings}
    about = about_trainings(trainings, options.out, options.parameters)
    text = tables(answered, cohort, train, test, about, options.resamples)
    print(text)
    (options.out / "equal_time.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
