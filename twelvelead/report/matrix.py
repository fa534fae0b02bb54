"""The Challenge's confusion matrix, and what each class earns of the reward that its labels could earn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evaluation import metrics
from .inputs import Inputs


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix.

    Attributes
    ----------
    count : float
        Pairs of this label and this output, each recording's weighted by 1 / |labels ∪ outputs|.
    share : float
        Of the row's sum, from 0 to 1.
    reward : float
        Of this output for this label.
    """

    count: float
    share: float
    reward: float
    is_diagonal: bool


@dataclass(frozen=True)
class MatrixRow:
    """The cells of one label, and the sum of its rewards.

    Attributes
    ----------
    place : int
        Position of the class.
    earned, possible : float
        Sum of the rewards with the outputs as they are, and if they were the labels.
    lost : float
        What is missing to `possible`, as a part of the Challenge metric: all rows add up to 1 − metric. NaN where the
        metric is not defined.
    """

    place: int
    cells: list[Cell]
    earned: float
    possible: float
    lost: float


@dataclass(frozen=True)
class Matrix:
    """Rows for the classes that are a label of some recording, columns for those that are a label or an output."""

    columns: list[int]
    rows: list[MatrixRow]


def metric_scale(labels: np.ndarray, weights: np.ndarray, sinus_rhythm: int) -> float:
    """How much reward one point of the Challenge metric is: that of the labels less that of sinus rhythm everywhere.

    NaN where both are the same, as for recordings that all have sinus rhythm alone.
    """
    inactive = np.zeros_like(labels)
    inactive[:, sinus_rhythm] = True
    correct = metrics.unnormalised_challenge_metric(labels, labels, weights)
    scale = correct - metrics.unnormalised_challenge_metric(labels, inactive, weights)
    return scale if scale else float("nan")


def confusion_matrix(inputs: Inputs) -> Matrix | None:
    """The matrix of the run's outputs; None without the rewards of a Challenge."""
    task, labels, (outputs, _) = inputs.task, inputs.labels, inputs.systems[0]
    if task.weights is None or task.sinus_rhythm is None:
        return None
    counts = metrics.challenge_confusion(labels, outputs)
    possible = (task.weights * metrics.challenge_confusion(labels, labels)).sum(axis=1)
    earned = (task.weights * counts).sum(axis=1)
    scale = metric_scale(labels, task.weights, task.sinus_rhythm)
    columns = np.flatnonzero((labels | outputs).any(axis=0)).tolist()
    rows = []
    for j in np.flatnonzero(labels.any(axis=0)).tolist():
        total = max(float(counts[j].sum()), 1e-12)
        cells = [
            Cell(float(counts[j, k]), float(counts[j, k]) / total, float(task.weights[j, k]), j == k) for k in columns
        ]
        rows.append(MatrixRow(j, cells, float(earned[j]), float(possible[j]), float(possible[j] - earned[j]) / scale))
    return Matrix(columns, rows)
