"""What recordings of a hospital show about how it writes: from diagnoses, from labels of the user's own, or from none.

    learned = from_codes(ensemble, scores, codes, seed=0)
    learned.habits, learned.check

The methods are in posterior.py, own_shifts.py and frequencies.py. Scores are those of the members, (members,
recordings, classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.classes import SINUS_RHYTHM
from ..data.own_labels import as_arrays
from ..inference.ensemble import Ensemble, margins_to_thresholds, thresholds_of_scores
from ..terminal import printable
from .frequencies import adapted_mean
from .own_shifts import OWN_PRIOR, OwnLocal, check_of_shifts, learn_shifts
from .posterior import DEFAULT_PRIOR, FEW, Habits, Local, decide_with, learn, no_habits, rewards

PARTS = 5  # of the check on recordings that were not learned from
UNLABELLED_RISK = (
    "class frequencies were estimated without labels: where a hospital does not write what its patients have, or the "
    "model is wrong about its devices, this makes the model worse, and nothing here would show it; "
    "try it on labelled recordings before you rely on it"
)


@dataclass(frozen=True)
class Learned:
    """What the recordings of a hospital show.

    Attributes
    ----------
    habits : Habits
    method : str
        How they were learned, in a few words.
    prior : dict or None
        Numbers of the prior.
    how : str
        The same for the model card, in sentences.
    check : str
        One line on recordings that were not learned from; empty if there are too few.
    notes : list of str
        What else the user should be told.
    """

    habits: Habits
    method: str
    prior: dict[str, Any] | None
    how: str
    check: str
    notes: list[str]


def from_codes(ensemble: Ensemble, scores: np.ndarray, codes: Sequence[tuple[str, ...]], seed: int) -> Learned:
    """What the diagnoses in the headers show of how the Challenge's classes are written."""
    local = _local(ensemble, scores, codes)
    how = (
        "Thresholds and rules were learned from labelled recordings, with a prior that is centred on the model's own "
        "(twelvelead/recalibration/posterior.py)."
    )
    method = "habits from labelled recordings"
    return Learned(learn(local), method, vars(DEFAULT_PRIOR), how, _checked(local, seed), _few(len(local)))


def from_own_labels(ensemble: Ensemble, scores: np.ndarray, cells: Sequence[str], origin: str, seed: int) -> Learned:
    """What labels of the user's own show of how readily each class is written."""
    labels, known = as_arrays(cells)
    margins = margins_to_thresholds(ensemble, scores)
    local = OwnLocal(margins, labels, known, ensemble.classes.metric, ensemble.priors)
    kept = [name for name, learnable in zip(ensemble.classes.abbreviations, local.learnable) if not learnable]
    why = "there is no recording with the class or none without it"
    notes = [f"threshold as it was, since {why}: {', '.join(kept)}"] if kept else []
    how = (
        f"Thresholds were learned from labels of the user's own ({printable(origin)}), with a prior that is centred on "
        "the model's own (twelvelead/recalibration/own_shifts.py)."
    )
    return Learned(
        learn_shifts(local),
        f"shifts of thresholds from {origin}",
        vars(OWN_PRIOR),
        how,
        check_of_shifts(local, PARTS, seed),
        [*_few(len(local)), *notes],
    )


def from_frequencies(ensemble: Ensemble, scores: np.ndarray) -> Learned:
    """Thresholds by the class frequencies that the scores suggest."""
    training = ensemble.recipe.parts[0].training
    habits = adapted_mean(scores.mean(axis=0), ensemble.probabilities, ensemble.priors, training)
    how = (
        "Class frequencies were estimated without labels (Saerens, Latinne, Decaestecker 2002), and thresholds moved "
        f"with them. Take care: {UNLABELLED_RISK}."
    )
    notes = [f"{scores.shape[1]} recordings; {UNLABELLED_RISK}"]
    return Learned(habits, "class frequencies without labels", None, how, "", notes)


def _few(recordings: int) -> list[str]:
    if recordings >= FEW:
        return []
    return [f"only {recordings} labelled recordings; with fewer than {FEW} little can be learned"]


def _local(ensemble: Ensemble, scores: np.ndarray, codes: Sequence[tuple[str, ...]]) -> Local:
    voting, classes = ensemble.recipe.voting, ensemble.classes
    mean = scores.mean(axis=0)
    if voting.thresholds == "members":
        cuts = np.broadcast_to(ensemble.member_thresholds.mean(axis=0), mean.shape)
    else:
        cuts = thresholds_of_scores(ensemble, mean)
    return Local(
        margins=margins_to_thresholds(ensemble, scores),
        scores=mean,
        cuts=cuts,
        labels=classes.labels(codes),
        weights=classes.weights,
        sinus_rhythm=classes.index.get(SINUS_RHYTHM),
        at_least_one=voting.at_least_one,
    )


def _checked(local: Local, seed: int) -> str:
    """One line: the reward of recordings with the habits that the others showed, against the model's own."""
    count = len(local)
    if count < PARTS:
        return ""
    part = np.random.default_rng(seed).permutation(count) % PARTS
    own, learned = np.zeros(count), np.zeros(count)
    for k in range(PARTS):
        tested = local.rows(part == k)
        for values, habits in ((own, no_habits(local.margins.shape[1])), (learned, learn(local.rows(part != k)))):
            values[part == k] = rewards(tested.labels, decide_with(tested, habits), local.weights)
    error = (learned - own).std(ddof=1) / np.sqrt(count)
    return (
        f"each fifth of them by what the others show: reward of a recording {own.mean():.3f} as the model was, "
        f"{learned.mean():.3f} recalibrated ({(learned - own).mean():+.3f} ± {error:.3f})"
    )
