"""Where in a recording the score of a class comes from, by occlusion.

    explanation = explain(model, result, "PVC")
    explanation.over_time       # float64 (windows,): how much the log-odds fall without this stretch of all leads
    explanation.by_lead         # float64 (12, windows): … without this stretch of one lead

A stretch of the signal is replaced by a straight line between its ends, as if nothing had happened there, and the model
is asked again (Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2). What the
score loses is the stretch's share in it. That needs no gradient, holds for every network and every step of the
preparation, and counts in log-odds, so that it also tells for probabilities near 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..data.leads import LEADS
from ..data.recording import Recording
from ..errors import UserError
from ..inference.ensemble import joined_scores
from .result import Prediction

if TYPE_CHECKING:
    from .model import Model

WINDOW_S = 0.2  # about as long as a wide QRS complex
STEP_S = 0.1
EXPLAINED_S = 10.0  # of a recording that the model cuts into pieces
TOLD_APART = 16  # windows in which the leads are told apart, those that count most
CHUNK = 128  # recordings that are scored at once


@dataclass(frozen=True)
class Explanation:
    """Where the score of a class comes from.

    Attributes
    ----------
    abbreviation, code : str
        The class.
    probability : float
        Of what is explained, which is a part of a long recording.
    starts_s : float64 (windows,)
        Where each window begins, from the beginning of the recording.
    window_s : float
    over_time : float64 (windows,)
        By how much the log-odds fall if the window is a straight line in all leads; negative where they rise.
    by_lead : float64 (12, windows)
        The same for each lead alone, in standard order, in the windows that count most; zero in the others and for
        leads that were not recorded.
    """

    abbreviation: str
    code: str
    probability: float
    starts_s: np.ndarray
    window_s: float
    over_time: np.ndarray
    by_lead: np.ndarray


def explain(model: Model, result: Prediction, name: str, start_s: float = 0.0) -> Explanation:
    """Explains the score of a class, given by its abbreviation or code.

    Parameters
    ----------
    model : Model
    result : Prediction
        Its recording is explained: the whole of it, or if the model scores it in pieces, ten seconds of it.
    name : str
    start_s : float
        Where these ten seconds begin.

    Raises
    ------
    UserError
        If the model has no such class, or the recording ends before `start_s`.
    """
    from .model import class_index

    place = class_index(model.ensemble, name)
    longest_s = min(spec.longest_s for spec in model.ensemble.inputs)
    recording, first_s = _part(result.recording, longest_s, start_s)
    hz = recording.frequency_hz
    length = recording.signal_mv.shape[1]
    windows = [
        (first, min(first + round(WINDOW_S * hz), length))
        for first in np.arange(0, max(length - round(STEP_S * hz), 1), max(STEP_S * hz, 1)).round().astype(int).tolist()
    ]
    rows = [recording.leads.index(lead) for lead in LEADS if lead in recording.leads]
    whole = _log_odds(model, [recording], place)[0]
    over_time = whole - _scored(model, recording, [(rows, window) for window in windows], place)
    # Telling the leads apart takes twelve times as long, so it is done where it matters.
    chosen = [int(k) for k in np.argsort(-over_time, kind="stable")[:TOLD_APART] if over_time[k] > 0]
    by_lead = np.zeros((len(LEADS), len(windows)))
    if chosen:
        cuts = [([row], windows[k]) for row in rows for k in chosen]
        singles = (whole - _scored(model, recording, cuts, place)).reshape(len(rows), len(chosen))
        for row, values in zip(rows, singles):
            by_lead[LEADS.index(recording.leads[row]), chosen] = values
    classes = model.ensemble.classes
    return Explanation(
        abbreviation=classes.abbreviations[place],
        code=classes.codes[place],
        probability=_probability(model, recording, place),
        starts_s=np.array([first_s + window[0] / hz for window in windows]),
        window_s=WINDOW_S,
        over_time=over_time,
        by_lead=by_lead,
    )


def _scored(
    model: Model, recording: Recording, cuts: list[tuple[list[int], tuple[int, int]]], place: int
) -> np.ndarray:
    """The log-odds of the recording without each of some cuts, (rows, window); float64 (cuts,)."""
    parts = [cuts[first : first + CHUNK] for first in range(0, len(cuts), CHUNK)]
    return np.concatenate([_log_odds(model, [_without(recording, *cut) for cut in part], place) for part in parts])


def _part(recording: Recording, longest_s: float, start_s: float) -> tuple[Recording, float]:
    """What is explained of a recording, and the second at which it begins."""
    seconds = recording.signal_mv.shape[1] / recording.frequency_hz
    if not 0 <= start_s < seconds:
        raise UserError(f"{recording.name}: nothing can be explained at {start_s:g} s of {seconds:g} s")
    if seconds <= longest_s:
        return recording, 0.0
    first = round(start_s * recording.frequency_hz)
    last = first + round(EXPLAINED_S * recording.frequency_hz)
    return replace(recording, signal_mv=recording.signal_mv[:, first:last]), start_s


def _without(recording: Recording, rows: list[int], window: tuple[int, int]) -> Recording:
    """The recording with a straight line in the place of a window of some leads; missing samples stay missing."""
    signal = recording.signal_mv.copy()
    first, last = window
    share = np.linspace(0, 1, last - first, dtype=np.float32)
    ends = signal[rows][:, [first, last - 1]]
    line = ends[:, :1] * (1 - share) + ends[:, 1:] * share
    signal[rows, first:last] = np.where(np.isnan(signal[rows, first:last]), np.nan, line)
    return replace(recording, signal_mv=signal)


def _probability(model: Model, recording: Recording, place: int) -> float:
    """What the model reports of a class."""
    return float(joined_scores(model.ensemble, model.scores([recording]))[0, place])


def _log_odds(model: Model, recordings: list[Recording], place: int) -> np.ndarray:
    """The log-odds of the members' mean score of a class, float64 (recordings,).

    Not those of its probability, which may be 0 or 1 to the last digit where scores separate recordings well.
    """
    mean = model.scores(recordings)[:, :, place].astype(np.float64).mean(axis=0).clip(1e-7, 1 - 1e-7)
    return np.log(mean / (1 - mean))
