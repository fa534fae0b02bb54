"""Metrics for label sets of the user's own, in which some labels may be unknown.

    evaluate_known(labels, outputs, scores, known)["f_measure"]
    resampled_known(labels, [(outputs, scores)], known, counts)[0]["f_measure"]

Each class is scored on the recordings of which it is known whether they have it. The metrics are those of metrics.py,
and the means over the classes leave out a class for which a metric is undefined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import metrics

OWN_METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "accuracy": "Accuracy", "f_measure": "F-measure"}


def evaluate_known(
    labels: np.ndarray, outputs: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None
) -> dict[str, Any]:
    """All metrics of a label set of the user's own: each one's mean over the classes, and its value for each class.

    Parameters
    ----------
    labels, outputs : bool (recordings, classes)
    scores : float64 (recordings, classes)
    known : bool (recordings, classes), optional
        Labels that count; all by default. Labels, outputs and scores of other cells change nothing.

    Returns
    -------
    dict
        Floats under the keys of `OWN_METRICS` and float64 (classes,) under ``…_classes``, but none for accuracy, which
        is the share of the recordings, of those with any known label, of which all known labels are right. NaN where a
        metric is undefined.

    >>> labels = np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)
    >>> known = np.array([[1, 1], [1, 1], [1, 0]], dtype=bool)
    >>> evaluate_known(labels, labels, labels * 0.8, known)["f_measure_classes"].tolist()
    [1.0, 1.0]
    """
    labels, outputs = np.asarray(labels, dtype=bool), np.asarray(outputs, dtype=bool)
    known = np.ones_like(labels) if known is None else np.asarray(known, dtype=bool)
    classes = labels.shape[1]
    areas, f_measures = np.full((2, classes), np.nan), np.full(classes, np.nan)
    for k in range(classes):
        rows = known[:, k]
        if rows.any():
            column = (slice(None), slice(k, k + 1))
            areas[:, k] = np.ravel(metrics.ranking_areas(labels[column][rows], scores[column][rows]))
            f_measures[k] = metrics.f_measure(labels[column][rows], outputs[column][rows])[0]
    result: dict[str, Any] = dict(auroc_classes=areas[0], auprc_classes=areas[1], f_measure_classes=f_measures)
    result.update({key.removesuffix("_classes"): metrics.macro(values) for key, values in result.items()})
    right = ((labels == outputs) | ~known).all(axis=1)[known.any(axis=1)]
    result["accuracy"] = float(right.mean()) if len(right) else float("nan")
    return result


def resampled_known(
    labels: np.ndarray,
    predictions: Sequence[tuple[np.ndarray, np.ndarray]],
    known: np.ndarray,
    counts: Iterable[np.ndarray],
) -> list[dict[str, np.ndarray]]:
    """`evaluate_known` on every resample, for each of several predictions of the same recordings.

    Parameters
    ----------
    labels, known : bool (recordings, classes)
    predictions : list of (outputs, scores)
    counts : iterable of int32 (block of resamples, recordings)
        From `bootstrap.draw_counts`: how often each recording is in each resample.

    Returns
    -------
    list of dict
        As from `bootstrap.resampled_metrics`.
    """
    results: list[list[dict[str, Any]]] = [[] for _ in predictions]
    for block in counts:
        for resample in block:
            rows = np.repeat(np.arange(len(labels)), resample)
            for done, (outputs, scores) in zip(results, predictions):
                done.append(evaluate_known(labels[rows], outputs[rows], scores[rows], known[rows]))
    return [{key: np.array([each[key] for each in done]) for key in done[0]} for done in results]
