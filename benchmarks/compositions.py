#!/usr/bin/env python
"""Which systems are worth their time in a vote: networks of equal_time.py joined in every way, and compared.

    python benchmarks/equal_time.py data/challenge OUT --groups groups.csv --minutes 8 --seeds 0
    python benchmarks/compositions.py data/challenge OUT --groups groups.csv --minutes 8 --recipes butt s4 se-resnet

Networks of one seed were trained and validated on the same recordings. All compositions of --recipes are decided by the
rule of the default recipe's thresholds (without shrinkage), searched on the scores of the recordings that validated:
once by the mean score of the networks, and once by their votes, with k of n chosen on these recordings, too. Single
networks are decided by the same rule. So the rows differ in nothing but the networks, and in the time that these took.
That a larger ensemble is better is no merit of its composition. With several --seeds there are therefore also rows for
several networks of one recipe.

The tested recordings are those of groups.csv. OUT gets compositions.md: Challenge metric and macro AUROC on the sources
that trained and on those that did not, and the differences from the best single recipe on the unseen sources, paired,
with 95 % bootstrap intervals over patients; means over the seeds, with the range of the seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from equal_time import (
    DEFAULT_SYNTHETIC,
    PARAMETERS,
    Training,
    comparable,
    parts_of,
    read_data,
    trainings_in,
    validation_of,
)
from shared import CLASSES, difference_over_seeds, markdown, mean_with_interval, over_seeds

from twelvelead.errors import UserError
from twelvelead.experiments.compare import UNSEEN, score
from twelvelead.experiments.design import Cohort
from twelvelead.files import write_arrays
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.inference.predict import predict
from twelvelead.preprocessing.heart_rate import add_rate_labels
from twelvelead.recipes import RECIPES, Voting
from twelvelead.thresholds.decisions import at_least_one_label, decide, vote
from twelvelead.thresholds.objectives import Objective, joined, objective_of
from twelvelead.thresholds.search import optimise
from twelvelead.training.batches import on_device
from twelvelead.training.out_of_bag import best_votes, out_of_bag
from twelvelead.training.preparing import FIRST_OF_CONVENTIONS
from twelvelead.training.store import Drawn, Store, build_store

VOTING: Voting = RECIPES["butt"].voting
METRICS = {"challenge_metric": "Challenge metric", "auroc": "macro AUROC"}


class Scored:
    """The scores of all networks for the recordings that validated, those that are tested, and synthetic ones.

    Attributes
    ----------
    labels, truth : bool (recordings, classes)
        Annotated labels, and those by which thresholds are searched.
    validation : dict of int arrays
        For each seed the recordings that validated its networks.
    tested : int array
    conventions : int array
        Synthetic recordings, labelled by annotators of other hospitals.
    scores : dict of float64 arrays (recordings, classes)
        Of each training; NaN for recordings that neither validated its seed nor are tested or synthetic.
    """

    def __init__(self, store: Store, validation: dict[int, list[str]], tested: list[str]):
        self.names = np.array([Path(header).with_suffix("").as_posix() for header in store.headers])
        place = {name: row for row, name in enumerate(self.names.tolist())}
        self.labels = CLASSES.labels(store.codes)
        self.truth = add_rate_labels(self.labels, store.rates, CLASSES.codes)
        self.validation = {seed: np.array([place[name] for name in names]) for seed, names in validation.items()}
        self.tested = np.array([place[name] for name in tested])
        self.conventions = np.flatnonzero(store.conventions)
        self.scores: dict[Training, np.ndarray] = {}


def scored(trainings: Sequence[Training], out: Path, cohort: Cohort, test: np.ndarray) -> Scored:
    """Scores everything with every network; scores are kept beside the models."""
    torch.set_num_threads(1)
    header_of = dict(zip(cohort.names, cohort.headers))
    validation: dict[int, list[str]] = {}
    for training in trainings:
        validated = validation_of(training, out)
        if validation.setdefault(training.seed, validated) != validated:
            sys.exit(f"{training.folder(out)}: other recordings validated it than other recipes of its seed")
    tested = [cohort.names[row] for row in test]
    headers = [header_of[name] for name in [*sorted(set().union(*validation.values())), *tested]]
    drawn = [Drawn(0, FIRST_OF_CONVENTIONS + number, "hospital") for number in range(VOTING.convention_recordings)]
    specs = {training.recipe: RECIPES[training.recipe].parts[0].input for training in trainings}
    stores = {
        name: build_store(headers, spec, out / "stores" / name, root=cohort.root, jobs=1, drawn=drawn)
        for name, spec in specs.items()
    }
    result = Scored(next(iter(stores.values())), validation, tested)
    for training in trainings:
        rows = np.concatenate([result.validation[training.seed], result.tested, result.conventions])
        kept = training.folder(out) / "scores.npz"
        if not _is_of(kept, result.names[rows]):
            print(training.folder(out).name, flush=True)
            (network,) = load_ensemble(training.folder(out) / "model").models
            data = on_device(stores[training.recipe], torch.device("cpu"))
            write_arrays(kept, names=result.names[rows], scores=predict(network, data, rows, specs[training.recipe]))
        result.scores[training] = np.full((len(result.names), len(CLASSES.codes)), np.nan)
        with np.load(kept) as arrays:
            result.scores[training][rows] = arrays["scores"]
    return result


def _is_of(kept: Path, names: np.ndarray) -> bool:
    """Whether a file of scores is there and of these recordings."""
    if not kept.is_file():
        return False
    with np.load(kept) as arrays:
        return bool(np.array_equal(arrays["names"], names))


def _objective(data: Scored, rows: np.ndarray, values: np.ndarray, of_conventions: np.ndarray) -> Objective:
    """The metric by which thresholds are searched: of real recordings, and of synthetic ones of other conventions."""
    real = objective_of(CLASSES, data.truth[rows], values)
    synthetic = objective_of(CLASSES, data.labels[data.conventions], of_conventions)
    return joined(real, synthetic, VOTING.convention_part(len(rows)))


class Composition:
    """Some networks that decide together.

    Parameters
    ----------
    alone : dict
        The composition of each single network, for votes; filled in as they are needed.
    """

    def __init__(self, data: Scored, members: Sequence[Training], alone: dict[Training, Composition]):
        self.data, self.members, self.alone = data, members, alone
        self.mean = np.mean([data.scores[member] for member in members], axis=0)

    @cached_property
    def thresholds(self) -> np.ndarray:
        """Of the mean score, float64 (classes,)."""
        rows, scores = self._out_of_bag([self.data.scores[member] for member in self.members])
        objective = _objective(self.data, rows, scores, self.mean[self.data.conventions])
        return optimise(objective, VOTING.threshold_method, 0, **VOTING.threshold_options).values

    def by_mean(self) -> np.ndarray:
        """Labels bool (tested, classes) by the mean score."""
        tested = self.mean[self.data.tested]
        return at_least_one_label(decide(tested, self.thresholds), tested, self.thresholds)

    def by_votes(self) -> tuple[np.ndarray, int]:
        """Labels bool (tested, classes) that k networks give at least, and k."""
        data = self.data
        for member in self.members:
            self.alone.setdefault(member, Composition(data, [member], self.alone))
        cuts = [self.alone[member].thresholds for member in self.members]
        given = [decide(data.scores[member], of_member) for member, of_member in zip(self.members, cuts)]
        rows, shares = self._out_of_bag([labels.astype(float) for labels in given])
        of_conventions = np.mean([labels[data.conventions] for labels in given], axis=0)
        votes = best_votes(_objective(data, rows, shares, of_conventions), len(given))
        labels = vote(np.stack(given)[:, data.tested], votes)
        return at_least_one_label(labels, self.mean[data.tested], np.mean(cuts, axis=0)), votes

    def _out_of_bag(self, values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the members' values (recordings, classes) of recordings on which they did not train."""
        names = [member.recipe for member in self.members]
        rows = [self.data.validation[member.seed] for member in self.members]
        of_rows = [value[validated] for value, validated in zip(values, rows)]
        return out_of_bag([names.index(name) for name in names], rows, of_rows, len(self.data.labels))


Figures = dict[str, list[tuple[np.ndarray, np.ndarray]]]  # title → labels and scores (tested, classes) of each seed


def decided(data: Scored, recipes: list[str], largest: int) -> Figures:
    """What every composition says of the tested recordings, for every seed that has all of its networks."""
    by_seed: dict[int, dict[str, Training]] = {}
    for training in data.scores:
        by_seed.setdefault(training.seed, {})[training.recipe] = training
    alone: dict[Training, Composition] = {}
    result: Figures = {}

    def add(title: str, members: Sequence[Training]) -> None:
        composition = Composition(data, members, alone)
        if len(members) == 1:
            composition = alone.setdefault(members[0], composition)
        scores = composition.mean[data.tested]
        result.setdefault(f"{title} | mean score" if len(members) > 1 else f"{title} | alone", []).append(
            (composition.by_mean(), scores)
        )
        if len(members) > 2:
            labels, votes = composition.by_votes()
            result.setdefault(f"{title} | votes", []).append((labels, scores))
            print(f"{title}: {votes} of {len(members)}", flush=True)

    for size in range(1, largest + 1):
        for names in combinations(recipes, size):
            for networks in by_seed.values():
                if set(names) <= set(networks):
                    add(" + ".join(names), [networks[name] for name in names])
    for name in recipes:
        networks = [of_seed[name] for of_seed in by_seed.values() if name in of_seed]
        for count in range(2, len(networks) + 1):
            for chosen in combinations(networks, count):
                add(f"{count} × {name}", chosen)
    return result


def table(data: Scored, figures: Figures, parts: dict[str, np.ndarray], patients: np.ndarray, resamples: int) -> str:
    """The table, best composition on the unseen sources first."""
    labels = data.labels[data.tested]
    of_part = {}
    for part, mask in parts.items():
        predictions = {
            (title, k): (outputs[mask], scores[mask])
            for title, answers in figures.items()
            for k, (outputs, scores) in enumerate(answers)
        }
        of_part[part] = score(labels[mask], predictions, CLASSES, patients[mask], resamples, 0)

    def of(part: str, title: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        return over_seeds((of_part[part][title, k] for k in range(len(figures[title]))), metric)

    main = UNSEEN if UNSEEN in parts else next(iter(parts))
    order = sorted(figures, key=lambda title: -of(main, title, "challenge_metric")[0].mean())
    best = next(title for title in order if title.endswith("| alone"))
    rows = []
    for title in order:
        row = [*title.split(" | "), str(len(figures[title]))]
        for part in parts:
            row += [mean_with_interval(*of(part, title, metric)) for metric in METRICS]
            difference = difference_over_seeds(*(of(part, one, "challenge_metric") for one in (title, best)))
            row.append("–" if title == best else difference)
        rows.append(row)
    head = ["networks", "joined by", "trials"]
    for part, mask in parts.items():
        head += [f"{name}, {part} ({mask.sum()})" for name in METRICS.values()]
        head.append(f"minus {best.partition(' |')[0]}, {part}")
    return markdown(head, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of recordings")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of equal_time.py")
    parser.add_argument("--groups", type=Path, required=True, metavar="CSV", help="recording,group of those to test")
    parser.add_argument("--minutes", type=float, default=8.0, metavar="M", help="of the trainings")
    parser.add_argument("--recipes", nargs="+", required=True, choices=comparable(), metavar="NAME")
    parser.add_argument("--synthetic", type=int, default=DEFAULT_SYNTHETIC, metavar="N", help="of the trainings")
    parser.add_argument("--parameters", type=int, default=PARAMETERS, metavar="N", help="of the trainings")
    parser.add_argument("--largest", type=int, default=4, metavar="N", help="most recipes of a composition (4)")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the intervals (1000)")
    options = parser.parse_args(arguments)
    trainings = [
        training
        for training in trainings_in(options.out, options.minutes, options.parameters)
        if training.recipe in options.recipes and training.synthetic == options.synthetic
    ]
    for name in options.recipes:
        if name not in {training.recipe for training in trainings}:
            sys.exit(f"{options.out}: has no training of {name} with these settings; make it with equal_time.py")
    cohort, train, test = read_data(options.data, options.groups)
    data = scored(trainings, options.out, cohort, test)
    figures = decided(data, options.recipes, min(options.largest, len(options.recipes)))
    text = table(data, figures, parts_of(cohort, train, test), cohort.groups(test), options.resamples)
    print(text)
    (options.out / "compositions.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
