"""Recipes trained and scored on the same splits at one budget.

    cohort = read_cohort(DATA)
    results = run(cohort, cross_validation(cohort, 5, table, seed=0), OUT, ["butt", "crnn"], settings, table)

OUT holds settings.json and splits.json, RECIPE/SPLIT/model and RECIPE/SPLIT/scores.npz, and at the end the results (see
comparison.py). A killed run goes on when it is started again: what has scores.npz is not trained again, and a model
in training goes on with its next epoch. Thresholds and best epochs come from a model's own training recordings alone,
since it is not given any other.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .. import __version__
from ..data.classes import LABEL_SETS, Classes, WeightTable, classes_for
from ..data.splits import read_splits, write_splits
from ..errors import UserError
from ..files import replace_file, write_json
from ..inference.classify import classified
from ..inference.ensemble import Ensemble
from ..inference.model_files import manifest_of
from ..models.network import new_model
from ..recipes import Recipe, to_dict
from ..settings import Settings, find_device
from ..training.workers import Log, log_line, train_ensemble
from .compare import Predictions, TestSet, compare
from .design import Cohort, Design, get_recipes
from .tables import as_markdown, write_results

BUDGET = ("members", "epochs", "width", "synthetic", "limit", "time_budget_hours")


# ------------------------------------------------------------------------------------------------------------ budget


def at_budget(
    names: Sequence[str], settings: Settings, parameters: int | None, classes: dict[str, int]
) -> list[Recipe]:
    """The recipes of these names, in their usual order, at the settings' budget or at most so many parameters.

    Parameters
    ----------
    parameters : int or None
        Most trainable parameters of a network; not together with a width in the settings.
    classes : dict
        Label set → number of classes.

    Raises
    ------
    UserError
    """
    if parameters is not None and settings.width is not None:
        raise UserError("--parameters and --width (TWELVELEAD_WIDTH) both say how wide networks are; give one of them")
    if parameters is not None and parameters < 1:
        raise UserError(f"parameters must be more than 0, not {parameters}")
    recipes = [
        recipe.scaled(
            epochs=settings.epochs, members=settings.members, width=settings.width, synthetic=settings.synthetic
        )
        for recipe in get_recipes(names)
    ]
    return (
        recipes
        if parameters is None
        else [narrowed(recipe, classes[recipe.label_set], parameters) for recipe in recipes]
    )


def parameters_of(recipe: Recipe, classes: int) -> int:
    """Trainable parameters of one network of the recipe."""
    with torch.device("meta"):  # shapes without memory
        return sum(weight.numel() for weight in new_model(recipe, classes).parameters() if weight.requires_grad)


def narrowed(recipe: Recipe, classes: int, most: int) -> Recipe:
    """The recipe, its network as wide as so many trainable parameters allow, at most as wide as published.

    Raises
    ------
    UserError
        If the narrowest network has more.
    """

    def widest(width: int) -> tuple[int, int]:
        """Width and parameters of the widest network up to that width; some networks take even widths only."""
        for candidate in range(width, 0, -1):
            try:
                return candidate, parameters_of(recipe.scaled(width=candidate), classes)
            except UserError:
                continue
        return 0, 0

    low, high = 0, recipe.network["width"]
    while low < high:
        width = (low + high + 1) // 2
        low, high = (width, high) if widest(width)[1] <= most else (low, width - 1)
    width = widest(low)[0]
    if width == 0:
        raise UserError(f"recipe '{recipe.name}' has more than {most} parameters at its smallest width; allow more")
    return recipe.scaled(width=width)


# -------------------------------------------------------------------------------------------------------------- run


def run(
    cohort: Cohort,
    design: Design,
    out: Path,
    names: Sequence[str],
    settings: Settings,
    table: WeightTable,
    *,
    parameters: int | None = None,
    resamples: int = 1000,
    discard_models: bool = False,
    log: Log = log_line,
) -> dict[str, Any]:
    """Trains every recipe on every split, scores the test recordings and writes the results into `out`.

    Parameters
    ----------
    names : sequence of str
        Recipes. Others may be named in a later start: what is in `out` already is not trained again.
    settings : Settings
        Budget (for each trained model), seed, device, processes.
    parameters : int, optional
        See `at_budget`.
    resamples : int
        Of the bootstrap.
    discard_models : bool
        Delete each model once its scores are written.

    Returns
    -------
    dict
        The content of results.json.

    Raises
    ------
    UserError
        If a recipe or a number makes no sense, `out` cannot be written or holds another experiment, or training fails.
    """
    if resamples < 1:
        raise UserError(f"resamples must be more than 0, not {resamples}")
    classes = {name: classes_for(name, table) for name in LABEL_SETS}
    recipes = at_budget(names, settings, parameters, {name: len(own.codes) for name, own in classes.items()})
    device = find_device(settings.device)
    options = asdict(settings)
    fixed = dict(
        experiment=design.experiment,
        seed=settings.seed,
        budget={**{name: options[name] for name in BUDGET}, "parameters": parameters},
        recordings=len(cohort.names),
        data=_digest([cohort.names, cohort.codes, cohort.patients, design.parts]),
        weights=_digest([table.rows, table.matrix.tolist()]),
    )
    _claim(out, fixed, cohort, design)
    steps = [(recipe, split) for recipe in recipes for split in design.splits]
    log(
        f"{design.experiment['command']}: {len(cohort.names)} recordings of {len(set(cohort.sources))} sources, "
        f"{len(design.splits)} splits, {len(recipes)} recipes; results in {out}"
    )
    done: dict[str, dict[str, Scored]] = {recipe.name: {} for recipe in recipes}
    for number, (recipe, split) in enumerate(steps, 1):
        train, test = design.splits[split]
        folder, own = out / recipe.name / split, classes[recipe.label_set]
        title = f"{number}/{len(steps)} {recipe.name}, {split}"
        if not (folder / "scores.npz").is_file():
            log(f"{title}: {len(train)} recordings train, {len(test)} are tested")
            _train_and_score(cohort, train, test, folder, recipe, own, settings, device, fixed, log)
        else:
            log(f"{title}: scored before")
        done[recipe.name][split] = _read_scores(folder / "scores.npz", recipe, fixed)
        if discard_models:
            shutil.rmtree(folder / "model", ignore_errors=True)
    log(f"comparing: {resamples} resamples")
    results = dict(
        twelvelead=__version__,
        **fixed,
        data_folder=str(cohort.root),
        settings={name: value for name, value in options.items() if name not in (*fixed["budget"], "recipe", "seed")},
        resampling=dict(resamples=resamples, unit="patients" if any(cohort.patients) else "recordings"),
        splits={split: dict(train=len(train), test=len(test)) for split, (train, test) in design.splits.items()},
        recipes={
            recipe.name: dict(
                summary=recipe.summary,
                label_set=recipe.label_set,
                recipe=to_dict(recipe),
                parameters=parameters_of(recipe, len(classes[recipe.label_set].codes)),
                splits={split: scored.about for split, scored in done[recipe.name].items()},
            )
            for recipe in recipes
        },
        **compare(_trial(cohort, design, done, classes, recipes), classes["challenge"], resamples, settings.seed),
    )
    write_results(out, results)
    log(as_markdown(results))
    return results


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _claim(out: Path, fixed: dict[str, Any], cohort: Cohort, design: Design) -> None:
    """Makes `out` this experiment's, or checks that it is: same arguments, recordings and splits."""
    named = {
        split: {"train": [cohort.names[row] for row in train], "test": [cohort.names[row] for row in test]}
        for split, (train, test) in design.splits.items()
    }
    path = out / "settings.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            before = json.loads(path.read_text())
            other = [key for key in fixed if before.get(key) != json.loads(json.dumps(fixed[key]))]
            if other:
                raise UserError(
                    f"{path}: this experiment was begun with other {', '.join(other)}; "
                    f"delete {out} or choose another folder"
                )
        else:
            write_json(path, fixed)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be written or read ({error}); choose another folder") from None
    if not (out / "splits.json").is_file():
        write_splits(out / "splits.json", named)
    elif read_splits(out / "splits.json") != named:
        raise UserError(
            f"{out}/splits.json: this experiment was begun with other splits; delete {out} or choose another folder"
        )


@dataclass(frozen=True)
class Scored:
    """What scores.npz holds: row i of the arrays is the i-th test recording of the split.

    Attributes
    ----------
    scores : float64 (recordings, classes)
        Mean over the members, as the output files have them.
    outputs : bool (recordings, classes)
        The labels decided.
    about : dict
        Budget, epochs, times, recordings that fell back.
    """

    scores: np.ndarray
    outputs: np.ndarray
    about: dict[str, Any]


def _train_and_score(
    cohort: Cohort,
    train: np.ndarray,
    test: np.ndarray,
    folder: Path,
    recipe: Recipe,
    classes: Classes,
    settings: Settings,
    device: torch.device,
    fixed: dict[str, Any],
    log: Log,
) -> None:
    """Leaves folder/model and folder/scores.npz."""
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
    with open(model / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    about = dict(
        trained_on=manifest_of(model)["recordings"],
        tested=len(test),
        faults=faults,
        device=str(device),
        torch=torch.__version__,
        epochs=dict(Counter(row["member"] for row in history)),
        timing=dict(
            epoch_seconds=sum(float(row["seconds"]) for row in history),  # of all members, one after another
            last_start_seconds=trained - started,  # less, if that one continued a killed run
            scoring_seconds=time.time() - trained,
        ),
    )
    replace_file(
        folder / "scores.npz",
        lambda path: np.savez(
            path,
            recordings=[cohort.names[row] for row in test],
            codes=classes.codes,
            scores=scores,
            outputs=outputs,
            labels=classes.labels([cohort.codes[row] for row in test]),
            about=json.dumps(about),
            made_by=json.dumps([to_dict(recipe), fixed]),
        ),
    )


def score_recordings(
    ensemble: Ensemble, headers: Sequence[Path], jobs: int = -1
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores and labels of recordings as the driver gives them, a chunk at a time in memory.

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


def _read_scores(path: Path, recipe: Recipe, fixed: dict[str, Any]) -> Scored:
    """What `_train_and_score` wrote, if the recipe is still the same."""
    again = f"delete {path.parent} to train it again"
    try:
        with np.load(path) as arrays:
            made_by = json.loads(str(arrays["made_by"]))
            scored = Scored(arrays["scores"], arrays["outputs"], json.loads(str(arrays["about"])))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: the scores cannot be read ({error}); {again}") from None
    if made_by != json.loads(json.dumps([to_dict(recipe), fixed])):
        raise UserError(f"{path}: made by another version of recipe '{recipe.name}' or with other settings; {again}")
    return scored


def _trial(
    cohort: Cohort,
    design: Design,
    done: dict[str, dict[str, Scored]],
    classes: dict[str, Classes],
    recipes: list[Recipe],
) -> TestSet:
    """The splits' test recordings end to end, in the order of the cohort."""
    rows = np.concatenate([test for _, test in design.splits.values()])
    order = np.argsort(rows)
    rows = rows[order]

    def together(recipe: Recipe) -> Predictions:
        own = [done[recipe.name][split] for split in design.splits]
        return Predictions(
            classes[recipe.label_set],
            np.concatenate([scored.outputs for scored in own])[order],
            np.concatenate([scored.scores for scored in own])[order],
        )

    sources = np.array(cohort.sources)
    unseen = np.concatenate([~np.isin(sources[test], sources[train]) for train, test in design.splits.values()])[order]
    groups = None
    if any(cohort.patients):
        patients = [cohort.patients[row] or row for row in rows]  # a recording without a patient is its own
        numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
        groups = np.array([numbers[patient] for patient in patients])
    return TestSet(
        tuple(cohort.codes[row] for row in rows),
        tuple(design.parts[row] for row in rows),
        tuple(cohort.sources[row] for row in rows),
        groups,
        {recipe.name: together(recipe) for recipe in recipes},
        unseen,
    )
