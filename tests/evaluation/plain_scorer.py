"""The scorers of 2020 and 2021 a second time, slow and evidently right: plain loops, only the standard library.

    python tests/evaluation/plain_scorer.py LABELS OUTPUTS WEIGHTS.csv [2020|2021]

Written from the description of the organizers' scorers. The tests compare twelvelead/evaluation/ with its results, and
benchmarks/evaluator.py with its speed. Labels, outputs and scores are lists of rows, one row for each recording;
undefined values are NaN.
"""

import csv
import itertools
import math
import os
import sys

NAN = float("nan")
MERGED = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004"}
SINUS_RHYTHM = "426783006"


# -- metrics ---------------------------------------------------------------------------------------


def mean(values):
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else NAN


def accuracy(labels, outputs):
    return sum(1 for label, output in zip(labels, outputs) if label == output) / len(labels)


def confusion(labels, outputs, k, weighted=False):
    """Sums of TP, FP, FN and TN of class k over the recordings, one by one."""
    tp = fp = fn = tn = 0.0
    for label, output in zip(labels, outputs):
        weight = 1.0 / max(sum(label), 1) if weighted else 1.0
        if label[k] and output[k]:
            tp += weight
        elif output[k]:
            fp += weight
        elif label[k]:
            fn += weight
        else:
            tn += weight
    return tp, fp, fn, tn


def f_beta(labels, outputs, k, beta, weighted=False):
    tp, fp, fn, _ = confusion(labels, outputs, k, weighted)
    denominator = (1 + beta**2) * tp + fp + beta**2 * fn
    return (1 + beta**2) * tp / denominator if denominator else NAN


def g_beta(labels, outputs, k, beta):
    tp, fp, fn, _ = confusion(labels, outputs, k, weighted=True)
    denominator = tp + fp + beta * fn
    return tp / denominator if denominator else NAN


def curve(labels, scores, k):
    """TPR, TNR and PPV of class k at falling thresholds: above all scores, then each distinct score."""
    tp = fp = 0
    fn = sum(1 for label in labels if label[k])
    tn = len(labels) - fn
    points = [(0.0 if fn else NAN, 1.0 if tn else NAN, NAN)]
    falling = sorted(((row[k], bool(label[k])) for label, row in zip(labels, scores)), reverse=True)
    for _, tied in itertools.groupby(falling, key=lambda pair: pair[0]):
        for _, positive in tied:
            if positive:
                tp, fn = tp + 1, fn - 1
            else:
                fp, tn = fp + 1, tn - 1
        points.append((tp / (tp + fn) if tp + fn else NAN, tn / (tn + fp) if tn + fp else NAN, tp / (tp + fp)))
    return points


def auroc(labels, scores, k):
    area, points = 0.0, curve(labels, scores, k)
    for (tpr, tnr, _), (next_tpr, next_tnr, _) in itertools.pairwise(points):
        area += 0.5 * (next_tpr - tpr) * (next_tnr + tnr)
    return area


def auprc(labels, scores, k):
    area, points = 0.0, curve(labels, scores, k)
    for (tpr, _, _), (next_tpr, _, next_ppv) in itertools.pairwise(points):
        area += (next_tpr - tpr) * next_ppv
    return area


def reward(labels, outputs, weights):
    """The unnormalised Challenge metric."""
    classes = range(len(weights))
    matrix = [[0.0 for _ in classes] for _ in classes]
    for label, output in zip(labels, outputs):
        union = max(sum(1 for k in classes if label[k] or output[k]), 1)
        for j in classes:
            for k in classes:
                if label[j] and output[k]:
                    matrix[j][k] += 1.0 / union
    return math.fsum(weights[j][k] * matrix[j][k] for j in classes for k in classes)


def challenge_metric(labels, outputs, weights, sinus_rhythm):
    inactive = reward(labels, [[k == sinus_rhythm for k in range(len(weights))] for _ in labels], weights)
    correct = reward(labels, labels, weights)
    return (reward(labels, outputs, weights) - inactive) / (correct - inactive) if correct != inactive else 0.0


def score(labels, outputs, scores, weights, sinus_rhythm):
    """All metrics of 2020, which include 2021's."""
    classes = range(len(weights))
    result = {
        "auroc_classes": [auroc(labels, scores, k) for k in classes],
        "auprc_classes": [auprc(labels, scores, k) for k in classes],
        "f_measure_classes": [f_beta(labels, outputs, k, 1) for k in classes],
        "f_beta_measure_classes": [f_beta(labels, outputs, k, 2, weighted=True) for k in classes],
        "g_beta_measure_classes": [g_beta(labels, outputs, k, 2) for k in classes],
    }
    result.update({key[: -len("_classes")]: mean(values) for key, values in result.items()})
    result["accuracy"] = accuracy(labels, outputs)
    result["challenge_metric"] = challenge_metric(labels, outputs, weights, sinus_rhythm)
    return result


def score_unofficial(labels, outputs, scores):
    """All metrics of the unofficial phase of 2020 by class: undefined values are 1, and each recording has a label."""
    result = {key: [] for key in ("auroc", "auprc", "accuracy", "f_measure", "f_beta_measure", "g_beta_measure")}
    for k in range(len(labels[0])):
        tp, fp, fn, tn = confusion(labels, outputs, k, weighted=True)
        result["accuracy"].append((tp + tn) / (tp + fp + fn + tn))
        result["f_measure"].append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0)
        result["f_beta_measure"].append(5 * tp / (5 * tp + fn * 4 + fp) if tp + fp + fn else 1.0)
        result["g_beta_measure"].append(tp / (tp + fp + 2 * fn) if tp + fp + fn else 1.0)
        thresholds = sorted({row[k] for row in scores}, reverse=True)
        if thresholds[0] != 1:
            thresholds.insert(0, 1)
        if thresholds[-1] == 0:
            del thresholds[-1]
        points, counted = [], set()
        for threshold in thresholds:  # what has once been above a threshold stays above
            counted |= {i for i, row in enumerate(scores) if row[k] >= threshold}
            tp = sum(1 for i in counted if labels[i][k])
            positives = sum(1 for label in labels if label[k])
            negatives, fp = len(labels) - positives, len(counted) - tp
            points.append(
                (
                    tp / positives if positives else 1.0,
                    (negatives - fp) / negatives if negatives else 1.0,
                    tp / (tp + fp) if tp + fp else 1.0,
                )
            )
        areas = [0.0, 0.0]
        for (tpr, tnr, _), (next_tpr, next_tnr, next_ppv) in itertools.pairwise(points):
            areas[0] += 0.5 * (next_tpr - tpr) * (next_tnr + tnr)
            areas[1] += (next_tpr - tpr) * next_ppv
        result["auroc"].append(areas[0])
        result["auprc"].append(areas[1])
    return result


# -- files -----------------------------------------------------------------------------------------


def number(text):
    try:
        return float(text)
    except ValueError:
        return NAN


def cells(line):
    return [cell.strip() for cell in line.split(",")]


def read_weights(path, year):
    """Classes, each a set of codes, and their weights; 2020 merges three pairs of rows."""
    with open(path) as file:
        table = list(csv.reader(file))
    classes, rows = [], []
    for place, name in enumerate(table[0][1:]):
        codes = set(name.split("|"))
        if year == "2020":
            merged = MERGED.get(name, name)
            codes = {merged, *(code for code in MERGED if MERGED[code] == merged)}
        if codes not in classes:
            classes.append(codes)
            rows.append(place)
    return classes, [[float(table[row + 1][column + 1]) for column in rows] for row in rows]


def read_label(text, classes):
    """The classes of a header; its line '#Dx: ...' is taken to be there."""
    for line in text.splitlines():
        if line.startswith("#Dx"):
            codes = set(cells(line.split(": ")[1]))
            return [bool(codes & members) for members in classes]


def read_output_2020(text, classes):
    """The first three lines that are no comments; unless all have as many cells, everything is negative."""
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    labels, scores = [False] * len(classes), [0.0] * len(classes)
    if len(lines) < 3 or len({len(line.split(",")) for line in lines}) != 1:
        return labels, scores
    for k, members in enumerate(classes):
        own = [column for column, code in enumerate(cells(lines[0])) if code in members]
        labels[k] = any(cells(lines[1])[column] in ("1", "True", "true", "T", "t") for column in own)
        values = []
        for column in own:
            text = cells(lines[2])[column]
            value = number(text)
            if math.isnan(value) and text.strip("+-").lower() != "nan":
                value = 0.0  # what is no number counts as 0, but NaN is left out
            if not math.isnan(value):
                values.append(value)
        if values and not math.isnan(sum(values) / len(values)):
            scores[k] = sum_in_order(values) / len(values)
    return labels, scores


def read_output_2021(text, classes):
    """Lines 2 to 4; raises an IndexError if they or a cell for a scored class is not there."""
    lines = text.splitlines()
    codes, flags, values = cells(lines[1]), cells(lines[2]), cells(lines[3])
    labels, scores = [], []
    for members in classes:
        own = [column for column, code in enumerate(codes) if members & set(code.split("|"))]
        own_flags = [flags[column] for column in own]
        labels.append(any(flag in ("True", "true", "T", "t") or number(flag) == 1 for flag in own_flags))
        finite = [number(values[column]) if math.isfinite(number(values[column])) else 0.0 for column in own]
        scores.append(sum_in_order(finite) / len(finite) if finite else 0.0)
    return labels, scores


def sum_in_order(values):
    total = 0.0
    for value in values:  # Python's sum() compensates for rounding from 3.12 on
        total += value
    return total


def score_folders(label_folder, output_folder, weights_path, year):
    classes, weights = read_weights(weights_path, year)
    labels, outputs, scores = [], [], []
    for name in sorted(os.listdir(label_folder)):
        if name.endswith(".hea"):
            with open(os.path.join(label_folder, name)) as file:
                labels.append(read_label(file.read(), classes))
            with open(os.path.join(output_folder, name[:-4] + ".csv")) as file:
                output, row = (read_output_2020 if year == "2020" else read_output_2021)(file.read(), classes)
            outputs.append(output)
            scores.append(row)
    sinus_rhythm = next(k for k, members in enumerate(classes) if SINUS_RHYTHM in members)
    return score(labels, outputs, scores, weights, sinus_rhythm)


if __name__ == "__main__":
    for metric, figure in score_folders(*sys.argv[1:4], sys.argv[4] if len(sys.argv) > 4 else "2020").items():
        print(metric, figure)
