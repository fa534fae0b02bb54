"""Right and wrong labels of each class, for classes between which there are no rewards: labels of the user's own.

rows = class_counts(inputs)
rows[0].sensitivity, rows[0].instead
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..evaluation.curves import wilson_interval
from .figures import Figure
from .inputs import ClassName, Inputs

MOST_INSTEAD = 3  # classes that are named as given in the place of a missed one


@dataclass(frozen=True)
class ClassCounts:
    """The recordings of which it is known whether they have a class, by label and output.

    Attributes
    ----------
    name : ClassName
    true_positives, false_negatives, false_positives, true_negatives : int
        Labelled and written, labelled alone, written alone, neither.
    sensitivity, specificity : Figure
        Share of the labelled recordings that were given the class, and of the others that were not.
    positive_value, negative_value : Figure
        Share of the recordings that were given the class that are labelled with it, and of the others that are not.
    instead : list of (ClassName, int)
        The other classes that recordings were given wrongly in which this class was missed, and how many of them; the
        frequent ones first, at most `MOST_INSTEAD`.

    Intervals are those of shares (Wilson); a share of nothing is NaN.
    """

    name: ClassName
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    sensitivity: Figure
    specificity: Figure
    positive_value: Figure
    negative_value: Figure
    instead: list[tuple[ClassName, int]]


def class_counts(inputs: Inputs) -> list[ClassCounts]:
    """A row for each class, in the order of the task, from the outputs of the run; unknown labels count nowhere."""
    return [_counts(inputs, place) for place in range(len(inputs.class_names))]


def _counts(inputs: Inputs, place: int) -> ClassCounts:
    labels, outputs = inputs.labels, inputs.systems[0][0]
    rows = inputs.known_rows(place)
    label, output = labels[rows, place], outputs[rows, place]
    tp, fn = int((label & output).sum()), int((label & ~output).sum())
    fp, tn = int((~label & output).sum()), int((~label & ~output).sum())
    missed = rows & labels[:, place] & ~outputs[:, place]
    # Outputs of unknown labels are False in `Inputs`, so what is written and not labelled is known to be wrong.
    wrong = (outputs & ~labels)[missed].sum(axis=0)
    often = [other for other in np.argsort(-wrong, kind="stable")[:MOST_INSTEAD].tolist() if wrong[other]]
    return ClassCounts(
        name=inputs.class_names[place],
        true_positives=tp,
        false_negatives=fn,
        false_positives=fp,
        true_negatives=tn,
        sensitivity=_share(tp, tp + fn),
        specificity=_share(tn, tn + fp),
        positive_value=_share(tp, tp + fp),
        negative_value=_share(tn, tn + fn),
        instead=[(inputs.class_names[other], int(wrong[other])) for other in often],
    )


def _share(part: int, whole: int) -> Figure:
    if not whole:
        return Figure(math.nan)
    low, high = wilson_interval(np.array(part), np.array(whole))
    return Figure(part / whole, float(low), float(high))
