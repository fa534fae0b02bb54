"""One recipe on one split: a model is trained on the training part, and its scores of the test part are kept in a file.

train_and_score(cohort, train, test, OUT / "butt" / "fold_1", recipe, classes, settings, device, fixed, log)
scored = read_scores(OUT / "butt" / "fold_1" / "scores.npz", recipe, fixed)
"""

from __future__ import annotations

import csv
import json
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..data.classes import Classes
from ..errors import UserError
from ..files import write_arrays
from ..inference.classify import classified
from ..inference.ensemble import Ensemble
from ..inference.model_files import manifest_of
from ..recipes import AnyRecipe, to_dict
from ..settings import Settings
from ..training.workers import Log, train_ensemble
from .design import Cohort


@dataclass(frozen=True)
class Scored:
    """The content of scores.npz. Row i of the arrays is the i-th test recording of the split.

    Attributes
    ----------
    scores : float64 (recordings, classes)
        Mean over the members, as in the output files.
    outputs : bool (recordings, classes)
        The labels decided.
    about : dict
        Budget, epochs, times, recordings that fell back.
    """

    scores: np.ndarray
    outputs: np.ndarray
    about: dict[str, Any]


def train_and_score(
    cohort: Cohort,
    train: np.ndarray,
    test: np.ndarray,
    folder: Path,
    recipe: AnyRecipe,
    classes: Classes,
    settings: Settings,
    device: torch.device,
    fixed: dict[str, Any],
    log: Log,
) -> None:
    """Trains on the rows `train` of the cohort and scores the rows `test`; writes folder/model and folder/scores.npz.

    Parameters
    ----------
    fixed : dict
        Settings of the experiment; scores of another one are not used.

    Raises
    ------
    UserError
        If training fails, or the scores cannot be written.
    """
    model = folder / "model"
    started = time.time()
    ensemble = train_ensemble(
        [cohort.headers[row] for row in train],
        model,
        recipe,
        classes,
        root=cohort.root,
        seed=settings.seed,
        device=device,
        limit=settings.limit,
        budget_hours=settings.time_budget_hours,
        patients=cohort.listed_patients,
        jobs=settings.jobs,
        workers=settings.workers,
        log=log,
    )
    trained = time.time()
    scores, outputs, faults = score_recordings(ensemble, [cohort.headers[row] for row in test], settings.jobs)
    for fault in faults:
        log(f"fell back to sinus rhythm: {fault}")
    seconds = dict(
        last_start_seconds=trained - started,  # less than all, if this start continued an interrupted training
        scoring_seconds=time.time() - trained,
    )
    about = _about(model, faults, len(test), device, seconds)
    arrays = dict(
        recordings=[cohort.names[row] for row in test],
        codes=classes.codes,
        scores=scores,
        outputs=outputs,
        labels=classes.labels([cohort.codes[row] for row in test]),
        about=json.dumps(about),
        made_by=json.dumps([to_dict(recipe), fixed]),
    )
    try:
        write_arrays(folder / "scores.npz", **arrays)
    except OSError as error:
        raise UserError(f"{folder}/scores.npz: cannot be written ({error.strerror or error})") from None


def _about(model: Path, faults: list[str], tested: int, device: torch.device, seconds: dict) -> dict[str, Any]:
    """What results.json says about a model and its test."""
    with open(model / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    epoch_seconds = sum(float(row["seconds"]) for row in history)  # of all members, one after another
    return dict(
        trained_on=manifest_of(model)["recordings"],
        tested=tested,
        faults=faults,
        device=str(device),
        torch=torch.__version__,
        epochs=dict(Counter(row["member"] for row in history)),
        timing=dict(epoch_seconds=epoch_seconds, **seconds),
    )


def score_recordings(
    ensemble: Ensemble, headers: Sequence[Path], jobs: int = -1
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores and labels of recordings, the same as the driver writes. Only a part of them is in memory at a time.

    Returns
    -------
    scores : float64 (recordings, classes)
    outputs : bool (recordings, classes)
    faults : list of str
        One line for each recording that has the fallback row, because it cannot be read or scored.
    """
    classes = ensemble.classes
    scores, outputs, faults = [], [], []
    with tqdm(total=len(headers), desc="testing", unit="rec", file=sys.stderr, disable=None) as bar:
        for _, row in classified(ensemble, headers, jobs):
            if row.fault:
                faults.append(row.fault)
            scores.append(classes.of_output(row.scores, classes.codes))
            outputs.append(classes.of_output(row.labels, classes.codes) == 1)
            bar.update()
    return np.array(scores), np.array(outputs), faults


def read_scores(path: Path, recipe: AnyRecipe, fixed: dict[str, Any]) -> Scored:
    """Reads what `train_and_score` wrote.

    Raises
    ------
    UserError
        If the file cannot be read, or was written with other settings or another version of the recipe.
    """
    again = f"delete {path.parent} to train it again"
    try:
        with np.load(path) as arrays:
            made_by = json.loads(str(arrays["made_by"]))
            scored = Scored(arrays["scores"], arrays["outputs"], json.loads(str(arrays["about"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: the scores cannot be read ({error}); {again}") from None
    if made_by != json.loads(json.dumps([to_dict(recipe), fixed])):
        raise UserError(f"{path}: made by another version of recipe '{recipe.name}' or with other settings; {again}")
    return scored
