"""Scores a trained model on recordings that it has not learned from: the tables of its card.

    tested = answers_of(Path("pretrained"), load_ensemble("pretrained"), read_cohort(DATA))
    text = measurements(tested, classes, thresholds, resamples=1000, seed=0)

Recordings that trained the model (splits.json names them) are left out. What is measured: the metrics with intervals by
source, sex and age, the metrics of each class with its threshold, and how far scores are probabilities.

A model of labels of the user's own is measured by such labels (`answers_of(…, own=…)`): there is no Challenge metric,
and each class is measured on the recordings of which it is known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.classes import Classes
from ..data.header import read_header
from ..data.own_labels import OwnLabels, as_arrays, name_in_cells
from ..errors import UserError
from ..evaluation.bootstrap import draw_counts, interval
from ..evaluation.masked import evaluate_known, resampled_known
from ..evaluation.reliability import reliability
from ..files import read_bytes
from ..inference.ensemble import Ensemble
from ..inference.model_files import MOST_JSON_BYTES
from .compare import MAIN, score
from .design import Cohort
from .scored import score_recordings
from .tables import cell, markdown_table

AGE_BANDS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))  # years; the upper end belongs to the next band
LEAST_POSITIVES = 5  # a class with fewer recordings has no AUROC that means anything, and does not count in the mean
ALL = "all recordings"


@dataclass(frozen=True)
class Tested:
    """A model's answers for recordings that it has not learned from; row i of every field is the same recording.

    Attributes
    ----------
    sources, sexes, ages : tuple of str
        Source; "female", "male" or "unknown"; a band of `AGE_BANDS` or "unknown".
    labels, outputs : ndarray, bool, (recordings, classes)
        Where a label is unknown both are False.
    scores : ndarray, float64, (recordings, classes)
    patients : ndarray, int, (recordings,)
        Resampling draws all recordings of a patient together.
    left_out : int
        Recordings of the folder that trained the model.
    faults : list of str
        A line for each recording that could not be read or scored and counts with the driver's answer: sinus rhythm, or
        no class of labels of the user's own.
    known : ndarray, bool, (recordings, classes), optional
        Of labels of the user's own, those that are known; every recording has one. None with the Challenge's classes.
    origin : str
        Where labels of the user's own were read, in words.
    """

    sources: tuple[str, ...]
    sexes: tuple[str, ...]
    ages: tuple[str, ...]
    labels: np.ndarray
    outputs: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    left_out: int
    faults: list[str]
    known: np.ndarray | None = None
    origin: str = ""

    def known_rows(self, k: int) -> np.ndarray:
        """The recordings of which it is known whether they have class k, bool (recordings,)."""
        return np.ones(len(self.labels), dtype=bool) if self.known is None else self.known[:, k]


def answers_of(
    folder: Path, ensemble: Ensemble, cohort: Cohort, jobs: int = -1, own: OwnLabels | None = None
) -> Tested:
    """Scores all recordings of a cohort that the model in `folder` has not learned from, as the driver would.

    Parameters
    ----------
    own : OwnLabels, optional
        Labels of the model's classes, if these are the user's own. Recordings of which they know nothing are left out.

    Raises
    ------
    UserError
        If no recording is left.
    """
    trained_on = {Path(name).stem for name in _learned_from(folder)}
    called = [name_in_cells(header, cohort.root) for header in cohort.headers]
    labelled = [row for row, name in enumerate(called) if own is None or name in own.cells]
    rows = [row for row in labelled if cohort.headers[row].stem not in trained_on]
    if not rows:
        raise UserError(f"{cohort.root}: the model has learned from every recording here; give it others to be tested")
    headers = [cohort.headers[row] for row in rows]
    scores, outputs, faults = score_recordings(ensemble, headers, jobs)
    persons = [read_header(header) for header in headers]
    # A recording without a patient counts as a patient of its own.
    names = [cohort.patients[row] or f"recording {cohort.names[row]}" for row in rows]
    known: np.ndarray | None = None
    if own is None:
        labels = ensemble.classes.labels([cohort.codes[row] for row in rows])
    else:
        labels, known = as_arrays([own.cells[called[row]] for row in rows])
        outputs = outputs & known
    return Tested(
        sources=tuple(cohort.sources[row] for row in rows),
        sexes=tuple(person.sex for person in persons),
        ages=tuple(age_band(person.age_years) for person in persons),
        labels=labels,
        outputs=outputs,
        scores=scores,
        patients=np.unique(names, return_inverse=True)[1],
        left_out=len(labelled) - len(rows),
        faults=faults,
        known=known,
        origin="" if own is None else own.origin,
    )


def age_band(age: float) -> str:
    """The band of `AGE_BANDS` of an age in years, such as "40 to 59"; "unknown" for NaN.

    >>> age_band(59.9), age_band(float("nan"))
    ('40 to 59', 'unknown')
    """
    for low, high in AGE_BANDS:
        if low <= age < high:
            return f"{low} to {high - 1}" if high < AGE_BANDS[-1][1] else f"{low} and older"
    return "unknown"


def measurements(tested: Tested, classes: Classes, thresholds: np.ndarray | None, resamples: int, seed: int) -> str:
    """All figures as Markdown.

    Parameters
    ----------
    thresholds : ndarray, float64, (classes,), or None
        Those of the members' mean score; None if members vote with thresholds of their own.
    resamples, seed : int
        Of the bootstrap behind the 95 % intervals.
    """
    are_own = tested.known is not None
    everything = _row(tested, classes, np.ones(len(tested.labels), dtype=bool), resamples, seed)
    left_out = f"; {tested.left_out:,} others trained the model and were left out" if tested.left_out else ""
    fallback = "as without any class" if are_own else "as sinus rhythm"
    faults = f" {len(tested.faults)} could not be scored and count {fallback}." if tested.faults else ""
    labels = f" Labels: {tested.origin}; unknown ones count nowhere." if are_own else ""
    enough = f"{LEAST_POSITIVES} recordings" + (f" that have them and {LEAST_POSITIVES} that do not" if are_own else "")
    lines = [
        "### On recordings that training never saw",
        f"{len(tested.labels):,} recordings of {tested.patients.max() + 1:,} persons{left_out}.{labels}{faults} "
        f"In brackets: 95 % intervals from {resamples} resamples of the persons, seed {seed}. Macro AUROC and macro F "
        f"are over the classes with at least {enough} in the row.",
    ]
    for title, parts in (("source", tested.sources), ("sex", tested.sexes), ("age in years", tested.ages)):
        names = np.array(parts)
        rows = [_row(tested, classes, names == name, resamples, seed) for name in np.unique(names)]
        named = [[name, *row] for name, row in zip(np.unique(names).tolist(), rows)]
        head = [title, *(column for column in _HEAD if column != _CHALLENGE or not are_own)]
        lines.append(markdown_table(head, [[ALL, *everything], *named]))
    lines += ["By class:", _class_table(tested, classes, thresholds, resamples, seed), *_calibration(tested)]
    return "\n\n".join(lines)


_CHALLENGE = "Challenge metric"  # a column that labels of the user's own do not have
_HEAD = ("recordings", _CHALLENGE, "macro AUROC", "macro F", "labels a recording: annotated, written")


def _scores(tested: Tested, classes: Classes, mask: np.ndarray, resamples: int, seed: int) -> tuple[dict, dict]:
    """The metrics of some recordings, bool (recordings,), and their values on each resample."""
    labels, outputs, scores = tested.labels[mask], tested.outputs[mask], tested.scores[mask]
    patients = tested.patients[mask]
    if tested.known is None:
        return score(labels, {"": (outputs, scores)}, classes, patients, resamples, seed)[""]
    known, counts = tested.known[mask], draw_counts(len(labels), resamples, seed, patients)
    return (
        evaluate_known(labels, outputs, scores, known),
        resampled_known(labels, [(outputs, scores)], known, counts)[0],
    )


def _row(tested: Tested, classes: Classes, mask: np.ndarray, resamples: int, seed: int) -> list[str]:
    """The cells of one part of the recordings, in the order of `_HEAD`."""
    labels, outputs = tested.labels[mask], tested.outputs[mask]
    values, samples = _scores(tested, classes, mask, resamples, seed)
    counted = labels.sum(axis=0) >= LEAST_POSITIVES
    if tested.known is not None:
        counted &= (tested.known[mask] & ~labels).sum(axis=0) >= LEAST_POSITIVES

    def macro(name: str) -> str:
        if not counted.any():
            return "undefined"
        with np.errstate(invalid="ignore"):
            low, high = interval(np.nanmean(samples[f"{name}_classes"][:, counted], axis=1))
        return cell(dict(value=float(np.mean(values[f"{name}_classes"][counted])), low=low, high=high))

    main = []
    if tested.known is None:
        low, high = interval(samples[MAIN[classes.year]])
        main = [cell(dict(value=values[MAIN[classes.year]], low=low, high=high))]
    return [
        f"{mask.sum():,}",
        *main,
        macro("auroc"),
        macro("f_measure"),
        f"{labels.sum(axis=1).mean():.2f}, {outputs.sum(axis=1).mean():.2f}",
    ]


def _class_table(tested: Tested, classes: Classes, thresholds: np.ndarray | None, resamples: int, seed: int) -> str:
    """Metrics with intervals, threshold and calibration of each class that occurs among the recordings."""
    values, samples = _scores(tested, classes, np.ones(len(tested.labels), dtype=bool), resamples, seed)
    names = ("auroc", "auprc", "f_measure")
    bounds = {name: interval(samples[f"{name}_classes"]) for name in names}
    rows = []
    for k, abbreviation in enumerate(classes.abbreviations):
        positives = int(tested.labels[:, k].sum())
        if not positives:
            continue
        figures = [
            cell(dict(value=values[f"{name}_classes"][k], low=bounds[name][0][k], high=bounds[name][1][k]))
            for name in names
        ]
        threshold = "—" if thresholds is None else f"{thresholds[k]:.2f}"
        count = positives if tested.known is None else f"{positives} of {tested.known_rows(k).sum()}"
        name = abbreviation.replace("|", "\\|")
        rows.append([name, count, *figures, threshold, *_calibration_cells(tested, k)])
    head = [
        "class",
        "recordings" if tested.known is None else "recordings, of those known",
        "AUROC",
        "AUPRC",
        "F",
        "threshold",
        "slope",
        "intercept",
        "expected error",
    ]
    return markdown_table(head, rows)


def _calibration_cells(tested: Tested, k: int) -> list[str]:
    """Slope, intercept and expected calibration error of one class; the line needs some recordings of both kinds."""
    rows = tested.known_rows(k)
    line = reliability(tested.labels[rows, k], tested.scores[rows, k])
    few = tested.labels[rows, k].sum() < LEAST_POSITIVES or np.isnan(line.slope)
    of_line = ["—", "—"] if few else [f"{line.slope:.2f}", f"{line.intercept:+.2f}"]
    return [*of_line, f"{line.error:.3f}"]


def _calibration(tested: Tested) -> list[str]:
    """What the three columns of calibration mean, and the same figures over all classes together."""
    cells = np.ones_like(tested.labels) if tested.known is None else tested.known
    line = reliability(tested.labels[cells], tested.scores[cells])
    return [
        "### Are scores probabilities?",
        f"Over all classes together the calibration slope is {line.slope:.2f}, the intercept {line.intercept:+.2f} "
        f"and the expected calibration error {line.error:.3f}. Scores are probabilities where the slope is 1, the "
        "intercept 0 and the error 0. The slope and the intercept are those of a logistic regression of the label on "
        "the score's log-odds: an intercept below 0 means that scores are too high, a slope below 1 that they are too "
        "far from 0.5. The expected calibration error is the mean distance between score and frequency over ten bins "
        "of scores, weighted by their recordings.",
    ]


def _learned_from(folder: Path) -> list[str]:
    """Names of the recordings that trained the model of a folder, relative to its data folder, without .hea."""
    path = folder / "splits.json"
    try:
        names = json.loads(read_bytes(path, MOST_JSON_BYTES))["recordings"]
        return [str(name) for name in names]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: what the model has learned from cannot be read ({error})") from None
