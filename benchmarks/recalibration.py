#!/usr/bin/env python
"""What `twelvelead recalibrate` gains on sources that a model has not learned from, and what abstaining is worth.

    python -m twelvelead leave-one-source-out DATA OUT --recipe butt        # or holdout; one or several experiments
    python benchmarks/recalibration.py OUT [OUT2 …] [--out table.md] [--choose]

Everything is computed from the experiments' saved scores and models' thresholds. For each source that was tested,
N labelled recordings are drawn at random; the rest of the source is what the Challenge metric is computed on, with the
model as it is and with the recalibrated one. Sources with few recordings are taken together. A source from which the
model has learned (other recordings of it) is marked with an asterisk: there it should lose nothing.

--choose shows how the prior of twelvelead/recalibration/posterior.py was chosen: every candidate on every source, and
for each source the candidate that is chosen by all others, by a one-standard-error rule towards the model's own.

The second table is risk against coverage: the error of the labels (1 minus the Jaccard index of labels and truth) of
those recordings that are left if the most uncertain ones are given to a person.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from shared import markdown

from twelvelead.data.sources import source_of
from twelvelead.evaluation.metrics import challenge_metric
from twelvelead.inference.ensemble import thresholds_of_scores
from twelvelead.inference.model_files import Description, read_description
from twelvelead.recalibration.frequencies import adapted_mean
from twelvelead.recalibration.posterior import (
    DEFAULT_PRIOR,
    Habits,
    Local,
    Prior,
    decide_with,
    learn,
    no_habits,
)
from twelvelead.thresholds.uncertainty import margins_of, overlap, uncertainty

LABELLED = (20, 50, 100)
UNLABELLED = 100
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
SMALL = "small sources"
MOST_USED = 0.65  # of a source; what is left is tested on
CANDIDATES = [
    replace(DEFAULT_PRIOR, strength_of_data=strength, spread=spread)
    for strength in (3.0, 4.0, 6.0)
    for spread in (0.4, 0.7, 1.0)
]


@dataclass(frozen=True)
class Case:
    """One tested source of one experiment."""

    experiment: str
    source: str
    model: Description
    local: Local

    @property
    def name(self) -> str:
        return f"{self.source}, {self.experiment}"

    def metric(self, rows: np.ndarray, habits: Habits) -> float:
        """Challenge metric of some recordings, as the model with these habits decides."""
        part = self.local.rows(rows)
        return challenge_metric(part.labels, decide_with(part, habits), part.weights, part.sinus_rhythm)


def cases(experiment: Path, pool_below: int) -> Iterator[Case]:
    """The tested sources of an experiment; small ones together, and asterisks for those that were trained on."""
    for path in sorted(experiment.glob("*/*/scores.npz")):
        with np.load(path) as arrays:
            names, labels, scores = arrays["recordings"].tolist(), arrays["labels"], arrays["scores"]
        model = read_description(path.parent / "model")
        trained = json.loads((path.parent / "model" / "splits.json").read_text())["recordings"]
        trained_sources = {source_of(Path(name), ".") for name in trained}
        sources = np.array([source_of(Path(name), ".") for name in names])
        counts = {source: int((sources == source).sum()) for source in np.unique(sources)}
        pooled = np.array([SMALL if counts[source] < pool_below else source for source in sources])
        for source in dict.fromkeys(pooled.tolist()):
            rows = pooled == source
            seen = set(sources[rows].tolist()) & trained_sources
            line = model.probabilities
            of_mean = scores[rows] if line is None else line.inverse(scores[rows])
            cuts = thresholds_of_scores(model, of_mean)
            local = Local(
                margins_of(of_mean, cuts),
                of_mean,
                cuts,
                labels[rows].astype(bool),
                model.classes.weights,
                model.classes.sinus_rhythm,
                model.recipe.voting.at_least_one,
            )
            yield Case(experiment.name, source + "*" * bool(seen), model, local)


def drawn(case: Case, number: int, draws: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each draw the rows to learn from and the rows to test on."""
    for draw in range(draws):
        rows = np.random.default_rng([draw, number]).permutation(len(case.local))
        yield rows[:number], rows[number:]


def gains(case: Case, number: int, draws: int, prior: Prior = DEFAULT_PRIOR) -> list[float]:
    """For each draw, what `number` labelled recordings gain on the rest; none if the source has too few."""
    if number > MOST_USED * len(case.local):
        return []
    own = no_habits(len(case.model.thresholds))
    return [
        case.metric(test, learn(case.local.rows(local), prior)) - case.metric(test, own)
        for local, test in drawn(case, number, draws)
    ]


def gains_unlabelled(case: Case, draws: int) -> list[float]:
    """The same for `--unlabelled` and `UNLABELLED` recordings, or two thirds of a smaller source."""
    number = min(UNLABELLED, int(MOST_USED * len(case.local)))
    own = no_habits(len(case.model.thresholds))
    return [
        case.metric(test, _adapted(case, local)) - case.metric(test, own) for local, test in drawn(case, number, draws)
    ]


def _adapted(case: Case, rows: np.ndarray) -> Habits:
    """What `recalibrate --unlabelled` learns from these recordings."""
    model = case.model
    return adapted_mean(case.local.scores[rows], model.probabilities, model.priors, model.recipe.parts[0].training)


def cell(values: list[float]) -> str:
    return f"{np.mean(values):+.3f} ({min(values):+.3f} to {max(values):+.3f})" if values else "—"


def gain_table(found: list[Case], draws: int) -> str:
    head = ["source", "recordings", "0 labelled", *(f"{n} labelled" for n in LABELLED), f"--unlabelled, {UNLABELLED}"]
    rows = []
    for case in found:
        everything = np.arange(len(case.local))
        rows.append(
            [
                case.name,
                str(len(case.local)),
                f"{case.metric(everything, no_habits(len(case.model.thresholds))):.3f}",
                *(cell(gains(case, number, draws)) for number in LABELLED),
                cell(gains_unlabelled(case, draws)),
            ]
        )
    return markdown(head, rows)


def choice_tables(found: list[Case], draws: int) -> str:
    """Every candidate on every source with 50 labelled recordings, and each source with the others' best."""
    number = 50
    values = {(k, case.name): gains(case, number, draws, prior) for k, prior in enumerate(CANDIDATES) for case in found}
    possible = [case for case in found if values[0, case.name]]
    head = ["strength", "spread", *(case.name for case in possible)]
    rows = [
        [
            f"{prior.strength_of_data:g}",
            f"{prior.spread:g}",
            *(f"{np.mean(values[k, case.name]):+.3f}" for case in possible),
        ]
        for k, prior in enumerate(CANDIDATES)
    ]
    text = f"\n{number} labelled recordings, mean gain by prior:\n\n" + markdown(head, rows)
    nested = []
    for source in dict.fromkeys(case.source.rstrip("*") for case in possible):
        others = [case for case in possible if case.source.rstrip("*") != source]
        if not others:
            continue
        best = chosen(np.array([[values[k, case.name] for case in others] for k in range(len(CANDIDATES))]))
        nested += [
            [
                case.name,
                f"{CANDIDATES[best].strength_of_data:g}, {CANDIDATES[best].spread:g}",
                cell(values[best, case.name]),
            ]
            for case in possible
            if case.source.rstrip("*") == source
        ]
    return text + "\nPrior chosen on the other sources:\n\n" + markdown(["source", "strength, spread", "gain"], nested)


def chosen(values: np.ndarray) -> int:
    """The candidate to take by gains (candidates, cases, draws): among those within one standard error of the best
    mean gain, the ones with the smallest spread, whose thresholds stay nearest to the model's; of these the best.
    """
    means = values.mean(axis=(1, 2))
    best = int(means.argmax())
    by_draw = (values - values[best]).mean(axis=1)  # candidates, draws
    error = by_draw.std(axis=1, ddof=1) / np.sqrt(by_draw.shape[1])
    within = [k for k in range(len(means)) if means[k] >= means[best] - error[k]]
    least = min(CANDIDATES[k].spread for k in within)
    return max((k for k in within if CANDIDATES[k].spread == least), key=lambda k: means[k])


def coverage_table(found: list[Case]) -> str:
    """Error of the labels of the most certain recordings, with the model as it is and with 50 labelled recordings."""
    head = ["source", "model", *(f"{coverage:.0%}" for coverage in COVERAGES)]
    rows = []
    for case in found:
        local, test = next(drawn(case, min(50, int(MOST_USED * len(case.local))), 1))
        part = case.local.rows(test)
        for name, habits in (
            ("as it is", no_habits(len(case.model.thresholds))),
            ("recalibrated", learn(case.local.rows(local))),
        ):
            labels = decide_with(part, habits)
            margins = np.where(habits.never, -np.inf, part.margins - habits.shift)
            by_certainty = np.argsort(uncertainty(margins, labels), kind="stable")
            errors = (1 - overlap(part.labels, labels))[by_certainty]
            kept = (errors[: round(coverage * len(errors))] for coverage in COVERAGES)
            rows.append([case.name, name, *(f"{values.mean():.3f}" for values in kept)])
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", type=Path, nargs="+", metavar="OUT", help="folder of a finished experiment")
    parser.add_argument("--draws", type=int, default=5, help="of the labelled recordings (5)")
    parser.add_argument("--pool-below", type=int, default=100, metavar="N", help="sources with fewer are one (100)")
    parser.add_argument("--choose", action="store_true", help="compare priors")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="gets the tables, too")
    options = parser.parse_args()
    found = [case for experiment in options.experiments for case in cases(experiment, options.pool_below)]
    text = gain_table(found, options.draws)
    text += "\nError of the labels of the most certain part of the rest:\n\n" + coverage_table(found)
    if options.choose:
        text += choice_tables(found, options.draws)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
