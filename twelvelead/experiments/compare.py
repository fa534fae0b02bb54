"""Compares recipes on the same test recordings: metrics by fold, source and class, and paired differences.

    results = compare(tested, challenge_classes, resamples=1000, seed=0)

All recipes are scored on the same resamples of the same recordings, so that differences are paired. Everything is
scored by the Challenge's classes and metrics of 2020. It is scored once more ("annotated classes") without the outputs
for classes that no recording of the same source has: nobody annotated them there, so the output may be right. A recipe
for the nine classes of the unofficial phase has output 0 and score 0 for all other classes. Such recipes are also
scored by that phase's metrics, on the recordings that have one of the nine classes (the metrics divide by a recording's
number of labels).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from ..data.classes import CPSC, Classes
from ..evaluation import metrics
from ..evaluation.bootstrap import draw_counts, interval, resampled_metrics

MAIN = {"2020": "challenge_metric", "unofficial": "geometric_mean"}
OF_CLASSES = ("auroc", "auprc", "accuracy", "f_measure", "f_beta_measure", "g_beta_measure")
ALL = "all recordings"  # stands among folds and sources for all test recordings together
UNSEEN = "unseen sources"  # stands among sources for the recordings whose source the model was not trained on
ANNOTATED = "2020, annotated classes"


@dataclass(frozen=True)
class Predictions:
    """A recipe's predictions for the test recordings: `outputs` bool and `scores` float64, (recordings, classes)."""

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
        Resampling draws all recordings of a group together: those of a patient. None: every recording by itself.
    answers : dict
        Recipe → Predictions.
    unseen : bool (recordings,) or None
        Whether the model that was tested on the recording was trained on no recording of its source. None: not known.
    """

    codes: tuple[tuple[str, ...], ...]
    folds: tuple[str, ...]
    sources: tuple[str, ...]
    groups: np.ndarray | None
    answers: dict[str, Predictions]
    unseen: np.ndarray | None = None


def laid_out(values: np.ndarray, source: Classes, target: Classes) -> np.ndarray:
    """Values of the classes `source` as values of the classes `target`, both (recordings, classes).

    0 or False for a class that `source` does not have.
    """
    return source.laid_out(values, target.codes, 0)


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
        See `TestSet`.

    Returns
    -------
    dict
        Name → (what metrics.evaluate returns, what bootstrap.resampled_metrics returns).
    """
    how = classes.weights, classes.sinus_rhythm, classes.year
    counts = draw_counts(len(labels), resamples, seed, groups)
    samples = resampled_metrics(labels, list(predictions.values()), counts, *how)
    return {
        name: (metrics.evaluate(labels, outputs, scores, *how), sample)
        for (name, (outputs, scores)), sample in zip(predictions.items(), samples)
    }


def difference(one: tuple[dict, dict], other: tuple[dict, dict], metric: str) -> dict[str, float]:
    """The difference one − other of two results of `score`: its value, and its interval from the common resamples."""
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
        "scores_by_fold" and "scores_by_source" (first all recordings together; with labels for each recording and the
        F-measure of sinus rhythm), "scores_by_class" and "differences". A figure is a dict of value, low and high, the
        ends of its 95 % interval.
    """
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("scores_by_fold", "scores_by_source", "scores_by_class", "differences")
    }
    for view in _views(tested, challenge):
        scores_of = partial(_scores_of, view, tested.groups, resamples, seed)
        everything = np.ones(len(view.labels), dtype=bool)
        recordings, scores = scores_of(everything)
        for kind in ("fold", "source"):
            masks = {ALL: everything, **dict(_parts(tested, kind))}
            for name, mask in masks.items():
                count, figures = (recordings, scores) if name == ALL else scores_of(mask)
                tables[f"scores_by_{kind}"] += [
                    {
                        "recipe": recipe,
                        "metrics": view.title,
                        kind: name,
                        "recordings": count,
                        **_with_intervals(*pair, metrics.METRICS[view.classes.year]),
                        **(_convention(view, recipe, mask, pair) if view.title == "2020" else {}),
                    }
                    for recipe, pair in figures.items()
                ]
                if kind == "source":
                    main = MAIN[view.classes.year]
                    tables["differences"] += _differences(figures, view.title, main, name, count)
        if view.title != ANNOTATED:
            tables["scores_by_class"] += _by_class(scores, view, tested)
    return tables


@dataclass(frozen=True)
class _View:
    """The same recordings and predictions as one set of classes and metrics sees them.

    Attributes
    ----------
    labels : bool (recordings, classes)
    predictions : dict
        Recipe → (outputs, scores), both (recordings, classes).
    """

    title: str
    classes: Classes
    labels: np.ndarray
    predictions: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def counted(self) -> np.ndarray:
        """Which recordings count, bool (recordings,): the unofficial phase's metrics divide by the number of labels."""
        if self.classes.year == "unofficial":
            return np.asarray(self.labels.any(axis=1))
        return np.ones(len(self.labels), dtype=bool)


def _scores_of(
    view: _View, groups: np.ndarray | None, resamples: int, seed: int, mask: np.ndarray
) -> tuple[int, dict[str, tuple[dict, dict]]]:
    """How many recordings of a mask, bool (recordings,), count, and the result of `score` for them."""
    rows = np.flatnonzero(view.counted & mask)
    if len(rows) == 0:
        return 0, {}
    predictions = {name: (outputs[rows], scores[rows]) for name, (outputs, scores) in view.predictions.items()}
    of_rows = None if groups is None else groups[rows]
    return len(rows), score(view.labels[rows], predictions, view.classes, of_rows, resamples, seed)


def _parts(tested: TestSet, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks of the folds or sources; before the sources all unseen ones together, if some were seen."""
    names = np.array(tested.folds if kind == "fold" else tested.sources)
    unseen = tested.unseen
    if kind == "source" and unseen is not None and unseen.any() and not unseen.all():
        yield UNSEEN, unseen
    for name in np.unique(names).tolist():
        yield name, names == name


def annotated_classes(labels: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Whether any recording of the same source has the class.

    Parameters
    ----------
    labels : bool (recordings, classes)
    sources : str (recordings,)

    Returns
    -------
    bool (recordings, classes)
    """
    annotated = np.zeros_like(labels)
    for source in np.unique(sources):
        annotated[sources == source] = labels[sources == source].any(axis=0)
    return annotated


def _views(tested: TestSet, challenge: Classes) -> Iterator[_View]:
    """By the Challenge, by its annotated classes, and by the unofficial phase if a recipe has its nine classes."""
    # headers of the unofficial phase have texts such as "AF" in place of codes
    codes = [[CPSC.get(code, code) for code in of_recording] for of_recording in tested.codes]
    labels = challenge.labels(codes)
    predictions = {
        recipe: (
            laid_out(prediction.outputs, prediction.classes, challenge),
            laid_out(prediction.scores, prediction.classes, challenge),
        )
        for recipe, prediction in tested.answers.items()
    }
    yield _View("2020", challenge, labels, predictions)
    annotated = annotated_classes(labels, np.array(tested.sources))
    masked = {recipe: (outputs & annotated, scores) for recipe, (outputs, scores) in predictions.items()}
    yield _View(ANNOTATED, challenge, labels, masked)
    nine = {
        recipe: prediction for recipe, prediction in tested.answers.items() if prediction.classes.year == "unofficial"
    }
    if nine:
        classes = next(iter(nine.values())).classes
        labels = classes.labels(codes)
        if labels.any():
            pairs = {recipe: (prediction.outputs, prediction.scores) for recipe, prediction in nine.items()}
            yield _View("unofficial", classes, labels, pairs)


def _with_intervals(values: dict, samples: dict, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Metric → value, low and high, for the metrics of these names."""
    figures = {}
    for name in names:
        low, high = interval(samples[name])
        figures[name] = dict(value=values[name], low=low, high=high)
    return figures


def _convention(view: _View, recipe: str, mask: np.ndarray, pair: tuple[dict, dict]) -> dict[str, Any]:
    """How a recipe writes compared with the annotators: labels for each recording, and the F-measure of sinus rhythm.

    At other hospitals these two decide the Challenge metric more than the ranking of the recordings does.

    Parameters
    ----------
    mask : bool (recordings,)
        The recordings that are meant.
    pair : tuple
        Their result of `score` for this recipe.
    """
    outputs, _ = view.predictions[recipe]
    sinus = view.classes.sinus_rhythm
    low, high = interval(pair[1]["f_measure_classes"][:, sinus])
    return {
        "labels_annotated": metrics.labels_a_recording(view.labels[mask]),
        "labels_written": metrics.labels_a_recording(outputs[mask]),
        "sinus_rhythm_f": dict(value=float(pair[0]["f_measure_classes"][sinus]), low=low, high=high),
    }


def _by_class(figures: dict[str, tuple[dict, dict]], view: _View, tested: TestSet) -> list[dict[str, Any]]:
    """Rows of "scores_by_class"."""
    classes, positives = view.classes, view.labels[view.counted].sum(axis=0)
    rows = []
    for recipe, (values, samples) in figures.items():
        names = [name for name in OF_CLASSES if f"{name}_classes" in values]
        bounds = {name: interval(samples[f"{name}_classes"]) for name in names}
        for k, (code, abbreviation) in enumerate(zip(classes.codes, classes.abbreviations)):
            row = {
                "recipe": recipe,
                "metrics": classes.year,
                "code": code,
                "class": abbreviation,
                "known": code in tested.answers[recipe].classes.index,
                "recordings": int(positives[k]),
            }
            for name, (low, high) in bounds.items():
                row[name] = dict(value=values[f"{name}_classes"][k], low=low[k], high=high[k])
            rows.append(row)
    return rows


def _differences(figures: dict, title: str, main: str, source: str, recordings: int) -> list[dict[str, Any]]:
    """Rows of "differences" for one source: every pair of recipes by the main metric and the AUROC."""
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
