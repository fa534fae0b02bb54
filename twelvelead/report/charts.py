"""Where the lines and marks of a chart lie; the templates draw them as SVG.

A chart of a class is a panel of `WIDTH` by `HEIGHT` units, with a plot from `LEFT` to `RIGHT` and from `TOP` to
`BOTTOM`; one unit is about a pixel. An axis of intervals goes from 0 to 100 %, whatever its width on the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation import curves, metrics
from .figures import Figure
from .inputs import Inputs

WIDTH, HEIGHT = 150, 146
LEFT, RIGHT, TOP, BOTTOM = 28.0, 143.0, 7.0, 122.0
SHARES = (0.0, 0.5, 1.0)  # ticks of an axis from 0 to 1
SCORES = (0.01, 0.1, 0.5, 0.9, 0.99)  # ticks of an axis of log odds
LIMIT = 0.001  # scores below it, and above 1 - LIMIT, lie at the ends of the axis of log odds


@dataclass(frozen=True)
class Axis:
    """An axis of intervals: its ends, ticks, and the value of the line that rows are compared with."""

    low: float
    high: float
    ticks: tuple[float, ...]
    reference: float

    def percent(self, value: float) -> float:
        """Where a value lies on the axis, from 0 to 100; values beyond an end lie at the end."""
        return round(min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) * 100, 2)


def axis_for(figures: Sequence[Figure], reference: float) -> Axis:
    """An axis on which all values and intervals lie, with three to seven round ticks."""
    values = [end for each in figures for end in (each.value, each.low, each.high) if math.isfinite(end)]
    values += [reference] if math.isfinite(reference) else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf) if high - low <= 5 * step)
    step = step if math.isfinite(step) else high - low
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return Axis(first * step, last * step, tuple(round(k * step, 10) for k in range(first, last + 1)), reference)


@dataclass(frozen=True)
class Point:
    """A mark in a panel."""

    x: float
    y: float


@dataclass(frozen=True)
class Bin:
    """One bin of a calibration: its mark, the ends of its interval, and how many recordings it has."""

    x: float
    y: float
    low: float
    high: float
    recordings: int


@dataclass(frozen=True)
class Panels:
    """The charts of one class. Paths are in the syntax of SVG; an empty one stands for a curve that is undefined.

    Attributes
    ----------
    roc, precision_recall : str
    other_roc, other_precision_recall : str
        Of the run to compare with; empty without one.
    roc_point, precision_recall_point : Point or None
        Where the outputs lie.
    sensitivity, specificity, precision : float
        Of the outputs.
    prevalence_y : float
        Height of the precision of outputs that are drawn by chance.
    bins : list of Bin
        Of the calibration; empty if scores are no probabilities.
    brier : float
    positive, negative : str
        Outlines of the distributions of scores, above and below the middle line.
    threshold_x : float or None
    """

    roc: str
    precision_recall: str
    other_roc: str
    other_precision_recall: str
    roc_point: Point | None
    precision_recall_point: Point | None
    sensitivity: float
    specificity: float
    precision: float
    prevalence_y: float
    bins: list[Bin]
    brier: float
    positive: str
    negative: str
    threshold_x: float | None


def panels_of(inputs: Inputs, place: int) -> Panels:
    """The charts of the class at a place, which has recordings with and without it."""
    rows = inputs.known_rows(place)
    labels = inputs.labels[rows, place]
    outputs, scores = (part[rows, place] for part in inputs.systems[0])
    other = inputs.systems[1][1][rows, place] if len(inputs.systems) > 1 else None
    threshold = float(inputs.thresholds[place])
    tp, fp, fn = (float(part[0]) for part in metrics.confusion(labels[:, None], outputs[:, None]))
    negatives = len(labels) - tp - fn
    sensitivity, fpr = tp / (tp + fn), fp / negatives
    precision = tp / (tp + fp) if tp + fp else math.nan
    bins, brier = _calibration(labels, scores)
    positive, negative = _distributions(labels, scores)
    return Panels(
        roc=_line(*curves.roc_curve(labels, scores)),
        precision_recall=_steps(*curves.precision_recall_curve(labels, scores)),
        other_roc="" if other is None else _line(*curves.roc_curve(labels, other)),
        other_precision_recall="" if other is None else _steps(*curves.precision_recall_curve(labels, other)),
        roc_point=Point(x_at(fpr), y_at(sensitivity)),
        precision_recall_point=Point(x_at(sensitivity), y_at(precision)) if math.isfinite(precision) else None,
        sensitivity=sensitivity,
        specificity=1 - fpr,
        precision=precision,
        prevalence_y=y_at((tp + fn) / len(labels)),
        bins=bins,
        brier=brier,
        positive=positive,
        negative=negative,
        threshold_x=score_x(threshold) if math.isfinite(threshold) else None,
    )


def x_at(share: float) -> float:
    """Horizontal place of a value from 0 to 1."""
    return round(LEFT + share * (RIGHT - LEFT), 1)


def y_at(share: float) -> float:
    """Vertical place of a value from 0 to 1."""
    return round(BOTTOM - share * (BOTTOM - TOP), 1)


def score_x(score: float) -> float:
    """Horizontal place of a score on the axis of log odds."""
    end = math.log((1 - LIMIT) / LIMIT)
    return x_at((float(curves.log_odds(np.array(score), LIMIT)) + end) / (2 * end))


def _line(x: np.ndarray, y: np.ndarray) -> str:
    """Straight lines between points from 0 to 1, rounded to a tenth of a unit, without points that change nothing."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return ""
    kept: list[tuple[float, float]] = []
    across, down = np.round(LEFT + x * (RIGHT - LEFT), 1), np.round(BOTTOM - y * (BOTTOM - TOP), 1)
    for point in zip(across.tolist(), down.tolist()):
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and _goes_on(kept[-2], kept[-1], point):
            kept[-1] = point
        else:
            kept.append(point)
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in kept)


def _goes_on(one: tuple[float, float], two: tuple[float, float], three: tuple[float, float]) -> bool:
    """Whether three points lie in their order on a horizontal or vertical line."""
    return any(
        one[k] == two[k] == three[k] and (two[1 - k] - one[1 - k]) * (three[1 - k] - two[1 - k]) > 0 for k in (0, 1)
    )


def _steps(recall: np.ndarray, precision: np.ndarray) -> str:
    """The precision-recall curve as AUPRC counts it: a point's precision reaches back to the recall before it."""
    before = np.append(0.0, recall[:-1])
    return _line(np.column_stack([before, recall]).ravel(), np.repeat(precision, 2))


def _calibration(labels: np.ndarray, scores: np.ndarray) -> tuple[list[Bin], float]:
    try:
        result = curves.calibration(labels, scores)
    except ValueError:
        return [], math.nan
    bins = [
        Bin(x_at(score), y_at(observed), y_at(low), y_at(high), int(number))
        for number, score, observed, low, high in zip(
            result.recordings, result.score, result.observed, result.low, result.high
        )
    ]
    return bins, result.brier


def _distributions(labels: np.ndarray, scores: np.ndarray) -> tuple[str, str]:
    """Outlines of the scores of positives above the middle line and of negatives below it.

    Each is drawn to its own scale: a frequent class's negatives in one bin would hide all else.
    """
    edges, positive, negative = curves.log_odds_histogram(labels, scores, limit=LIMIT)
    middle, half = (TOP + BOTTOM) / 2, (BOTTOM - TOP) / 2 - 2
    x = [round(LEFT + place * (RIGHT - LEFT), 1) for place in np.linspace(0, 1, len(edges)).tolist()]

    def outline(shares: np.ndarray, direction: int) -> str:
        path, top = f"M{x[0]:g} {middle:g}", max(shares.max(), 1e-12)
        for k, share in enumerate(shares.tolist()):
            path += f"V{middle - direction * half * share / top:.1f}H{x[k + 1]:g}"
        return f"{path}V{middle:g}Z"

    return outline(positive, 1), outline(negative, -1)
