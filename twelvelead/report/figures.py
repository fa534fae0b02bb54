"""The figures of a report: metrics with intervals for all recordings, sources, subgroups and classes.

Every number comes from the evaluator; this module chooses recordings, and lays its results out as rows of tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..evaluation import metrics
from ..evaluation.report import Figures, metrics_of
from ..evaluation.run import score_systems
from .inputs import ClassName, Inputs

ALL = "all recordings"
AGES = ((0, 18, "under 18"), (18, 40, "18 to 39"), (40, 60, "40 to 59"), (60, 80, "60 to 79"), (80, math.inf, "80 on"))
OF_CLASSES = ("auroc", "auprc", "f_measure")


@dataclass(frozen=True)
class Figure:
    """A value with the ends of its 95 % interval; NaN where undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Row:
    """The figures of some recordings.

    Attributes
    ----------
    name : str
    recordings : int
    metrics : dict
        Key of the metric → Figure.
    other, differences : dict
        The figures of the run to compare with, and what ours exceeds them by; empty without such a run.
    labels_annotated, labels_written : float
        Mean number of labels of a recording, of the annotators and in the outputs; unknown labels count as neither.
    sinus_rhythm : Figure
        F-measure of sinus rhythm, with which annotators' conventions differ most; NaN where there is no such class.
    """

    name: str
    recordings: int
    metrics: dict[str, Figure]
    other: dict[str, Figure]
    differences: dict[str, Figure]
    labels_annotated: float
    labels_written: float
    sinus_rhythm: Figure


@dataclass(frozen=True)
class ClassRow:
    """The figures of a class; `other` and `differences` as in `Row`.

    Attributes
    ----------
    place : int
        Position in the task's classes.
    recordings : int
        Those of which it is known whether they have the class; the following are some of these.
    positives, written : int
        Recordings with the label, and with the output.
    true_positives : int
        Recordings with both.
    threshold : float
        NaN if unknown.
    """

    place: int
    name: ClassName
    recordings: int
    positives: int
    written: int
    true_positives: int
    threshold: float
    metrics: dict[str, Figure]
    other: dict[str, Figure]
    differences: dict[str, Figure]


def metric_names(inputs: Inputs) -> dict[str, str]:
    """Key → name of the metrics, in the organizers' order."""
    return metrics_of(inputs.task)


def score_rows(inputs: Inputs, name: str, chosen: np.ndarray, resamples: int, seed: int) -> tuple[Row, Figures]:
    """The figures of the chosen recordings, int (at least one,), and what they were made from."""
    task, (outputs, _) = inputs.task, inputs.systems[0]
    results = score_systems(
        task, inputs.labels, inputs.systems, known=inputs.known, resamples=resamples, seed=seed, chosen=chosen
    )
    sinus = Figure(math.nan)
    if task.sinus_rhythm is not None:
        sinus = _class_figure(results, "f_measure", task.sinus_rhythm)
    keys = list(metric_names(inputs))
    row = Row(
        name=name,
        recordings=results.recordings,
        metrics={key: _figure(results, key) for key in keys},
        other={key: Figure(results.other[key]) for key in keys} if results.other else {},
        differences={key: _difference(results, key) for key in keys} if results.other else {},
        labels_annotated=metrics.labels_a_recording(inputs.labels[chosen]),
        labels_written=metrics.labels_a_recording(outputs[chosen]),
        sinus_rhythm=sinus,
    )
    return row, results


def source_masks(inputs: Inputs) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask, bool (recordings,), of each source."""
    for source in np.unique(inputs.sources).tolist():
        yield source, inputs.sources == source


def sex_masks(inputs: Inputs) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask of each sex that occurs."""
    for sex in ("female", "male", "unknown"):
        yield "sex unknown" if sex == "unknown" else sex, inputs.sexes == sex


def age_masks(inputs: Inputs) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask of each group of ages."""
    for low, high, name in AGES:
        yield name, (inputs.ages >= low) & (inputs.ages < high)
    yield "age unknown", np.isnan(inputs.ages)


def class_rows(inputs: Inputs, results: Figures) -> list[ClassRow]:
    """A row for each class, from the results of all recordings."""
    outputs, _ = inputs.systems[0]
    positives, written = inputs.labels.sum(axis=0), outputs.sum(axis=0)
    both = (inputs.labels & outputs).sum(axis=0)
    return [
        ClassRow(
            place=place,
            name=name,
            recordings=int(inputs.known_rows(place).sum()),
            positives=int(positives[place]),
            written=int(written[place]),
            true_positives=int(both[place]),
            threshold=float(inputs.thresholds[place]),
            metrics={key: _class_figure(results, key, place) for key in OF_CLASSES},
            other=_others(results, place),
            differences=_class_differences(results, place),
        )
        for place, name in enumerate(inputs.class_names)
    ]


def _figure(results: Figures, key: str) -> Figure:
    return Figure(results.scores[key], *_interval(results, results.intervals, key))


def _difference(results: Figures, key: str) -> Figure:
    assert results.difference is not None
    return Figure(results.difference[key], *_interval(results, results.difference_intervals, key))


def _interval(results: Figures, intervals: dict | None, key: str) -> tuple[float, float]:
    """Ends of an interval. Resamples of a single recording are all alike, so that they tell nothing: NaN."""
    return intervals[key] if intervals and results.recordings > 1 else (math.nan, math.nan)


def _class_figure(results: Figures, key: str, place: int) -> Figure:
    low, high = _class_interval(results, results.intervals, key, place)
    return Figure(float(results.scores[f"{key}_classes"][place]), low, high)


def _class_interval(results: Figures, intervals: dict | None, key: str, place: int) -> tuple[float, float]:
    if not intervals or results.recordings < 2:
        return math.nan, math.nan
    low, high = intervals[f"{key}_classes"]
    return float(low[place]), float(high[place])


def _others(results: Figures, place: int) -> dict[str, Figure]:
    if results.other is None:
        return {}
    return {key: Figure(float(results.other[f"{key}_classes"][place])) for key in OF_CLASSES}


def _class_differences(results: Figures, place: int) -> dict[str, Figure]:
    if results.difference is None:
        return {}
    return {
        key: Figure(
            float(results.difference[f"{key}_classes"][place]),
            *_class_interval(results, results.difference_intervals, key, place),
        )
        for key in OF_CLASSES
    }
