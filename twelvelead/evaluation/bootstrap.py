"""Confidence intervals of every metric in `twelvelead.evaluation.metrics` by the bootstrap, a thousand resamples in seconds.

    counts = draw_counts(recordings=len(labels), resamples=1000, seed=0)
    values = resampled_metrics(labels, [(outputs, scores)], counts, weights, sinus_rhythm)[0]
    low, high = interval(values["challenge_metric"])

A resample is not drawn up but counted: how often each recording is in it. Most metrics are then ratios of sums over the
recordings, and the sums of a block of resamples are one matrix product. The areas under curves need the counts in the
order of a class's scores, which is found once, and one running sum of them. The values are those of `metrics.evaluate`
on the resample, except for the order of additions.

References
----------
.. [1] B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall, 1993, chapter 13 (percentile
   intervals) and 8.3 (resampling whole groups when the members of one, such as a patient's recordings, are alike).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import metrics

BLOCK = 50  # resamples at a time


def draw_counts(recordings: int, resamples: int, seed: int, groups=None) -> Iterator[np.ndarray]:
    """How often each recording is in each resample: blocks of int32 (at most `BLOCK` resamples, recordings).

    `groups`, (recordings,), names each recording's group; whole groups are then drawn, as many as there are.
    """
    if groups is None:
        units, member = recordings, slice(None)
    else:
        names, member = np.unique(groups, return_inverse=True)
        units = len(names)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        drawn = rng.integers(0, units, size=(min(BLOCK, resamples - start), units))
        counts = np.stack([np.bincount(row, minlength=units) for row in drawn])
        yield np.ascontiguousarray(counts[:, member], dtype=np.int32)


def interval(values, level=0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the resamples (axis 0); those in which the metric is undefined are left out.

    >>> interval(np.array([np.nan, *range(101)]), level=0.5)
    (25.0, 75.0)
    """
    values = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(values).all(axis=0)
    low, high = np.nanpercentile(np.where(undefined, 0.0, values), [50 * (1 - level), 50 * (1 + level)], axis=0)
    low, high = np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)
    return (float(low), float(high)) if low.ndim == 0 else (low, high)


def resampled_metrics(labels, predictions, counts, weights=None, sinus_rhythm=None, year="2020") -> list[dict]:
    """`metrics.evaluate` on every resample, for each of several predictions of the same recordings.

    Parameters
    ----------
    labels : bool (recordings, classes)
    predictions : list of (outputs, scores)
        As in `metrics.evaluate`, which see for the further parameters too.
    counts : iterable of int32 (block of resamples, recordings)
        From `draw_counts`. The same resamples serve all predictions, so that differences are paired.

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
    blocks = [[] for _ in predictions]
    for block in counts:
        for done, (statistics, curves) in zip(blocks, systems):
            done.append(_metrics(block, statistics, curves, year))
    return [{key: np.concatenate([block[key] for block in done]) for key in done[0]} for done in blocks]


def _metrics(counts, statistics, curves, year) -> dict:
    """All metrics of one block of resamples."""
    undefined = 1.0 if year == "unofficial" else np.nan
    factors = counts.astype(np.float64)
    sums = {key: factors @ values for key, values in statistics.items()}  # (resamples,) or (resamples, classes)
    plain = [sums[key] for key in ("tp", "fp", "fn")]
    weighted = [sums[f"weighted {key}"] for key in ("tp", "fp", "fn")]
    result = {}
    result["auroc_classes"], result["auprc_classes"] = _areas(counts, curves, sums["tp"] + sums["fn"], undefined)
    result["f_measure_classes"] = metrics.f_beta(*(weighted if year == "unofficial" else plain), 1, undefined)
    if year != "2021":
        result["f_beta_measure_classes"] = metrics.f_beta(*weighted, 2, undefined)
        result["g_beta_measure_classes"] = metrics.g_beta(*weighted, 2, undefined)
    if year == "unofficial":
        tp, fp, fn = weighted
        result["accuracy_classes"] = (tp + sums["weighted tn"]) / (tp + fp + fn + sums["weighted tn"])
    result.update({key.removesuffix("_classes"): _macro(values) for key, values in result.items()})
    if year == "unofficial":
        result["geometric_mean"] = np.sqrt(result["f_beta_measure"] * result["g_beta_measure"])
    else:
        result["accuracy"] = sums["right"] / counts.sum(axis=1)
        gain, possible = sums["observed"] - sums["inactive"], sums["correct"] - sums["inactive"]
        with np.errstate(divide="ignore", invalid="ignore"):
            result["challenge_metric"] = np.where(possible != 0, gain / possible, 0.0)
    return result


def _macro(values) -> np.ndarray:
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=1) / defined.sum(axis=1)


def _statistics(labels, outputs, weights, sinus_rhythm, year) -> dict:
    """What each recording adds to the sums behind the metrics: float64 (recordings,) or (recordings, classes)."""
    cells = {"tp": labels & outputs, "fp": ~labels & outputs, "fn": labels & ~outputs}
    if year == "unofficial":
        cells["tn"] = ~labels & ~outputs
    number = labels.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        weight = 1.0 / (number if year == "unofficial" else np.maximum(number, 1))
    statistics = {key: cell.astype(np.float64) for key, cell in cells.items()}
    statistics |= {f"weighted {key}": np.where(cell, weight, 0.0) for key, cell in cells.items()}
    if year != "unofficial":
        inactive = np.zeros_like(labels)
        inactive[:, sinus_rhythm] = True
        statistics["right"] = (labels == outputs).all(axis=1).astype(np.float64)
        statistics["observed"] = _rewards(labels, outputs, weights)
        statistics["correct"] = _rewards(labels, labels, weights)
        statistics["inactive"] = _rewards(labels, inactive, weights)
    return statistics


def _rewards(labels, outputs, weights) -> np.ndarray:
    """What each recording adds to the unnormalised Challenge metric, float64 (recordings,)."""
    credit = 1.0 / np.maximum(np.count_nonzero(labels | outputs, axis=1), 1)
    return ((labels.astype(np.float64) @ weights) * outputs).sum(axis=1) * credit


@dataclass(frozen=True)
class _Curve:
    """One class's recordings along its curve, which has a point at each distinct score of a positive.

    All are indices, int: `order` of the recordings down to the last positive, of which `first[j]` up to but without
    `last[j]` have the score of point j; `positives`, recordings in order, of which point j's begin at `begin[j]`.
    `area` is the slice of points that add to the areas.
    """

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray
    positives: np.ndarray
    begin: np.ndarray
    area: slice


def _curve(labels, scores, year) -> _Curve:
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


def _areas(counts, curves, positives, undefined) -> np.ndarray:
    """AUROC and AUPRC of each class, float64 (2, resamples, classes); `positives` has the classes' in each resample."""
    areas = np.empty((2, *positives.shape))
    negatives = counts.sum(axis=1, keepdims=True) - positives
    for k, curve in enumerate(curves):
        running = np.zeros(len(curve.order) + 1, dtype=np.int32)  # whole numbers add up seven times as fast as float64
        for b, count in enumerate(counts):
            np.cumsum(count[curve.order], out=running[1:])
            gained = np.add.reduceat(count[curve.positives], curve.begin) if len(curve.begin) else np.zeros(0, np.int32)
            tp = np.cumsum(gained)
            above, up_to = running[curve.first], running[curve.last]  # recordings, positive or not, along the curve
            fp = 0.5 * (above + up_to + gained) - tp  # halfway along the line that a point's ties make
            tnr = 1 - fp / negatives[b, k] if negatives[b, k] else np.full(len(fp), undefined)
            ppv = tp / np.maximum(up_to, 1)
            areas[:, b, k] = gained[curve.area] @ tnr[curve.area], gained[curve.area] @ ppv[curve.area]
    with np.errstate(invalid="ignore"):  # no positives in a resample
        return areas / (positives if np.isnan(undefined) else np.maximum(positives, 1.0))
