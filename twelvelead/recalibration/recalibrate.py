"""The command `twelvelead recalibrate`: makes a model write diagnoses as a hospital does, from recordings of it.

    recalibrate(model, data, out, recordings=50)

The weights stay. What is learned, and how, is in learning.py. A model of labels of the user's own learns from such
labels of the hospital: `own=LabelSource("labels.csv")`.
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

from ..data.classes import DIAGNOSES, Classes
from ..data.folders import find_recordings
from ..data.own_labels import name_in_cells
from ..errors import UserError
from ..evaluation.options import LabelSource
from ..evaluation.own_labels import check_kind_of_labels, labels_of_model
from ..inference.ensemble import Ensemble, load_ensemble, member_scores
from ..inference.model_files import manifest_of, whole_model
from ..inference.predict import stack
from ..preprocessing.loading import Loaded, load
from ..terminal import printable
from .learning import Learned, from_codes, from_frequencies, from_own_labels
from .model_folder import check_out, write_recalibrated
from .posterior import Habits

CHUNK = 64  # recordings that are scored together


def recalibrate(
    model: Path,
    data: Path,
    out: Path,
    *,
    recordings: int | None = None,
    unlabelled: bool = False,
    own: LabelSource | None = None,
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
        Folder of the hospital's recordings, labelled in their headers unless `unlabelled` or `own` is given.
    out : Path
        New folder.
    recordings : int, optional
        Use only so many, drawn at random.
    unlabelled : bool
        Use no labels: class frequencies alone are estimated. See `learning.UNLABELLED_RISK`.
    own : LabelSource, optional
        Where the labels are for a model of labels of the user's own, which needs them.
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
        If there is no model, no recording (with labels), the labels are not of the model's classes, or `out` exists or
        cannot be written.
    """
    model, data, out, own = Path(model), Path(data), Path(out), own or LabelSource()
    check_out(model, out)
    if recordings is not None and recordings < 1:
        raise UserError(f"--recordings {recordings}: it takes at least one recording")
    headers = find_recordings(data)
    if not headers:
        raise UserError(f"{printable(data)}: there are no recordings here (no .hea files)")
    ensemble = load_ensemble(model, device)
    if unlabelled and (own.is_given or ensemble.classes.are_own):
        raise UserError(
            f"{printable(model)}: --unlabelled is for the Challenge's classes; a model of your own labels needs "
            "recordings that are labelled, and --labels or --label-field alone"
        )
    check_kind_of_labels(model, ensemble.classes, own)
    if manifest_of(whole_model(model)).get("recalibrated"):
        raise UserError(f"{printable(model)}: this model was recalibrated before; start from the one that was trained")
    headers = [headers[row] for row in np.random.default_rng(seed).permutation(len(headers))]
    if own.is_given:
        labels = labels_of_model(ensemble.classes, own, headers, data, log)
        headers = labels.labelled(headers, data)
        scores, used = _scored(ensemble, headers, recordings, needs_codes=False, jobs=jobs, log=log)
        cells = [labels.cells[name_in_cells(header, data)] for header, _ in used]
        learned = from_own_labels(ensemble, scores, cells, labels.origin, seed)
    else:
        scores, used = _scored(ensemble, headers, recordings, needs_codes=not unlabelled, jobs=jobs, log=log)
        codes = [codes for _, codes in used]
        learned = from_frequencies(ensemble, scores) if unlabelled else from_codes(ensemble, scores, codes, seed)
    about: dict[str, Any] = dict(
        recordings=len(used),
        of_folder=data.resolve().name,
        method=learned.method,
        prior=learned.prior,
        shifts=dict(zip(ensemble.classes.codes, learned.habits.shift.round(6).tolist())),
        seed=seed,
    )
    lines = described(learned.habits, ensemble.classes)
    for line in filter(None, (*learned.notes, *lines, learned.check)):
        log(line)
    write_recalibrated(model, out, learned.habits, about, _card_section(about, lines, learned))
    log(f"recalibrated model in {printable(out)}")
    return learned.habits


def _scored(
    ensemble: Ensemble,
    headers: Sequence[Path],
    most: int | None,
    *,
    needs_codes: bool,
    jobs: int,
    log: Callable[[str], None],
) -> tuple[np.ndarray, list[tuple[Path, tuple[str, ...]]]]:
    """Members' scores (members, recordings, classes) of the first recordings that can be used.

    Parameters
    ----------
    most : int or None
        How many are used at most.
    needs_codes : bool
        Whether recordings whose header names no diagnosis are left out.

    Returns
    -------
    scores : float32 (members, recordings, classes)
    used : list of (Path, tuple of str)
        Header, and diagnoses in it, of each of these recordings.
    """
    most = len(headers) if most is None else most
    scores: list[np.ndarray] = []
    used: list[tuple[Path, tuple[str, ...]]] = []
    without_labels = 0
    with (
        joblib.Parallel(n_jobs=jobs, prefer="threads") as parallel,
        tqdm(total=min(most, len(headers)), desc="scoring", unit="rec", file=sys.stderr, disable=None) as bar,
    ):
        for first in range(0, len(headers), CHUNK):
            chunk: list[Loaded] = []
            of_chunk = headers[first : first + CHUNK]
            for header, loaded in zip(
                of_chunk, parallel(joblib.delayed(load)(each, *ensemble.inputs) for each in of_chunk)
            ):
                if isinstance(loaded, str):
                    log(f"left out: {printable(loaded)}")
                elif needs_codes and not loaded.recording.codes:
                    without_labels += 1
                elif len(used) < most:
                    chunk.append(loaded)
                    used.append((header, loaded.recording.codes))
            if chunk:
                values = member_scores(ensemble, stack([item.prepared for item in chunk], ensemble.device))
                if not np.isfinite(values).all():
                    raise UserError(f"{printable(headers[first].parent)}: the network's scores are not finite")
                scores.append(values)
                bar.update(len(chunk))
            if len(used) >= most:
                break
    if without_labels:
        log(f"left out: {without_labels} recordings whose headers name no diagnosis")
    if not used:
        raise UserError(
            f"{printable(headers[0].parent)}: no recording can be used"
            + (", since none has a diagnosis in its header (#Dx: …)" if without_labels else "")
        )
    if len(used) < most and most < len(headers):
        log(f"{len(used)} recordings can be used, fewer than {most}")
    return np.concatenate(scores, axis=1), used


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


def _card_section(about: dict[str, Any], lines: Sequence[str], learned: Learned) -> str:
    items = "\n".join(f"- {line}" for line in [*lines, learned.check] if line)
    return (
        "## Recalibrated\n\nThe weights are those of the model above. Its decision was adapted to "
        f"{about['recordings']} "
        f"recordings of the folder `{printable(about['of_folder'])}`. {learned.how}\n\n{items}\n\n"
        "Figures above are those of the model before. Every shift is in `thresholds.json`. It fits the hospital that "
        "these recordings are of, and no other one better than before."
    )
