"""Recipes beside each other on the same test recordings: metrics by fold, source and class, and paired differences.

    results = compare(tested, challenge_classes, resamples=1000, seed=0)

All recipes are scored on the same resamples of the same recordings, so that a difference is paired. Everything is
scored by the Challenge's classes and metrics of 2020, and once more with the outputs of a class left away where the
recording's source never has it ("annotated classes"): there it is unknown, not wrong. A recipe for the nine classes of
the unofficial phase says no, with score 0, to the classes that it does not know; such recipes are also scored by that
phase's metrics, on the recordings that have one of the nine classes (those metrics divide by a recording's number of
labels).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..data.classes import CPSC, Classes
from ..evaluation import metrics
from ..evaluation.bootstrap import draw_counts, interval, resampled_metrics

MAIN = {"2020": "challenge_metric", "unofficial": "geometric_mean"}
OF_CLASSES = ("auroc", "auprc", "accuracy", "f_measure", "f_beta_measure", "g_beta_measure")
ALL = "all recordings"  # the name of all test recordings together among folds and sources
UNSEEN = "unseen sources"  # and, where others were tested too, of those whose source no training recording was of
ANNOTATED = "2020, annotated classes"


@dataclass(frozen=True)
class Predictions:
    """A recipe's answers to the test recordings: `outputs` bool and `scores` float64, (recordings, classes)."""

    classes: Classes
    outputs: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class TestSet:
    """Recordings that were tested, each once; row i of every field is the same recording.

    Attributes
    ----------
    codes : tuple of tuples of str
        Diagnoses in the header.
    folds, sources : tuple of str
        Fold or test group, and source, of each recording.
    groups : int (recordings,) or None
        What resampling draws as a whole: the patient. None: every recording by itself.
    answers : dict
        Recipe → Answers.
    unseen : bool (recordings,) or None
        Whether the model that was tested on it had no recording of the same source to train on. None: not known.
    """

    codes: tuple[tuple[str, ...], ...]
    folds: tuple[str, ...]
    sources: tuple[str, ...]
    groups: np.ndarray | None
    answers: dict[str, Predictions]
    unseen: np.ndarray | None = None


def laid_out(values: np.ndarray, own: Classes, classes: Classes) -> np.ndarray:
    """Values (recordings, own classes) over other classes; 0 or False for a class that `own` does not know."""
    return own.laid_out(values, classes.codes, 0)


def score(
    labels: np.ndarray,
    predictions: dict[str, tuple[np.ndarray, np.ndarray]],
    classes: Classes,
    groups: np.ndarray | None,
    resamples: int,
    seed: int,
) -> dict[str, tuple[dict, dict]]:
    """Scores several predictions of the same recordings on the same resamples.

    Parameters
    ----------
    labels : bool (recordings, classes), at least one recording
    predictions : dict
        Name → (outputs, scores), as in metrics.evaluate.
    classes : Classes
        Of the columns; `classes.year` says by which metrics.
    groups : (recordings,) or None
        What is drawn as a whole.

    Returns
    -------
    dict
        Name → (what metrics.evaluate returns, what bootstrap.resampled_metrics returns).
    """
    how = dict(weights=classes.weights, sinus_rhythm=classes.sinus_rhythm, year=classes.year)
    counts = draw_counts(len(labels), resamples, seed, groups)
    samples = resampled_metrics(labels, list(predictions.values()), counts, **how)
    return {
        name: (metrics.evaluate(labels, *prediction, **how), sample)
        for (name, prediction), sample in zip(predictions.items(), samples)
    }


def difference(one: tuple[dict, dict], other: tuple[dict, dict], metric: str) -> dict[str, float]:
    """one − other of two of the pairs that `score` returns: the value, and its interval from the common resamples."""
    low, high = interval(one[1][metric] - other[1][metric])
    return dict(value=one[0][metric] - other[0][metric], low=low, high=high)


def compare(tested: TestSet, challenge: Classes, resamples: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """All figures, as rows of four tables.

    Parameters
    ----------
    challenge : Classes
        The Challenge's classes, by which all recipes are scored.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    dict of lists of dicts
        "scores_by_fold" and "scores_by_source" (first all recordings together), "scores_by_class" and
        "differences". A figure is a dict of value, low and high, the ends of its 95 % interval.
    """
    tables = {name: [] for name in ("scores_by_fold", "scores_by_source", "scores_by_class", "differences")}
    for title, classes, labels, predictions in _views(tested, challenge):
        counted = labels.any(axis=1) if classes.year == "unofficial" else np.ones(len(labels), dtype=bool)

        def score_of(mask):
            rows = np.flatnonzero(counted & mask)
            if len(rows) == 0:
                return 0, {}
            groups = None if tested.groups is None else tested.groups[rows]
            return len(rows), score(
                labels[rows],
                {name: (outputs[rows], scores[rows]) for name, (outputs, scores) in predictions.items()},
                classes,
                groups,
                resamples,
                seed,
            )

        everything = score_of(True)
        for kind, of_recording in (("fold", np.array(tested.folds)), ("source", np.array(tested.sources))):
            names = np.unique(of_recording).tolist()
            parts = {ALL: everything}
            if kind == "source" and tested.unseen is not None and tested.unseen.any() and not tested.unseen.all():
                parts[UNSEEN] = score_of(tested.unseen)
            parts |= {name: score_of(of_recording == name) for name in names}
            for name, (recordings, figures) in parts.items():
                tables[f"scores_by_{kind}"] += [
                    {
                        "recipe": recipe,
                        "metrics": title,
                        kind: name,
                        "recordings": recordings,
                        **_with_intervals(*pair, metrics.METRICS[classes.year]),
                    }
                    for recipe, pair in figures.items()
                ]
                if kind == "source":
                    tables["differences"] += _differences(figures, title, MAIN[classes.year], name, recordings)
        tables["scores_by_class"] += (
            [] if title == ANNOTATED else _by_class(everything[1], classes, labels[counted], tested)
        )
    return tables


def annotated_classes(labels: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Bool like `labels` (recordings, classes): whether any recording of the same source has the class; `sources` (recordings,)."""
    annotated = np.zeros_like(labels)
    for source in np.unique(sources):
        annotated[sources == source] = labels[sources == source].any(axis=0)
    return annotated


def _views(tested: TestSet, challenge: Classes) -> Iterator[tuple[str, Classes, np.ndarray, dict]]:
    """Title, classes, labels and predictions: of all recipes by the Challenge, by its annotated classes, of the nine-class ones."""
    codes = [[CPSC.get(code, code) for code in own] for own in tested.codes]  # headers of the unofficial phase say "AF"
    labels = challenge.labels(codes)
    predictions = {
        name: (laid_out(own.outputs, own.classes, challenge), laid_out(own.scores, own.classes, challenge))
        for name, own in tested.answers.items()
    }
    yield "2020", challenge, labels, predictions
    annotated = annotated_classes(labels, np.array(tested.sources))
    yield (
        ANNOTATED,
        challenge,
        labels,
        {name: (outputs & annotated, scores) for name, (outputs, scores) in predictions.items()},
    )
    nine = {name: own for name, own in tested.answers.items() if own.classes.year == "unofficial"}
    for own in list(nine.values())[:1]:
        labels = own.classes.labels(codes)
        if labels.any():
            yield "unofficial", own.classes, labels, {name: (own.outputs, own.scores) for name, own in nine.items()}


def _with_intervals(values: dict, samples: dict, metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    figures = {}
    for metric in metrics:
        low, high = interval(samples[metric])
        figures[metric] = dict(value=values[metric], low=low, high=high)
    return figures


def _by_class(figures: dict, classes: Classes, labels: np.ndarray, tested: TestSet) -> list[dict[str, Any]]:
    rows = []
    for recipe, (values, samples) in figures.items():
        metrics = [metric for metric in OF_CLASSES if f"{metric}_classes" in values]
        bounds = {metric: interval(samples[f"{metric}_classes"]) for metric in metrics}
        for k, (code, abbreviation) in enumerate(zip(classes.codes, classes.abbreviations)):
            rows.append(
                {
                    "recipe": recipe,
                    "metrics": classes.year,
                    "code": code,
                    "class": abbreviation,
                    "known": code in tested.answers[recipe].classes.index,
                    "recordings": int(labels[:, k].sum()),
                }
                | {
                    metric: dict(value=values[f"{metric}_classes"][k], low=low[k], high=high[k])
                    for metric, (low, high) in bounds.items()
                }
            )
    return rows


def _differences(figures: dict, title: str, main: str, source: str, recordings: int) -> list[dict[str, Any]]:
    return [
        {
            "metrics": title,
            "source": source,
            "recordings": recordings,
            "recipe": one,
            "minus": other,
            "metric": metric,
            "difference": difference(figures[one], figures[other], metric),
        }
        for one, other in combinations(figures, 2)
        for metric in (main, "auroc")
    ]
