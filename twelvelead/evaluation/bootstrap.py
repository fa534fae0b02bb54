"""Confidence intervals of every metric in evaluation/metrics.py by the bootstrap, a thousand resamples in seconds.

    counts = draw_counts(recordings=len(labels), resamples=1000, seed=0)
    values = resampled_metrics(labels, [(outputs, scores)], counts, weights, sinus_rhythm)[0]
    low, high = interval(values["challenge_metric"])

A resample is represented by how often each recording is in it. Most metrics are ratios of sums over the recordings, and
the sums for a block of resamples are one matrix product. The areas under curves need the counts in the order of a
class's scores, which is computed once, and one running sum of them. The values are those of `metrics.evaluate` on the
resample, except that sums are added up in another order.

References
----------
.. [1] B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall, 1993, chapter 13 (percentile
   intervals) and 8.3 (resampling whole groups when the members of one, such as a patient's recordings, are alike).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import metrics

BLOCK = 50  # resamples that are computed at a time; more would need more memory and save no time


def draw_counts(recordings: int, resamples: int, seed: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Draws resamples with replacement.

    Parameters
    ----------
    recordings, resamples : int
        How many recordings there are, and how many resamples to draw.
    seed : int
    groups : ndarray (recordings,), optional
        Each recording's group. Whole groups are then drawn, as many as there are groups.

    Yields
    ------
    int32 (at most `BLOCK` resamples, recordings)
        How often each recording is in each resample.
    """
    unit_of: np.ndarray | slice = slice(None)  # position of each recording's unit, which is itself or its group
    units = recordings
    if groups is not None:
        names, unit_of = np.unique(groups, return_inverse=True)
        units = len(names)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        drawn = rng.integers(0, units, size=(min(BLOCK, resamples - start), units))
        counts = np.stack([np.bincount(row, minlength=units) for row in drawn])
        yield np.ascontiguousarray(counts[:, unit_of], dtype=np.int32)


def interval(values: ArrayLike, level: float = 0.95) -> tuple[Any, Any]:
    """Percentile interval of a metric over its resamples.

    Parameters
    ----------
    values : float (resamples,) or (resamples, classes)
        NaN in the resamples in which the metric is undefined; they are left out.
    level : float
        Share of the resamples that the interval covers.

    Returns
    -------
    low, high : two floats, or two float64 (classes,)
        NaN if the metric is undefined in every resample.

    >>> interval(np.array([np.nan, *range(101)]), level=0.5)
    (25.0, 75.0)
    """
    values = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(values).all(axis=0)
    low, high = np.nanpercentile(np.where(undefined, 0.0, values), [50 * (1 - level), 50 * (1 + level)], axis=0)
    low, high = np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)
    return (float(low), float(high)) if low.ndim == 0 else (low, high)


def resampled_metrics(
    labels: np.ndarray,
    predictions: Sequence[tuple[np.ndarray, np.ndarray]],
    counts: Iterable[np.ndarray],
    weights: np.ndarray | None = None,
    sinus_rhythm: int | None = None,
    year: str = "2020",
) -> list[dict[str, np.ndarray]]:
    """`metrics.evaluate` on every resample, for each of several predictions of the same recordings.

    Parameters
    ----------
    labels : bool (recordings, classes)
    predictions : list of (outputs, scores)
        Each as in `metrics.evaluate`, like the parameters that follow `counts`.
    counts : iterable of int32 (block of resamples, recordings)
        From `draw_counts`. All predictions are scored on the same resamples, so that differences are paired.

    Returns
    -------
    list of dict
        One for each prediction: float64 (resamples,) under the keys of `METRICS[year]`, and float64
        (resamples, classes) under ``…_classes``.
    """
    labels = np.asarray(labels, dtype=bool)
    systems = [
        (
            _statistics(labels, np.asarray(outputs, dtype=bool), weights, sinus_rhythm, year),
            [_curve(labels[:, k], scores[:, k], year) for k in range(labels.shape[1])],
        )
        for outputs, scores in predictions
    ]
    blocks: list[list[dict[str, np.ndarray]]] = [[] for _ in predictions]
    for block in counts:
        for done, (statistics, curves) in zip(blocks, systems):
            done.append(_metrics(block, statistics, curves, year))
    return [{key: np.concatenate([block[key] for block in done]) for key in done[0]} for done in blocks]


def _metrics(
    counts: np.ndarray, statistics: dict[str, np.ndarray], curves: list[_Curve], year: str
) -> dict[str, np.ndarray]:
    """All metrics of one block of resamples."""
    undefined = 1.0 if year == "unofficial" else np.nan
    factors = counts.astype(np.float64)
    sums = {key: factors @ values for key, values in statistics.items()}  # (resamples,) or (resamples, classes)
    weighted_tp, weighted_fp, weighted_fn = (sums[f"weighted {key}"] for key in ("tp", "fp", "fn"))
    result: dict[str, np.ndarray] = {}
    result["auroc_classes"], result["auprc_classes"] = _areas(counts, curves, sums["tp"] + sums["fn"], undefined)
    if year == "unofficial":
        result["f_measure_classes"] = metrics.f_beta(weighted_tp, weighted_fp, weighted_fn, 1, undefined)
    else:
        result["f_measure_classes"] = metrics.f_beta(sums["tp"], sums["fp"], sums["fn"], 1, undefined)
    if year != "2021":
        result["f_beta_measure_classes"] = metrics.f_beta(weighted_tp, weighted_fp, weighted_fn, 2, undefined)
        result["g_beta_measure_classes"] = metrics.g_beta(weighted_tp, weighted_fp, weighted_fn, 2, undefined)
    if year == "unofficial":
        tn = sums["weighted tn"]
        result["accuracy_classes"] = (weighted_tp + tn) / (weighted_tp + weighted_fp + weighted_fn + tn)
    result.update({key.removesuffix("_classes"): _macro(values) for key, values in result.items()})
    if year == "unofficial":
        result["geometric_mean"] = np.sqrt(result["f_beta_measure"] * result["g_beta_measure"])
    else:
        result["accuracy"] = sums["right"] / counts.sum(axis=1)
        gain, possible = sums["observed"] - sums["inactive"], sums["correct"] - sums["inactive"]
        with np.errstate(divide="ignore", invalid="ignore"):
            result["challenge_metric"] = np.where(possible != 0, gain / possible, 0.0)
    return result


def _macro(values: np.ndarray) -> np.ndarray:
    """Mean over the classes of each resample, without the classes that are undefined in it."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=1) / defined.sum(axis=1)


def _statistics(
    labels: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray | None,
    sinus_rhythm: int | None,
    year: str,
) -> dict[str, np.ndarray]:
    """What each recording adds to the sums behind the metrics: float64 (recordings,) or (recordings, classes)."""
    cells = {"tp": labels & outputs, "fp": ~labels & outputs, "fn": labels & ~outputs}
    if year == "unofficial":
        cells["tn"] = ~labels & ~outputs
    number = labels.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        weight = 1.0 / (number if year == "unofficial" else np.maximum(number, 1))
    statistics = {key: cell.astype(np.float64) for key, cell in cells.items()}
    statistics |= {f"weighted {key}": np.where(cell, weight, 0.0) for key, cell in cells.items()}
    if weights is not None and year != "unofficial":
        inactive = np.zeros_like(labels)
        inactive[:, sinus_rhythm] = True
        statistics["right"] = (labels == outputs).all(axis=1).astype(np.float64)
        statistics["observed"] = metrics.rewards(labels, outputs, weights)
        statistics["correct"] = metrics.rewards(labels, labels, weights)
        statistics["inactive"] = metrics.rewards(labels, inactive, weights)
    return statistics


@dataclass(frozen=True)
class _Curve:
    """One class's recordings along its curve, which has a point for each distinct score of a positive recording.

    Attributes
    ----------
    order : ndarray of int
        The recordings by falling score, down to the last positive one.
    first, last : ndarray of int, (points,)
        `order[first[j]:last[j]]` are the recordings with the score of point j.
    positives : ndarray of int
        The positive recordings by falling score.
    begin : ndarray of int, (points,)
        Position in `positives` of the first one with the score of point j.
    area : slice
        The points that add to the areas.
    """

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray
    positives: np.ndarray
    begin: np.ndarray
    area: slice


def _curve(labels: np.ndarray, scores: np.ndarray, year: str) -> _Curve:
    """The curve of one class from its labels, bool (recordings,), and scores, float64 (recordings,)."""
    order = np.argsort(-scores)
    positives = order[labels[order]]
    falling = scores[positives]
    begin = np.flatnonzero(np.append(True, falling[1:] != falling[:-1])[: len(falling)])
    points = falling[begin]
    first, last = (np.searchsorted(-scores[order], -points, side) for side in ("left", "right"))
    area = slice(None)
    if year == "unofficial":  # see metrics.unofficial_areas
        lowest = np.count_nonzero(points == 0) if scores.min() == 0 else 0
        area = slice(np.count_nonzero(points >= 1), len(points) - lowest)
    return _Curve(order[: last[-1] if len(last) else 0], first, last, positives, begin, area)


def _areas(counts: np.ndarray, curves: list[_Curve], positives: np.ndarray, undefined: float) -> np.ndarray:
    """AUROC and AUPRC of each class, float64 (2, resamples, classes).

    `positives` (resamples, classes) is the number of positive recordings, `undefined` the value of 0 / 0.
    """
    areas = np.empty((2, *positives.shape))
    negatives = counts.sum(axis=1, keepdims=True) - positives
    for k, curve in enumerate(curves):
        running = np.zeros(len(curve.order) + 1, dtype=np.int32)  # adding integers is seven times as fast as float64
        for b, count in enumerate(counts):
            np.cumsum(count[curve.order], out=running[1:])
            gained = np.add.reduceat(count[curve.positives], curve.begin) if len(curve.begin) else np.zeros(0, np.int32)
            tp = np.cumsum(gained)
            above, up_to = running[curve.first], running[curve.last]  # recordings with higher, and at least this, score
            # Recordings with equal scores make a straight line in the curve; this is the number halfway along it.
            fp = 0.5 * (above + up_to + gained) - tp
            tnr = 1 - fp / negatives[b, k] if negatives[b, k] else np.full(len(fp), undefined)
            ppv = tp / np.maximum(up_to, 1)
            areas[:, b, k] = gained[curve.area] @ tnr[curve.area], gained[curve.area] @ ppv[curve.area]
    with np.errstate(invalid="ignore"):  # no positives in a resample
        return areas / (positives if np.isnan(undefined) else np.maximum(positives, 1.0))
