"""Every metric of the PhysioNet/CinC Challenges 2020 and 2021 as a pure function of arrays.

    evaluate(labels, outputs, scores, weights, sinus_rhythm, year="2020")["challenge_metric"]

The figures equal the organizers' to the last bit, because every sum is added up in the same order as in their scripts:
recording by recording, threshold by threshold. `np.bincount` and `np.cumsum` add in sequence. `np.sum` does not, and is
used only where the organizers' scripts use it too.

Throughout, `labels` and `outputs` are bool (recordings, classes), True where the recording has or is given the class,
and `scores` is float64 (recordings, classes), higher where the class is likelier. Scores may be any number, even an
infinite one, but not NaN. The examples below use four recordings and three classes; class 2 is sinus rhythm:

>>> labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=bool)
>>> outputs = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
>>> scores = np.array([[.9, .1, .2], [.4, .8, .1], [.5, .6, .4], [.1, .2, .9]])
>>> weights = np.array([[1, .5, .3], [.5, 1, .2], [.3, .2, 1]])

References
----------
.. [1] E. A. Perez Alday et al., "Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020",
   Physiological Measurement 41, 124003, 2020.
.. [2] M. A. Reyna et al., "Will two do? Varying dimensions in electrocardiography: the PhysioNet/Computing in
   Cardiology Challenge 2021", Computing in Cardiology 48, 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# The metrics of each year in the organizers' order, with the names in the heads of their tables.
METRICS = {
    "2020": {
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "accuracy": "Accuracy",
        "f_measure": "F-measure",
        "f_beta_measure": "Fbeta-measure",
        "g_beta_measure": "Gbeta-measure",
        "challenge_metric": "Challenge metric",
    },
    "2021": {
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "accuracy": "Accuracy",
        "f_measure": "F-measure",
        "challenge_metric": "Challenge metric",
    },
    "unofficial": {
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "accuracy": "Accuracy",
        "f_measure": "F-measure",
        "f_beta_measure": "Fbeta-measure",
        "g_beta_measure": "Gbeta-measure",
        "geometric_mean": "Geometric mean",
    },
}


def evaluate(
    labels: np.ndarray,
    outputs: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray | None = None,
    sinus_rhythm: int | None = None,
    year: str = "2020",
) -> dict[str, Any]:
    """All metrics of a year, each metric's mean over the classes and its value for each class.

    Parameters
    ----------
    labels, outputs : bool (recordings, classes), at least one recording
    scores : float64 (recordings, classes)
    weights : float64 (classes, classes)
    sinus_rhythm : int
        Rewards and reference class of the Challenge metric; the unofficial phase has neither.
    year : {"2020", "2021", "unofficial"}

    Returns
    -------
    dict
        Floats under the keys of `METRICS[year]` and float64 (classes,) under ``…_classes``. NaN where undefined.

    >>> result = evaluate(labels, outputs, scores, weights, sinus_rhythm=2)
    >>> round(result["challenge_metric"], 3), result["accuracy"], result["f_measure_classes"].round(3).tolist()
    (0.244, 0.5, [0.667, 0.667, 0.667])
    """
    if year == "unofficial":
        return _evaluate_unofficial(labels, outputs, scores)
    if weights is None or sinus_rhythm is None:
        raise ValueError("the Challenge metric needs weights and the class of sinus rhythm")
    result: dict[str, Any] = {}
    result["auroc_classes"], result["auprc_classes"] = ranking_areas(labels, scores)
    result["f_measure_classes"] = f_measure(labels, outputs)
    if year == "2020":
        result["f_beta_measure_classes"], result["g_beta_measure_classes"] = beta_measures(labels, outputs)
    result.update({key.removesuffix("_classes"): macro(values) for key, values in result.items()})
    result["accuracy"] = accuracy(labels, outputs)
    result["challenge_metric"] = challenge_metric(labels, outputs, weights, sinus_rhythm)
    return result


def macro(values: ArrayLike) -> float:
    """Mean over the classes of a metric, undefined classes (NaN) left out; NaN where all are.

    >>> macro([0.5, np.nan, 1.0])
    0.75
    """
    values = np.asarray(values, dtype=np.float64)
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def accuracy(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Share of the recordings whose outputs equal their labels in every class.

    >>> accuracy(labels, outputs)
    0.5
    """
    return float(np.count_nonzero(np.all(np.equal(labels, outputs), axis=1))) / float(len(labels))


# -- areas under curves ----------------------------------------------------------------------------


def auroc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the receiver operating characteristic of each class, float64 (classes,).

    AUROC = Σ_j ½ (TPR_j+1 − TPR_j)(TNR_j+1 + TNR_j). Threshold 0 is above all scores; the following thresholds are the
    distinct scores from the highest to the lowest. NaN for a class without positives or without negatives.

    >>> auroc(labels, scores).tolist()
    [0.75, 1.0, 1.0]
    """
    return ranking_areas(labels, scores)[0]


def auprc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve of each class, float64 (classes,).

    AUPRC = Σ_j (TPR_j+1 − TPR_j) PPV_j+1, with the same thresholds as `auroc`; precision counts as constant between two
    thresholds. NaN for a class without positives. Equals scikit-learn's `average_precision_score`.

    >>> auprc(labels, scores).round(3).tolist()
    [0.833, 1.0, 1.0]
    """
    return ranking_areas(labels, scores)[1]


def ranking_areas(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`auroc` and `auprc` together, in the time of one of them, since both need the same sorting.

    Raises
    ------
    ValueError
        If a score is NaN, which has no place in the order. The organizers' scripts replace it by 0 when they read it.
    """
    labels, scores = _check_scores(labels, scores)
    areas = np.empty((2, labels.shape[1]))
    for k in range(labels.shape[1]):
        tp, fp, _ = counts_at_thresholds(labels[:, k], scores[:, k])
        areas[:, k] = _areas(np.append(0.0, tp), np.append(0.0, fp), tp[-1], fp[-1], undefined=np.nan)
    return areas[0], areas[1]


def counts_at_thresholds(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives of one class with each distinct score as the threshold, from the highest down.

    Returns
    -------
    tp, fp : float64 (thresholds,)
    thresholds : float64 (thresholds,)

    >>> counts_at_thresholds(labels[:, 0], scores[:, 0])[:2]
    (array([1., 1., 2., 2.]), array([0., 1., 1., 2.]))
    """
    order = np.argsort(scores)[::-1]  # equal scores belong to one threshold, so their order does not matter
    descending = scores[order]
    last = np.append(np.flatnonzero(descending[1:] != descending[:-1]), len(order) - 1)  # last position of each score
    tp = np.cumsum(labels[order], dtype=np.float64)[last]
    return tp, last + 1 - tp, descending[last]


def _areas(tp: np.ndarray, fp: np.ndarray, positives: float, negatives: float, undefined: float) -> tuple[float, float]:
    """AUROC and AUPRC of one class from its counts at falling thresholds; 0 / 0 in a rate becomes `undefined`."""
    tpr = _ratio(tp, np.full_like(tp, positives), undefined)
    tnr = _ratio(negatives - fp, np.full_like(fp, negatives), undefined)
    ppv = _ratio(tp[1:], tp[1:] + fp[1:], undefined)
    gained = tpr[1:] - tpr[:-1]
    return _sum(0.5 * gained * (tnr[1:] + tnr[:-1])), _sum(gained * ppv)


# -- F and G measures ------------------------------------------------------------------------------


def f_measure(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """F = 2TP / (2TP + FP + FN) of each class, float64 (classes,). NaN for a class with neither label nor output.

    >>> f_measure(labels, outputs).round(3).tolist()
    [0.667, 0.667, 0.667]
    """
    return f_beta(*confusion(labels, outputs), beta=1)


def beta_measures(labels: np.ndarray, outputs: np.ndarray, beta: float = 2) -> tuple[np.ndarray, np.ndarray]:
    """F_β and G_β of each class, two float64 (classes,), each recording weighted by 1 / max(number of its labels, 1).

    F_β = (1+β²)TP / ((1+β²)TP + FP + β²FN) and G_β = TP / (TP + FP + βFN). NaN for a class with neither label nor
    output.

    >>> f2, g2 = beta_measures(labels, outputs)
    >>> f2.round(3).tolist(), g2.round(3).tolist()
    ([0.714, 0.714, 0.556], [0.5, 0.333, 0.333])
    """
    tp, fp, fn = confusion(labels, outputs, 1.0 / np.maximum(np.sum(labels, axis=1), 1))
    return f_beta(tp, fp, fn, beta), g_beta(tp, fp, fn, beta)


def confusion(
    labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives and false negatives of each class, float64 (classes,).

    `weights`, float64 (recordings,), says how much each recording counts; 1 by default.

    >>> confusion(labels, outputs)
    (array([1., 1., 1.]), array([0., 1., 0.]), array([1., 0., 1.]))
    """
    labels, outputs = np.asarray(labels, dtype=bool), np.asarray(outputs, dtype=bool)
    tp, fp, fn = (_class_sums(cells, weights) for cells in (labels & outputs, ~labels & outputs, labels & ~outputs))
    return tp, fp, fn


def f_beta(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, beta: float, undefined: float = np.nan) -> np.ndarray:
    """(1+β²)TP / ((1+β²)TP + FP + β²FN) from arrays of counts, `undefined` where the denominator is 0."""
    return _ratio((1 + beta**2) * tp, (1 + beta**2) * tp + fp + beta**2 * fn, undefined)


def g_beta(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, beta: float, undefined: float = np.nan) -> np.ndarray:
    """TP / (TP + FP + βFN) from arrays of counts, `undefined` where the denominator is 0."""
    return _ratio(tp, tp + fp + beta * fn, undefined)


# -- the Challenge metric --------------------------------------------------------------------------


def challenge_metric(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray, sinus_rhythm: int) -> float:
    """The Challenge's score: 1 for outputs equal to the labels, 0 for sinus rhythm everywhere, below 0 for worse.

    (s − s_inactive) / (s_correct − s_inactive), where s is `unnormalised_challenge_metric` of the outputs, s_inactive
    that of sinus rhythm for every recording, and s_correct that of the labels; 0 where the denominator is 0. Recordings
    without a label add nothing.

    Parameters
    ----------
    labels, outputs : bool (recordings, classes)
    weights : float64 (classes, classes)
        Reward of output k for label j at [j, k].
    sinus_rhythm : int
        Class of sinus rhythm.

    >>> round(challenge_metric(labels, outputs, weights, sinus_rhythm=2), 3)
    0.244
    """
    inactive_outputs = np.zeros(np.shape(labels), dtype=bool)
    inactive_outputs[:, sinus_rhythm] = True
    observed = unnormalised_challenge_metric(labels, outputs, weights)
    correct = unnormalised_challenge_metric(labels, labels, weights)
    inactive = unnormalised_challenge_metric(labels, inactive_outputs, weights)
    return (observed - inactive) / (correct - inactive) if correct != inactive else 0.0


def unnormalised_challenge_metric(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> float:
    """s = Σ W∘A, where A is `challenge_confusion`.

    >>> round(unnormalised_challenge_metric(labels, outputs, weights), 3)
    2.85
    """
    return float(np.sum(np.ascontiguousarray(weights) * challenge_confusion(labels, outputs)))


def challenge_confusion(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The Challenge's confusion matrix A, float64 (classes, classes), labels in rows and outputs in columns.

    A[j, k] grows by 1 / max(|labels ∪ outputs|, 1) for each label j and output k of a recording.

    >>> challenge_confusion(labels, outputs).tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    labels, outputs = np.asarray(labels, dtype=bool), np.asarray(outputs, dtype=bool)
    credit = 1.0 / np.maximum(np.count_nonzero(labels | outputs, axis=1), 1)
    classes = labels.shape[1]
    recording, j = np.nonzero(labels)  # one entry for each label, in the order of the recordings
    entry, k = np.nonzero(outputs[recording])  # one entry for each pair of a label and an output of one recording
    A = np.bincount(j[entry] * classes + k, weights=credit[recording[entry]], minlength=classes * classes)
    return A.reshape(classes, classes)


def rewards(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What each recording adds to `unnormalised_challenge_metric`, float64 (recordings,).

    >>> rewards(labels, outputs, weights).round(3).tolist()
    [1.0, 0.75, 0.1, 1.0]
    """
    labels, outputs = np.asarray(labels, dtype=bool), np.asarray(outputs, dtype=bool)
    credit = 1.0 / np.maximum(np.count_nonzero(labels | outputs, axis=1), 1)
    return ((labels.astype(np.float64) @ weights) * outputs).sum(axis=1) * credit


def labels_a_recording(labels: np.ndarray) -> float:
    """Mean number of classes of a recording; NaN where there are no recordings. For labels or for outputs.

    >>> labels_a_recording(labels)
    1.25
    """
    return float(np.sum(labels, axis=1).mean()) if len(labels) else float("nan")


# -- the unofficial phase of 2020 ------------------------------------------------------------------


def _evaluate_unofficial(labels: np.ndarray, outputs: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """`evaluate` by the rules of the unofficial phase, whose leaderboard shows the geometric mean √(F2·G2).

    Undefined values of a class are 1, so every class counts in the means.
    """
    result: dict[str, Any] = {}
    result["auroc_classes"], result["auprc_classes"] = unofficial_areas(labels, scores)
    result.update(unofficial_measures(labels, outputs))
    result.update({key.removesuffix("_classes"): _sum(values) / len(values) for key, values in result.items()})
    result["geometric_mean"] = float(np.sqrt(result["f_beta_measure"] * result["g_beta_measure"]))
    return result


def unofficial_measures(labels: np.ndarray, outputs: np.ndarray, beta: float = 2) -> dict[str, np.ndarray]:
    """Accuracy, F, F_β and G_β of each class by the rules of the unofficial phase of 2020, float64 (classes,) each.

    Here each recording is weighted by 1 / number of its labels in all four, where accuracy = (TP + TN) / all.
    Undefined values are 1. As in the official script, a recording without labels has an infinite weight, which makes
    accuracy NaN.

    >>> unofficial_measures(labels, outputs)["accuracy_classes"].round(3).tolist()
    [0.857, 0.714, 0.714]
    """
    labels, outputs = np.asarray(labels, dtype=bool), np.asarray(outputs, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = 1.0 / labels.sum(axis=1)
        tp, fp, fn = confusion(labels, outputs, weights)
        tn = _class_sums(~labels & ~outputs, weights)
        # Here F_β adds FN before FP, as that script does, which can differ from `f_beta` in the last bit.
        return {
            "accuracy_classes": _ratio(tp + tn, tp + fp + fn + tn, 1.0),
            "f_measure_classes": f_beta(tp, fp, fn, 1, undefined=1.0),
            "f_beta_measure_classes": _ratio((1 + beta**2) * tp, (1 + beta**2) * tp + fn * beta**2 + fp, 1.0),
            "g_beta_measure_classes": g_beta(tp, fp, fn, beta, undefined=1.0),
        }


def unofficial_areas(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and AUPRC of each class by the rules of the unofficial phase of 2020, two float64 (classes,).

    Thresholds begin at 1, so scores of 1 and more add no area; a lowest score of 0 is not used as a threshold;
    undefined rates are 1.
    """
    labels, scores = _check_scores(labels, scores)
    areas = np.empty((2, labels.shape[1]))
    for k in range(labels.shape[1]):
        tp, fp, thresholds = counts_at_thresholds(labels[:, k], scores[:, k])
        positives, negatives = tp[-1], fp[-1]
        at_start = np.count_nonzero(thresholds >= 1)
        kept = slice(at_start, len(tp) - (thresholds[-1] == 0))
        start = (tp[at_start - 1], fp[at_start - 1]) if at_start else (0.0, 0.0)
        tp, fp = np.append(start[0], tp[kept]), np.append(start[1], fp[kept])
        areas[:, k] = _areas(tp, fp, positives, negatives, undefined=1.0)
    return areas[0], areas[1]


# -- sums and ratios -------------------------------------------------------------------------------


def _check_scores(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # In Fortran order the scores of one class are contiguous in memory, which makes sorting them faster.
    labels, scores = np.asfortranarray(labels, dtype=bool), np.asfortranarray(scores, dtype=np.float64)
    if labels.shape != scores.shape:
        raise ValueError(f"labels of shape {labels.shape} and scores of shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    return labels, scores


def _class_sums(cells: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """For each class the sum of the weights of the recordings whose cell is True, added in the recordings' order."""
    if weights is None:
        return cells.sum(axis=0, dtype=np.float64)  # whole numbers have the same sum in every order
    recording, k = np.nonzero(cells)
    return np.bincount(k, weights=weights[recording], minlength=cells.shape[1])


def _sum(values: np.ndarray) -> float:
    return float(np.cumsum(values)[-1]) if len(values) else 0.0


def _ratio(numerator: np.ndarray, denominator: np.ndarray, undefined: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator != 0, np.divide(numerator, denominator), undefined)
