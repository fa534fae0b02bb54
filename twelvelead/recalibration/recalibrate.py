"""The command `twelvelead recalibrate`: a model, and recordings of a hospital, to a model that writes as it does.

    recalibrate(model, data, out, recordings=50)

The weights stay. What is learned, and how, is in posterior.py; `unlabelled=True` is in frequencies.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from tqdm import tqdm

from ..data.classes import DIAGNOSES, SINUS_RHYTHM, Classes
from ..data.folders import find_recordings
from ..errors import UserError
from ..inference.ensemble import (
    Ensemble,
    load_ensemble,
    margins_to_thresholds,
    member_scores,
    thresholds_of_mean,
)
from ..inference.model_files import manifest_of, whole_model
from ..inference.predict import stack
from ..preprocessing.loading import Loaded, load
from ..terminal import printable
from .frequencies import adapted_mean
from .model_folder import check_out, write_recalibrated
from .posterior import DEFAULT_PRIOR, FEW, Habits, Local, decide_with, learn, no_habits, rewards

CHUNK = 64  # recordings that are scored together
PARTS = 5  # of the check on recordings that were not learned from
UNLABELLED_RISK = (
    "class frequencies were estimated without labels: where a hospital does not write what its patients have, or the "
    "model is wrong about its devices, this makes the model worse, and nothing here would show it; "
    "try it on labelled recordings before you rely on it"
)


def recalibrate(
    model: Path,
    data: Path,
    out: Path,
    *,
    recordings: int | None = None,
    unlabelled: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    jobs: int = -1,
    log: Callable[[str], None] = print,
) -> Habits:
    """Writes the model of a folder into another one, with thresholds and rules that fit a hospital.

    Parameters
    ----------
    model : Path
    data : Path
        Folder of the hospital's recordings, labelled in their headers unless `unlabelled`.
    out : Path
        New folder.
    recordings : int, optional
        Use only so many, drawn at random.
    unlabelled : bool
        Use no labels: class frequencies alone are estimated. See `UNLABELLED_RISK`.
    seed : int
        Of the draw.
    device, jobs
        As for classify.
    log : callable
        Told what was learned, line by line.

    Returns
    -------
    Habits

    Raises
    ------
    UserError
        If there is no model or one of labels of the user's own, no recording (with labels), or `out` exists or cannot
        be written.
    """
    model, data, out = Path(model), Path(data), Path(out)
    check_out(model, out)
    if recordings is not None and recordings < 1:
        raise UserError(f"--recordings {recordings}: it takes at least one recording")
    headers = find_recordings(data)
    if not headers:
        raise UserError(f"{printable(data)}: there are no recordings here (no .hea files)")
    ensemble = load_ensemble(model, device)
    if ensemble.classes.are_own:
        raise UserError(
            f"{printable(model)}: the model has learned labels of your own, and recalibrate learns from the diagnoses "
            "in the headers; train again on your labels, from this model with --init"
        )
    if manifest_of(whole_model(model)).get("recalibrated"):
        raise UserError(f"{printable(model)}: this model was recalibrated before; start from the one that was trained")
    headers = [headers[row] for row in np.random.default_rng(seed).permutation(len(headers))]
    scores, codes = _scored(ensemble, headers, recordings, needs_labels=not unlabelled, jobs=jobs, log=log)
    if unlabelled:
        training = ensemble.recipe.parts[0].training
        habits = adapted_mean(scores.mean(axis=0), ensemble.probabilities, ensemble.priors, training)
        log(f"{scores.shape[1]} recordings; {UNLABELLED_RISK}")
        checked = ""
    else:
        local = _local(ensemble, scores, codes)
        habits = learn(local)
        checked = _checked(local, seed)
        if len(local) < FEW:
            log(f"only {len(local)} labelled recordings; with fewer than {FEW} little can be learned")
    lines = described(habits, ensemble.classes)
    for line in filter(None, (*lines, checked)):
        log(line)
    about: dict[str, Any] = dict(
        recordings=int(scores.shape[1]),
        of_folder=data.resolve().name,
        method="class frequencies without labels" if unlabelled else "habits from labelled recordings",
        prior=None if unlabelled else vars(DEFAULT_PRIOR),
        shifts=dict(zip(ensemble.classes.codes, habits.shift.round(6).tolist())),
        seed=seed,
    )
    write_recalibrated(model, out, habits, about, _card_section(about, lines, checked, unlabelled))
    log(f"recalibrated model in {printable(out)}")
    return habits


def _scored(
    ensemble: Ensemble,
    headers: Sequence[Path],
    most: int | None,
    *,
    needs_labels: bool,
    jobs: int,
    log: Callable[[str], None],
) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Members' scores (members, recordings, classes) of the first recordings that can be used, and their codes."""
    most = len(headers) if most is None else most
    scores: list[np.ndarray] = []
    codes: list[tuple[str, ...]] = []
    without_labels = 0
    with (
        joblib.Parallel(n_jobs=jobs, prefer="threads") as parallel,
        tqdm(total=min(most, len(headers)), desc="scoring", unit="rec", file=sys.stderr, disable=None) as bar,
    ):
        for first in range(0, len(headers), CHUNK):
            chunk: list[Loaded] = []
            for loaded in parallel(
                joblib.delayed(load)(header, *ensemble.inputs) for header in headers[first : first + CHUNK]
            ):
                if isinstance(loaded, str):
                    log(f"left out: {printable(loaded)}")
                elif needs_labels and not loaded.recording.codes:
                    without_labels += 1
                elif len(codes) < most:
                    chunk.append(loaded)
                    codes.append(loaded.recording.codes)
            if chunk:
                values = member_scores(ensemble, stack([item.prepared for item in chunk], ensemble.device))
                if not np.isfinite(values).all():
                    raise UserError(f"{printable(headers[first].parent)}: the network's scores are not finite")
                scores.append(values)
                bar.update(len(chunk))
            if len(codes) >= most:
                break
    if without_labels:
        log(f"left out: {without_labels} recordings whose headers name no diagnosis")
    if not codes:
        raise UserError(
            f"{printable(headers[0].parent)}: no recording can be used"
            + (", since none has a diagnosis in its header (#Dx: …)" if without_labels else "")
        )
    if len(codes) < most and most < len(headers):
        log(f"{len(codes)} recordings can be used, fewer than {most}")
    return np.concatenate(scores, axis=1), codes


def _local(ensemble: Ensemble, scores: np.ndarray, codes: Sequence[tuple[str, ...]]) -> Local:
    voting, classes = ensemble.recipe.voting, ensemble.classes
    by_member = voting.thresholds == "members"
    return Local(
        margins=margins_to_thresholds(ensemble, scores),
        scores=scores.mean(axis=0),
        cuts=ensemble.member_thresholds.mean(axis=0) if by_member else thresholds_of_mean(ensemble),
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


def described(habits: Habits, classes: Classes) -> list[str]:
    """What was learned, in lines of plain words."""
    names = [
        f"{DIAGNOSES[code][1]} ({abbreviation})" if code in DIAGNOSES else code
        for code, abbreviation in zip(classes.codes, classes.abbreviations)
    ]

    def listed(which: np.ndarray) -> str:
        by_size = sorted(np.flatnonzero(which).tolist(), key=lambda k: -abs(habits.shift[k]))
        return ", ".join(names[k] for k in by_size)

    lines = []
    if habits.alone:
        lines.append("sinus rhythm is written only where nothing else is")
    if habits.never.any():
        lines.append(f"never written: {listed(habits.never)}")
    for text, which in (("less", habits.shift > 0.1), ("more", habits.shift < -0.1)):
        if which.any():
            lines.append(f"written {text} readily: {listed(which)}")
    return lines or ["nothing that differs from the model's own habits"]


def _card_section(about: dict[str, Any], lines: Sequence[str], checked: str, unlabelled: bool) -> str:
    how = (
        "Class frequencies were estimated without labels (Saerens, Latinne, Decaestecker 2002), and thresholds moved "
        f"with them. Take care: {UNLABELLED_RISK}."
        if unlabelled
        else "Thresholds and rules were learned from labelled recordings, with a prior that is centred on the model's "
        "own (twelvelead/recalibration/posterior.py)."
    )
    found = "\n".join(f"- {line}" for line in [*lines, checked] if line)
    return (
        "## Recalibrated\n\nThe weights are those of the model above. Its decision was adapted to "
        f"{about['recordings']} "
        f"recordings of the folder `{printable(about['of_folder'])}`. {how}\n\n{found}\n\n"
        "Figures above are those of the model before. Every shift is in `thresholds.json`. It fits the hospital that "
        "these recordings are of, and no other one better than before."
    )
