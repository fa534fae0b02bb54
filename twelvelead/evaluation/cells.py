"""From the rows of all output files to arrays (recordings, classes), with no loop over recordings; see official.py."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from .files import Files
from .findings import Findings
from .metrics import counts_at_thresholds


@dataclass(frozen=True)
class Layout:
    """How to read the rows below a row of class codes.

    Attributes
    ----------
    width : int
        Number of codes in the row.
    columns, places, codes : arrays of int, equally long
        Column `columns[i]` is an output for class `places[i]` under the code with number `codes[i]`. Codes are numbered
        in the order in which `read_outputs` meets them.
    unknown : list of str
        Codes of the row that no table of the Challenges contains.
    """

    width: int = 0
    columns: array = field(default_factory=lambda: array("q"))
    places: array = field(default_factory=lambda: array("q"))
    codes: array = field(default_factory=lambda: array("q"))
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cells:
    """The values of all files for scored classes, as five arrays of equal length with one entry for each value.

    Attributes
    ----------
    recording, place, code : ndarray of int
        Recording, position of the class, and number of the code under which the file gives the value.
    positive : ndarray of bool
    score : ndarray of float64
    """

    recording: np.ndarray
    place: np.ndarray
    code: np.ndarray
    positive: np.ndarray
    score: np.ndarray


def cells_of(used: list[Layout], starts: list[int], values: np.ndarray, positive: np.ndarray) -> Cells:
    """The values for scored classes among all values.

    Parameters
    ----------
    used : list of Layout
        Of each file.
    starts : list of int
        Where each file begins in the arrays that follow.
    values : float64 (all values,)
    positive : bool (all values,)
    """
    columns, places, codes = array("q"), array("q"), array("q")
    for layout in used:
        columns.extend(layout.columns)
        places.extend(layout.places)
        codes.extend(layout.codes)
    lengths = [len(layout.columns) for layout in used]
    at = np.repeat(starts, lengths) + np.array(columns)
    recording = np.repeat(np.arange(len(used)), lengths)
    return Cells(recording, np.array(places), np.array(codes), positive[at], values[at])


def outputs_and_scores(cells: Cells, shape: tuple[int, int], year: str) -> tuple[np.ndarray, np.ndarray]:
    """Outputs, bool, and scores, float64, of `shape` (recordings, classes).

    A class that a file gives under several codes is positive if any of them is, and its score is their mean. A class
    that it does not give is negative with score 0.
    """
    target = cells.recording * shape[1] + cells.place
    outputs = np.zeros(shape, dtype=bool)
    outputs.flat[target[cells.positive]] = True
    values = cells.score
    if year == "2021":  # that script takes NaN and infinity for 0; the one of 2020 leaves NaN out of the mean
        values = np.where(np.isfinite(values), values, 0.0)
    known = ~np.isnan(values)
    counts = np.bincount(target[known], minlength=outputs.size)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN here, and becomes 0 below
        scores = np.bincount(target[known], weights=values[known], minlength=outputs.size) / np.maximum(counts, 1)
        # The scripts call np.mean, which adds eight and more values in another order than np.bincount.
        for crowded in np.flatnonzero(np.bincount(target) > 7):
            scores[crowded] = np.nansum(values[target == crowded]) / max(counts[crowded], 1)
    scores[np.isnan(scores)] = 0.0
    return outputs, scores.reshape(shape)


def note_scores(files: Files, cells: Cells, codes: list[str], findings: Findings) -> None:
    """Notes scores that are no probabilities, and codes whose labels no threshold on their scores gives.

    For such a code the recordings are named whose label is wrong at the threshold with the fewest wrong labels.
    """
    outside = cells.recording[~((cells.score >= 0) & (cells.score <= 1))]
    findings.add("range", *(files.names[recording] for recording in np.unique(outside)))
    wrong = []
    for number, code in enumerate(codes):
        of_code = (cells.code == number) & ~np.isnan(cells.score)
        positive, score = cells.positive[of_code], cells.score[of_code]
        if not positive.any():
            continue
        tp, fp, thresholds = counts_at_thresholds(positive, score)
        errors = np.append(fp + tp[-1] - tp, tp[-1])  # wrong labels at each threshold, and at one above all scores
        if errors.min() > 0:
            threshold = np.append(thresholds, np.inf)[errors.argmin()]
            wrong.append(cells.recording[of_code][positive != (score >= threshold)])
            findings.add("order", codes=[code])
    if wrong:
        findings.add("order", *(files.names[recording] for recording in np.unique(np.concatenate(wrong))))
