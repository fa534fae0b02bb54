"""Recipes trained and scored on the same splits at one budget.

    cohort = read_cohort(DATA)
    results = run(cohort, cross_validation(cohort, 5, table, seed=0), OUT, ["butt", "crnn"], settings, table)

OUT holds settings.json and splits.json, RECIPE/SPLIT/model and RECIPE/SPLIT/scores.npz, and at the end the results
(see tables.py). An experiment that was killed goes on when it is started again: what has scores.npz is not trained
again, and a model in training goes on with its next epoch. Thresholds and best epochs come from a model's training
recordings alone, since it is not given any other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..data.classes import LABEL_SETS, Classes, WeightTable, classes_for
from ..data.splits import read_splits, write_splits
from ..errors import UserError
from ..files import write_json
from ..models.network import parameters_of
from ..recipes import AnyRecipe, to_dict
from ..settings import Settings, find_device
from ..training.lock import locked
from ..training.workers import Log, log_line
from .budget import at_budget
from .compare import Predictions, TestSet, compare
from .design import Cohort, Design
from .scored import Scored, read_scores, train_and_score
from .tables import as_markdown, write_results

BUDGET = ("members", "epochs", "width", "synthetic", "limit", "time_budget_hours")


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
        See budget.at_budget.
    resamples : int
        Resamples of the bootstrap for the 95 % intervals.
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
    class_counts = {name: len(label_set.codes) for name, label_set in classes.items()}
    recipes = at_budget(names, settings, parameters, class_counts)
    device = find_device(settings.device)
    fixed = _fixed_settings(cohort, design, settings, table, parameters)
    with locked(out, "another experiment"):
        _claim(out, fixed, cohort, design)
        log(
            f"{design.experiment['command']}: {len(cohort.names)} recordings of {len(set(cohort.sources))} sources, "
            f"{len(design.splits)} splits, {len(recipes)} recipes; results in {out}"
        )
        scored = _score_all(cohort, design, out, recipes, classes, settings, device, fixed, discard_models, log)
        log(f"comparing: {resamples} resamples")
        options = asdict(settings)
        results = dict(
            twelvelead=__version__,
            **fixed,
            data_folder=str(cohort.root),
            settings={name: options[name] for name in options if name not in (*fixed["budget"], "recipe", "seed")},
            resampling=dict(resamples=resamples, unit="patients" if any(cohort.patients) else "recordings"),
            splits={split: dict(train=len(train), test=len(test)) for split, (train, test) in design.splits.items()},
            recipes={
                recipe.name: dict(
                    summary=recipe.summary,
                    label_set=recipe.label_set,
                    recipe=to_dict(recipe),
                    parameters=parameters_of(recipe, class_counts[recipe.label_set]),
                    splits={split: of_split.about for split, of_split in scored[recipe.name].items()},
                )
                for recipe in recipes
            },
            **compare(
                _test_set(cohort, design, scored, classes, recipes), classes["challenge"], resamples, settings.seed
            ),
        )
        write_results(out, results)
    log(as_markdown(results))
    return results


def _fixed_settings(
    cohort: Cohort, design: Design, settings: Settings, table: WeightTable, parameters: int | None
) -> dict[str, Any]:
    """What must be the same in a later start with the same folder, as settings.json has it."""
    options = asdict(settings)
    return dict(
        experiment=design.experiment,
        seed=settings.seed,
        budget={**{name: options[name] for name in BUDGET}, "parameters": parameters},
        recordings=len(cohort.names),
        data=_digest([cohort.names, cohort.codes, cohort.patients, design.parts]),
        weights=_digest([table.rows, table.matrix.tolist()]),
    )


def _score_all(
    cohort: Cohort,
    design: Design,
    out: Path,
    recipes: list[AnyRecipe],
    classes: dict[str, Classes],
    settings: Settings,
    device: torch.device,
    fixed: dict[str, Any],
    discard_models: bool,
    log: Log,
) -> dict[str, dict[str, Scored]]:
    """Trains and scores every recipe on every split that has no scores yet; recipe → split → scores."""
    scored: dict[str, dict[str, Scored]] = {recipe.name: {} for recipe in recipes}
    steps = [(recipe, split) for recipe in recipes for split in design.splits]
    for number, (recipe, split) in enumerate(steps, 1):
        train, test = design.splits[split]
        folder = out / recipe.name / split
        title = f"{number}/{len(steps)} {recipe.name}, {split}"
        if (folder / "scores.npz").is_file():
            log(f"{title}: scored before")
        else:
            log(f"{title}: {len(train)} recordings train, {len(test)} are tested")
            label_set = classes[recipe.label_set]
            train_and_score(cohort, train, test, folder, recipe, label_set, settings, device, fixed, log)
        scored[recipe.name][split] = read_scores(folder / "scores.npz", recipe, fixed)
        if discard_models:
            shutil.rmtree(folder / "model", ignore_errors=True)
    return scored


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _claim(out: Path, fixed: dict[str, Any], cohort: Cohort, design: Design) -> None:
    """Writes settings.json and splits.json, or checks that an earlier start wrote the same ones."""
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


def _test_set(
    cohort: Cohort,
    design: Design,
    scored: dict[str, dict[str, Scored]],
    classes: dict[str, Classes],
    recipes: list[AnyRecipe],
) -> TestSet:
    """The test recordings of all splits together, in the order of the cohort."""
    rows = np.concatenate([test for _, test in design.splits.values()])
    order = np.argsort(rows)
    rows = rows[order]

    def predictions_of(recipe: AnyRecipe) -> Predictions:
        parts = [scored[recipe.name][split] for split in design.splits]
        return Predictions(
            classes[recipe.label_set],
            np.concatenate([part.outputs for part in parts])[order],
            np.concatenate([part.scores for part in parts])[order],
        )

    sources = np.array(cohort.sources)
    unseen = np.concatenate([~np.isin(sources[test], sources[train]) for train, test in design.splits.values()])[order]
    groups = cohort.groups(rows) if any(cohort.patients) else None
    return TestSet(
        tuple(cohort.codes[row] for row in rows),
        tuple(design.parts[row] for row in rows),
        tuple(cohort.sources[row] for row in rows),
        groups,
        {recipe.name: predictions_of(recipe) for recipe in recipes},
        unseen,
    )
